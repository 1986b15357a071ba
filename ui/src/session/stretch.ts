/** What a curve did in a stretch: the figures below a chart on the full screen. */

import type { Drawn } from "../live";

export interface Told {
  readonly last: number;
  readonly min: number;
  readonly max: number;
  /** Of the points as they are drawn, each of them counting once. */
  readonly mean: number;
}

/** NaN where there is nothing, or nothing finite, in it. */
export function stretchOf(drawn: Drawn, range: { readonly from: number; readonly to: number } | null): Told {
  let [last, min, max, sum, count] = [NaN, Infinity, -Infinity, 0, 0];
  drawn.x.forEach((x, i) => {
    if (range !== null && (x < range.from || x > range.to)) return;
    const mean = drawn.mean[i] ?? NaN;
    last = mean;
    if (!Number.isFinite(mean)) return;
    min = Math.min(min, drawn.min[i] ?? mean);
    max = Math.max(max, drawn.max[i] ?? mean);
    sum += mean;
    count += 1;
  });
  if (count === 0) return { last, min: NaN, max: NaN, mean: NaN };
  return { last, min, max, mean: sum / count };
}
