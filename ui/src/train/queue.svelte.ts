/** What waits for a worker and what is at work, looked at every few seconds; and the queue's verbs. */

import { getAtWork, getQueue, leaveQueue, moveInQueue, type AtWork, type Waiting } from "../api/plane";
import { ApiError } from "../api/server";

const ASK_EVERY_MS = 3000;

export class Queue {
  /** Null before the first answer. */
  waiting = $state.raw<readonly Waiting[] | null>(null);
  /** Trainings with a worker; only where they were asked for. */
  active = $state.raw<readonly AtWork[]>([]);
  busy = $state(false);
  problem = $state("");
  /** While something in it is being written the list stays as it is. */
  held = $state(false);
  readonly #both: boolean;
  #timer: ReturnType<typeof setInterval> | undefined;

  /** @param both also what is at work; the queue is then asked for where something waits. */
  constructor(both = false) {
    this.#both = both;
  }

  /** Begins to look; gives how to stop. */
  open(): () => void {
    void this.#tell(() => this.#look());
    this.#timer = setInterval(() => {
      if (!document.hidden && !this.busy && !this.held) void this.#tell(() => this.#look());
    }, ASK_EVERY_MS);
    return () => clearInterval(this.#timer);
  }

  async #look(): Promise<readonly Waiting[]> {
    if (!this.#both) return getQueue();
    const { active, queue_length: length } = await getAtWork();
    this.active = active;
    return length > 0 ? getQueue() : [];
  }

  async #tell(work: () => Promise<readonly Waiting[]>): Promise<void> {
    this.busy = true;
    try {
      this.waiting = await work();
      this.problem = "";
    } catch (why) {
      if (!(why instanceof ApiError)) throw why;
      this.problem = `${why.message} ${why.detail}`;
    } finally {
      this.busy = false;
    }
  }

  #id(at: number): string | undefined {
    return this.waiting?.[at]?.session.session_id;
  }
  /** Puts one before the one above it. */
  up(at: number): void {
    const [above, own] = [this.#id(at - 1), this.#id(at)];
    if (above && own) void this.#tell(() => moveInQueue(own, { before: above }));
  }
  down(at: number): void {
    const [own, below] = [this.#id(at), this.#id(at + 1)];
    if (own && below) void this.#tell(() => moveInQueue(own, { after: below }));
  }
  /** Gives a training another priority, and with it another place. */
  prefer(id: string, priority: number): void {
    void this.#tell(() => moveInQueue(id, { priority }));
  }
  leave(id: string): void {
    void this.#tell(async () => {
      await leaveQueue(id);
      return this.#look();
    });
  }
}
