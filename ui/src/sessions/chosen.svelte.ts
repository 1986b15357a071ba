/** The sessions chosen in the list, across its pages and filters. */

import { listSessions } from "../api/server";
import { asked, type Filters } from "./filters";

const PAGE = 1000;
/** More are not gathered by one press. */
export const MOST = 10_000;

class Chosen {
  ids = $state.raw<ReadonlySet<string>>(new Set());
  #anchor: string | null = null;

  has(id: string): boolean {
    return this.ids.has(id);
  }

  /**
   * Chooses a session or lets it go.
   *
   * @param through with Shift: everything shown between the one pressed before and this one.
   */
  toggle(id: string, through: boolean, shown: readonly string[]): void {
    const next = new Set(this.ids);
    const on = !next.has(id);
    const [from, to] = [shown.indexOf(this.#anchor ?? ""), shown.indexOf(id)];
    const some = through && from >= 0 && to >= 0 ? shown.slice(Math.min(from, to), Math.max(from, to) + 1) : [id];
    for (const one of some) {
      if (on) next.add(one);
      else next.delete(one);
    }
    this.#anchor = id;
    this.ids = next;
  }

  set(ids: Iterable<string>): void {
    this.ids = new Set(ids);
  }

  clear(): void {
    this.ids = new Set();
    this.#anchor = null;
  }

  /** Chooses all that fit the filters, on all pages. */
  async all(filters: Filters): Promise<void> {
    const found: string[] = [];
    let cursor: string | null = null;
    do {
      const page: Awaited<ReturnType<typeof listSessions>> = await listSessions({
        ...asked(filters),
        limit: PAGE,
        cursor,
      });
      found.push(...page.sessions.map((one) => one.session_id));
      cursor = page.next_cursor;
    } while (cursor !== null && found.length < MOST);
    this.set(found);
  }
}

/** One for as long as the page is open: a look at a session loses nothing. */
export const chosen = new Chosen();
