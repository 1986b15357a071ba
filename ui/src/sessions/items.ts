/** What the list is made of, one below the other, and where each begins, in pixels. */

import type { Session } from "../api/types";
import { whole, type Section } from "./list.svelte";

export interface Row {
  /** Its own among all that are shown. */
  readonly key: string;
  readonly page: number;
  readonly session: Session;
}

/** The name of a group, above its sessions. */
export interface Head {
  readonly key: string;
  readonly section: Section;
}

export type Item = Row | Head;

/** As far as everything is loaded, one section after the other. */
export function itemsOf(sections: readonly Section[], folded: ReadonlySet<string>, heads: boolean): readonly Item[] {
  const items: Item[] = [];
  for (const section of sections) {
    if (heads) items.push({ key: `head ${section.key}`, section });
    if (folded.has(section.key)) continue;
    for (const page of section.pages) {
      for (const session of page.sessions) {
        // One of several tags is in several groups.
        const key = heads ? `${session.session_id} ${section.key}` : session.session_id;
        items.push({ key, page: page.key, session });
      }
    }
    if (!whole(section)) break;
  }
  return items;
}

/** Where each item begins, and, last, where all end; heights are of whole pixels. */
export function topsOf(items: readonly Item[], row: number, head: number): Float64Array {
  const tops = new Float64Array(items.length + 1);
  items.forEach((item, i) => {
    tops[i + 1] = (tops[i] ?? 0) + ("section" in item ? head : row);
  });
  return tops;
}

/** The item at a height; the first above all, the last below. */
export function itemAt(tops: Float64Array, height: number): number {
  let [low, high] = [0, Math.max(0, tops.length - 2)];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((tops[middle] ?? 0) <= height) low = middle;
    else high = middle - 1;
  }
  return low;
}
