/** What a metric means, in the words of docs/metrics.md. */

import { MEANINGS, WHOSE } from "./meanings";

/** One metric, told to somebody who meets it for the first time. */
export interface Told {
  /** One sentence, or two. */
  readonly meaning: string;
  /** What the number counts. */
  readonly unit: string;
  /** What it can be. */
  readonly range: string;
}

function row(name: string): readonly [string, string, string] | undefined {
  const found = Object.hasOwn(MEANINGS, name) ? MEANINGS[name] : undefined;
  return typeof found === "string" ? row(found) : found;
}

/** All that is known of a metric; undefined for a name that nobody has explained. */
export function told(name: string): Told | undefined {
  const own = row(name);
  if (own !== undefined) return { meaning: own[0], unit: own[1], range: own[2] };
  const cut = name.indexOf("/") + 1;
  const whose = WHOSE[name.slice(0, cut)];
  const bare = whose === undefined ? undefined : row(name.slice(cut));
  if (bare === undefined) return undefined;
  return { meaning: `${bare[0]} Of the ${whose}.`, unit: bare[1], range: bare[2] };
}

/** What a metric means, in a sentence; undefined for a name that nobody has explained. */
export function meaning(name: string): string | undefined {
  return told(name)?.meaning;
}

/** What a tip says of a metric: its meaning, and smaller its unit, its range and its name. */
export function tip(name: string, term?: string): readonly { term?: string; text: string; more: string }[] {
  const known = told(name);
  if (known === undefined) return [];
  const range = known.range === "any" ? "" : `, ${known.range}`;
  return [{ ...(term === undefined ? {} : { term }), text: known.meaning, more: `${known.unit}${range} · ${name}` }];
}
