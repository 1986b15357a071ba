/**
 * The sessions list: loaded page by page, the pages in sight looked at again every two seconds.
 *
 * A page begins where the one before it ends, by the server's cursor. When sessions come or go,
 * that place moves; the next page then begins there, and is asked for again when it is in sight.
 *
 * In groups each group is such a list of its own, one below the other: the second is begun when the
 * first has been read to its end or is folded.
 */

import { ApiError, listSessions } from "../api/server";
import type { Session, Status } from "../api/types";
import { asked, countOf, EVERYTHING, searchOf, type Filters } from "./filters";
import { Sparks } from "./sparks.svelte";

const EVERY_MS = 2000;
/** How soon a page that comes into sight is looked at again: it may be old. */
const SOON_MS = 50;
const PAGE = 50;

export interface ListPage {
  readonly key: number;
  /** Where it begins; null at the top of the list. */
  readonly cursor: string | null;
  readonly sessions: readonly Session[];
  /** Where the next one begins; null at the end of the list. */
  readonly next: string | null;
}

export interface Section {
  /** As the server is asked for it alone; empty where the list is in no groups. */
  readonly key: string;
  /** Null: the group of those that have no such thing. */
  readonly value: string | null;
  /** Sessions in it. */
  readonly count: number;
  /** What is loaded of it. */
  readonly pages: readonly ListPage[];
}

/** Whether all of it is loaded. */
export function whole(section: Section): boolean {
  return section.pages.at(-1)?.next === null;
}

function without(page: ListPage, ids: ReadonlySet<string>): ListPage {
  const kept = page.sessions.filter((s) => !ids.has(s.session_id));
  return kept.length === page.sessions.length ? page : { ...page, sessions: kept };
}

function idsOf(page: ListPage): ReadonlySet<string> {
  return new Set(page.sessions.map((one) => one.session_id));
}

export class SessionList {
  /** Null before the first answer. */
  sections = $state.raw<readonly Section[] | null>(null);
  /** Keys of the groups that show their name alone. */
  folded = $state.raw<ReadonlySet<string>>(new Set());
  total = $state(0);
  counts = $state.raw<Readonly<Partial<Record<Status, number>>>>({});
  problem = $state.raw<ApiError | null>(null);
  /** What the sections that are shown are groups by. */
  grouped = $state<Filters["group"]>("");
  /** Whether what is shown is still that of the filters before. */
  turning = $state(false);
  loadingMore = $state(false);
  readonly sparks = new Sparks();
  #filters: Filters = EVERYTHING;
  #key = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #asking: AbortController | null = null;
  #near: ReadonlySet<number> = new Set();
  #sight: readonly Session[] = [];
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
    this.sparks.want([]);
    document.removeEventListener("visibilitychange", this.#visible);
  }

  /** Ids of what is loaded, in order. */
  get ids(): readonly string[] {
    return this.#pages().flatMap((page) => page.sessions.map((one) => one.session_id));
  }

  /** What would be loaded next; null where everything is. */
  get unfinished(): Section | null {
    return this.sections?.find((one) => !this.folded.has(one.key) && !whole(one)) ?? null;
  }

  /** Rows that are loaded. */
  get shown(): number {
    return this.#pages().reduce((sum, page) => sum + page.sessions.length, 0);
  }

  /** Rows there would be if everything were loaded, names of groups among them. */
  get rows(): number {
    if (this.grouped === "") return this.total;
    return (this.sections ?? []).reduce((sum, { key, count }) => sum + 1 + (this.folded.has(key) ? 0 : count), 0);
  }

