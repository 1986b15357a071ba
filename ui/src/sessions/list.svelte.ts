/**
 * The sessions list: loaded page by page, the pages in sight looked at again every two seconds.
 *
 * A page begins where the one before it ends, by the server's cursor. When sessions come or go,
 * that place moves; the next page then begins there, and is asked for again when it is in sight.
 */

import { ApiError, getSeries, listSessions } from "../api/server";
import type { Session, Status } from "../api/types";
import { columnsFrom } from "../live";
import { ended } from "../session/status";
import { EVERYTHING, searchOf, STATUSES, type Filters } from "./filters";

const EVERY_MS = 2000;
const PAGE = 50;
const SPARK_POINTS = 60;
const SPARK_EVERY_MS = 4000;
/** Small requests under way at once; the rest wait their turn. */
const AT_ONCE = 3;

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

export interface ListPage {
  readonly key: number;
  /** Where it begins; null at the top of the list. */
  readonly cursor: string | null;
  readonly sessions: readonly Session[];
  /** Where the next one begins; null at the end of the list. */
  readonly next: string | null;
}

function without(page: ListPage, ids: ReadonlySet<string>): ListPage {
  const kept = page.sessions.filter((s) => !ids.has(s.session_id));
  return kept.length === page.sessions.length ? page : { ...page, sessions: kept };
}

export class SessionList {
  /** Null before the first answer. */
  pages = $state.raw<readonly ListPage[] | null>(null);
  total = $state(0);
  counts = $state.raw<Readonly<Partial<Record<Status, number>>>>({});
  problem = $state.raw<ApiError | null>(null);
  /** Whether what is shown is still that of the filters before. */
  turning = $state(false);
  loadingMore = $state(false);
  sparks = $state.raw<ReadonlyMap<string, Spark>>(new Map());
  #filters: Filters = EVERYTHING;
  #key = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #asking: AbortController | null = null;
  #near = new Set<number>();
  #busy = new Set<string>();
  #open = false;
  readonly #visible = (): void => {
    if (!document.hidden) void this.look();
  };

  /** Begins to look. */
  open(): void {
    this.#open = true;
    document.addEventListener("visibilitychange", this.#visible);
    void this.look();
  }

  /** Stops looking; what was seen stays, for whoever comes back. */
  close(): void {
    this.#open = false;
    clearTimeout(this.#timer);
    this.#asking?.abort();
    document.removeEventListener("visibilitychange", this.#visible);
  }

  get more(): boolean {
    return (this.pages?.at(-1)?.next ?? null) !== null;
  }

  get shown(): number {
    return this.pages?.reduce((sum, page) => sum + page.sessions.length, 0) ?? 0;
  }

  /** Looks for other sessions from now on. */
  use(filters: Filters): void {
    if (searchOf(filters) === searchOf(this.#filters)) return;
    this.#filters = filters;
    this.turning = true;
    if (this.#open) void this.look();
  }

  /** Hears from a page whether it is in sight or nearly so. */
  seen(key: number, near: boolean): void {
    if (!near) this.#near.delete(key);
    else if (!this.#near.has(key)) {
      this.#near.add(key);
      // The first page to be near was loaded a moment ago; one scrolled back to may be old.
      if (this.#near.size > 1) this.#lookIn(50);
    }
  }

  #lookIn(ms: number): void {
    clearTimeout(this.#timer);
    if (this.#open && !document.hidden) this.#timer = setTimeout(() => void this.look(), ms);
  }

  /** Looks now, and again by itself. */
  async look(): Promise<void> {
    clearTimeout(this.#timer);
    this.#asking?.abort();
    const mine = new AbortController();
    this.#asking = mine;
    try {
      if (this.pages === null || this.turning) {
        const first = await this.#ask(null, mine.signal);
        this.#near = new Set([first.key]);
        this.pages = [first];
        this.turning = false;
      } else {
        const near = this.pages.filter((page) => this.#near.has(page.key));
        for (const { key } of near.length > 0 ? near : this.pages.slice(0, 1)) {
          await this.#again(key, mine.signal);
        }
      }
      this.problem = null;
      this.#sparkle();
    } catch (problem) {
      if (mine.signal.aborted) return;
      if (!(problem instanceof ApiError)) throw problem;
      this.problem = problem;
    }
    this.#lookIn(EVERY_MS);
  }

  async #ask(cursor: string | null, signal?: AbortSignal): Promise<ListPage> {
    const { q, which, algorithm, tag, sort } = this.#filters;
    const status = STATUSES[which].join(",") || "all";
    const answer = await listSessions(
      { status, q, algorithm, tag, sort, limit: PAGE, cursor },
      signal,
    );
    signal?.throwIfAborted();
    this.total = answer.total;
    this.counts = answer.counts;
    this.#key += 1;
    return { key: this.#key, cursor, sessions: answer.sessions, next: answer.next_cursor };
  }

  async #again(key: number, signal: AbortSignal): Promise<void> {
    const asked = this.pages?.find((page) => page.key === key);
    if (asked === undefined) return;
    const fresh = { ...(await this.#ask(asked.cursor, signal)), key };
    const ids = new Set(fresh.sessions.map((s) => s.session_id));
    const pages = (this.pages ?? []).map((p) => (p.key === key ? fresh : without(p, ids)));
    const at = pages.indexOf(fresh);
    const next = pages[at + 1];
    if (fresh.next === null) pages.length = at + 1;
    else if (next !== undefined && next.cursor !== fresh.next) {
      pages[at + 1] = { ...next, cursor: fresh.next };
    }
    this.pages = pages;
  }

  /** Loads the next page. */
  async showMore(): Promise<void> {
    const cursor = this.pages?.at(-1)?.next ?? null;
    if (cursor === null || this.loadingMore || this.turning) return;
    this.loadingMore = true;
    try {
      const page = await this.#ask(cursor);
      // Meanwhile the list may have turned to other sessions, or its end may have moved.
      if (this.pages?.at(-1)?.next === cursor) {
        const ids = new Set(page.sessions.map((s) => s.session_id));
        this.#near.add(page.key);
        this.pages = [...this.pages.map((p) => without(p, ids)), page];
        this.#sparkle();
      }
    } catch (problem) {
      if (!(problem instanceof ApiError)) throw problem;
      this.problem = problem;
    } finally {
      this.loadingMore = false;
    }
  }

  #sparkle(): void {
    const now = performance.now();
    for (const page of this.pages ?? []) {
      if (!this.#near.has(page.key)) continue;
      for (const session of page.sessions) {
        if (this.#busy.size >= AT_ONCE || !this.#open) return;
        const have = this.sparks.get(session.session_id);
        if (this.#busy.has(session.session_id) || session.last_seq === 0) continue;
        if (have !== undefined) {
          if (have.seq >= session.last_seq) continue;
          if (!ended(session) && now - have.at < SPARK_EVERY_MS) continue;
        }
        void this.#fetchSpark(session);
      }
    }
  }

  async #fetchSpark(session: Session): Promise<void> {
    const metric = telling(session);
    let values: readonly number[] = [];
    if (metric !== null) {
      this.#busy.add(session.session_id);
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
      } finally {
        this.#busy.delete(session.session_id);
      }
    }
    const spark = { values, seq: session.last_seq, at: performance.now() };
    this.sparks = new Map(this.sparks).set(session.session_id, spark);
    if (metric !== null) this.#sparkle();
  }
}

/** One for as long as the page is open: whoever comes back from a session finds it as it was. */
export const list = new SessionList();
