/** The sessions list, looked at again every two seconds while somebody is looking. */

import { ApiError, getSeries, listSessions } from "../api/server";
import type { Session } from "../api/types";
import { columnsFrom } from "../live";
import { ended } from "../session/status";

const EVERY_MS = 2000;
const PAGE = 100;
const SPARK_POINTS = 60;
const SPARK_EVERY_MS = 4000;
/** Small requests under way at once; the rest wait their turn. */
const AT_ONCE = 3;

export type Which = "all" | "live" | "ended";

const STATUSES: Readonly<Record<Which, string>> = {
  all: "all",
  live: "queued,starting,running,pausing,paused,stopping,lost",
  ended: "stopped,completed,failed",
};

/** What moves first, then what waits (the next one first), then the rest as the server has it. */
function inOrder(sessions: readonly Session[]): readonly Session[] {
  const waiting = sessions.filter((s) => s.status === "queued").reverse();
  const moving = sessions.filter((s) => s.status !== "queued" && !ended(s) && s.status !== "lost");
  const rest = sessions.filter((s) => ended(s) || s.status === "lost");
  return [...moving, ...waiting, ...rest];
}

/** The metric a row's curve shows. */
export function telling(session: Session): string | null {
  const latest = session.latest ?? {};
  const extra = (latest.extra ?? {}) as Readonly<Record<string, unknown>>;
  for (const name of ["average_reward", "current_reward", "win_rate", "loss_value"]) {
    if (latest[name] !== undefined && latest[name] !== null) return name;
  }
  const other = Object.entries(extra).find(([, value]) => typeof value === "number");
  return other?.[0] ?? null;
}

interface Spark {
  readonly values: readonly number[];
  readonly seq: number;
  readonly at: number;
}

export class SessionList {
  sessions = $state.raw<readonly Session[] | null>(null);
  total = $state(0);
  problem = $state.raw<ApiError | null>(null);
  query = $state("");
  which = $state<Which>("all");
  sparks = $state.raw<ReadonlyMap<string, Spark>>(new Map());
  #limit = PAGE;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #asking: AbortController | null = null;
  #busy = new Set<string>();
  #closed = false;
  readonly #visible = (): void => {
    if (!document.hidden) void this.look();
  };

  constructor() {
    document.addEventListener("visibilitychange", this.#visible);
    void this.look();
  }

  get more(): boolean {
    return (this.sessions?.length ?? 0) < this.total;
  }

  async showMore(): Promise<void> {
    this.#limit = Math.min(1000, this.#limit + PAGE);
    await this.look();
  }

  /** Looks now, and again by itself. */
  async look(): Promise<void> {
    clearTimeout(this.#timer);
    this.#asking?.abort();
    const mine = new AbortController();
    this.#asking = mine;
    try {
      const answer = await listSessions(
        { status: STATUSES[this.which], q: this.query.trim(), limit: this.#limit },
        mine.signal,
      );
      if (mine.signal.aborted) return;
      this.sessions = inOrder(answer.sessions);
      this.total = answer.total;
      this.problem = null;
      this.#sparkle();
    } catch (problem) {
      if (mine.signal.aborted) return;
      if (!(problem instanceof ApiError)) throw problem;
      this.problem = problem;
    }
    if (!this.#closed && !document.hidden) {
      this.#timer = setTimeout(() => void this.look(), EVERY_MS);
    }
  }

  #sparkle(): void {
    const now = performance.now();
    for (const session of this.sessions ?? []) {
      if (this.#busy.size >= AT_ONCE) return;
      const have = this.sparks.get(session.session_id);
      if (this.#busy.has(session.session_id) || session.last_seq === 0) continue;
      if (have !== undefined) {
        if (have.seq >= session.last_seq) continue;
        if (!ended(session) && now - have.at < SPARK_EVERY_MS) continue;
      }
      void this.#fetchSpark(session);
    }
  }

  async #fetchSpark(session: Session): Promise<void> {
    const metric = telling(session);
    if (metric === null) return;
    this.#busy.add(session.session_id);
    let values: readonly number[] = [];
    try {
      const answer = await getSeries(session.session_id, {
        metrics: [metric],
        x: "episode",
        maxPoints: SPARK_POINTS,
      });
      const wire = answer.series[metric];
      if (wire !== undefined) values = Array.from(columnsFrom(wire).mean);
    } catch (problem) {
      // A session deleted meanwhile leaves the list by itself; its row needs no curve.
      if (!(problem instanceof ApiError)) throw problem;
    }
    this.#busy.delete(session.session_id);
    if (this.#closed) return;
    const spark = { values, seq: session.last_seq, at: performance.now() };
    this.sparks = new Map(this.sparks).set(session.session_id, spark);
    this.#sparkle();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#asking?.abort();
    document.removeEventListener("visibilitychange", this.#visible);
  }
}