  #pages(): readonly ListPage[] {
    return (this.sections ?? []).flatMap((one) => (this.folded.has(one.key) ? [] : one.pages));
  }

  /** Folds groups, or opens them. */
  fold(keys: readonly string[], shut: boolean): void {
    const folded = new Set(this.folded);
    for (const key of keys) {
      if (shut) folded.add(key);
      else folded.delete(key);
    }
    this.folded = folded;
  }

  /** Looks for other sessions from now on. */
  use(filters: Filters): void {
    if (searchOf(filters) === searchOf(this.#filters)) return;
    this.#filters = filters;
    this.turning = true;
    if (this.#open) void this.look();
  }

  /** Hears what is in sight or nearly so: only that is kept current. */
  see(pages: ReadonlySet<number>, sessions: readonly Session[]): void {
    // The first page to be near was loaded a moment ago; one scrolled back to may be old.
    const back = this.#near.size > 0 && [...pages].some((key) => !this.#near.has(key));
    this.#near = pages;
    this.#sight = sessions;
    if (!this.#open) return;
    this.sparks.want(sessions);
    if (back) this.#lookIn(SOON_MS);
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
      if (this.sections === null || this.turning) await this.#begin(mine.signal);
      else {
        const pages = this.#pages();
        const near = pages.filter((page) => this.#near.has(page.key));
        for (const { key } of near.length > 0 ? near : pages.slice(0, 1)) {
          await this.#again(key, mine.signal);
        }
        if (pages.length === 0 && this.grouped !== "") await this.#ask(null, null, mine.signal);
      }
      this.problem = null;
      this.sparks.want(this.#sight);
    } catch (problem) {
      if (mine.signal.aborted) return;
      if (!(problem instanceof ApiError)) throw problem;
      this.problem = problem;
    }
    this.#lookIn(EVERY_MS);
  }

  async #begin(signal: AbortSignal): Promise<void> {
    const { group } = this.#filters;
    let sections: readonly Section[] = [{ key: "", value: null, count: 0, pages: [] }];
    if (group !== "") {
      const { groups } = await this.#ask(null, null, signal);
      sections = this.#sorted(groups, []);
    }
    const first = sections.find((one) => !this.folded.has(one.key));
    if (first !== undefined) {
      const { page } = await this.#ask(first.key, null, signal);
      this.#near = new Set([page.key]);
      sections = sections.map((one) => (one === first ? { ...one, pages: [page] } : one));
    }
    this.sections = sections;
    this.grouped = group;
    this.turning = false;
  }

  /**
   * A page of a section.
   *
   * @param key null asks how the groups are, and for no more than that.
   */
  async #ask(
    key: string | null,
    cursor: string | null,
    signal?: AbortSignal,
  ): Promise<{ page: ListPage; groups: readonly { value: string | null; count: number }[] }> {
    const filters = this.#filters;
    const { group, which } = filters;
    const limit = key === null ? 1 : PAGE;
    const answer = await listSessions({ ...asked(filters), group, within: key ?? "", limit, cursor }, signal);
    signal?.throwIfAborted();
    const page = { key: ++this.#key, cursor, sessions: answer.sessions, next: answer.next_cursor };
    const groups = answer.groups ?? [];
    if (filters !== this.#filters) return { page, groups }; // of no use any more
    this.counts = answer.counts;
    this.total = group === "" ? answer.total : countOf(which, answer.counts);
    if (group !== "" && group === this.grouped && !this.turning) {
      this.sections = this.#sorted(groups, this.sections ?? []);
    }
    return { page, groups };
  }

  /** The groups that there are now, with what is loaded of them. */
  #sorted(groups: readonly { value: string | null; count: number }[], before: readonly Section[]): readonly Section[] {
    const { group } = this.#filters;
    return groups.map(({ value, count }) => {
      const key = value === null ? group : `${group}:${value}`;
      return { key, value, count, pages: before.find((one) => one.key === key)?.pages ?? [] };
    });
  }

  /** Puts other pages in the place of a section's. */
  #turn(key: string, pages: readonly ListPage[]): void {
    this.sections = (this.sections ?? []).map((one) => (one.key === key ? { ...one, pages } : one));
  }

  async #again(key: number, signal: AbortSignal): Promise<void> {
    const find = (): Section | undefined => this.sections?.find((one) => one.pages.some((page) => page.key === key));
    const before = find();
    const asked = before?.pages.find((page) => page.key === key);
    if (before === undefined || asked === undefined) return;
    const fresh = { ...(await this.#ask(before.key, asked.cursor, signal)).page, key };
    const ids = idsOf(fresh);
    const pages = (find()?.pages ?? []).map((p) => (p.key === key ? fresh : without(p, ids)));
    const at = pages.indexOf(fresh);
    const next = pages[at + 1];
    if (fresh.next === null) pages.length = at + 1;
    else if (next !== undefined && next.cursor !== fresh.next) {
      pages[at + 1] = { ...next, cursor: fresh.next };
    }
    this.#turn(before.key, pages);
  }

  /** Loads the next page. */
  async showMore(): Promise<void> {
    const section = this.unfinished;
    if (section === null || this.loadingMore || this.turning) return;
    const cursor = section.pages.at(-1)?.next ?? null;
    const filters = this.#filters;
    this.loadingMore = true;
    try {
      const { page } = await this.#ask(section.key, cursor);
      // Meanwhile the list may have turned to other sessions, or its end may have moved.
      const now = this.sections?.find((one) => one.key === section.key);
      if (now !== undefined && filters === this.#filters && !this.turning && (now.pages.at(-1)?.next ?? null) === cursor && !whole(now)) {
        const ids = idsOf(page);
        this.#turn(now.key, [...now.pages.map((p) => without(p, ids)), page]);
      }
      this.problem = null;
    } catch (problem) {
      if (!(problem instanceof ApiError)) throw problem;
      this.problem = problem;
    } finally {
      this.loadingMore = false;
    }
  }
}

/** One for as long as the page is open: whoever comes back from a session finds it as it was. */
export const list = new SessionList();
