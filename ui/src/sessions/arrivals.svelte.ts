/**
 * Scripts' sessions that come while somebody looks on, whatever the list's filters leave out: the
 * newest few of all, asked for as often as the list is.
 */

import { ApiError, listSessions } from "../api/server";
import type { Session } from "../api/types";

const EVERY_MS = 2000;
const NEWEST = 20;

export class Arrivals {
  /** Newest first; those that have reported nothing yet among them. */
  come = $state.raw<readonly Session[]>([]);
  /** The newest session of all, for whoever wants one to watch. */
  newest = $state.raw<Session | null>(null);
  #there: ReadonlySet<string> | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #asking: AbortController | null = null;
  #open = false;
  readonly #visible = (): void => {
    if (!document.hidden) void this.#look();
  };

  /** Begins to look; what is there already has not come. */
  open(): void {
    this.#open = true;
    document.addEventListener("visibilitychange", this.#visible);
    void this.#look();
  }

  close(): void {
    this.#open = false;
    clearTimeout(this.#timer);
    this.#asking?.abort();
    document.removeEventListener("visibilitychange", this.#visible);
  }

  async #look(): Promise<void> {
    clearTimeout(this.#timer);
    this.#asking?.abort();
    const mine = new AbortController();
    this.#asking = mine;
    const query = { status: "all", q: "", algorithm: "", tag: "", sort: "-created_at", limit: NEWEST, cursor: null };
    try {
      const { sessions } = await listSessions(query, mine.signal);
      mine.signal.throwIfAborted();
      const there = (this.#there ??= new Set(sessions.map((one) => one.session_id)));
      this.come = sessions.filter((one) => one.kind === "external" && !there.has(one.session_id));
      this.newest = sessions[0] ?? null;
    } catch (problem) {
      if (mine.signal.aborted) return;
      // Away, or it wants a token: the page says so elsewhere, and this looks again.
      if (!(problem instanceof ApiError)) throw problem;
    }
    if (this.#open && !document.hidden) this.#timer = setTimeout(() => void this.#look(), EVERY_MS);
  }
}
