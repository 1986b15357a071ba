/** A finer picture of a stretch held before the coarse one of the whole. */

import type { Drawable, Drawn } from "./series";

/** Index of the first x that is greater than `at`, or at least `at` where `or` says so. */
function beyond(x: readonly number[], at: number, or: boolean): number {
  let low = 0;
  let high = x.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const value = x[middle] ?? NaN;
    if (or ? value >= at : value > at) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Index of the x nearest to `at`; -1 where there is none. */
export function nearest(x: readonly number[], at: number): number {
  const after = beyond(x, at, true);
  if (after === 0) return x.length > 0 ? 0 : -1;
  if (after === x.length) return after - 1;
  return at - (x[after - 1] ?? NaN) <= (x[after] ?? NaN) - at ? after - 1 : after;
}

/** The part from `from` to `to`, with the next point on each side, to which lines lead. */
export function clipped(drawn: Drawn, from: number, to: number): Drawn {
  const first = Math.max(0, beyond(drawn.x, from, true) - 1);
  const end = beyond(drawn.x, to, false) + 1;
  if (first === 0 && end >= drawn.x.length) return drawn;
  return {
    x: drawn.x.slice(first, end),
    mean: drawn.mean.slice(first, end),
    min: drawn.min.slice(first, end),
    max: drawn.max.slice(first, end),
    broken: drawn.broken,
  };
}

function spliced(coarse: Drawn, fine: Drawn, from: number, to: number): Drawn {
  const before = beyond(coarse.x, from, true);
  const behind = beyond(coarse.x, to, false);
  const join = (a: readonly number[], b: readonly number[]): number[] => [
    ...a.slice(0, before),
    ...b,
    ...a.slice(behind),
  ];
  return {
    x: join(coarse.x, fine.x),
    mean: join(coarse.mean, fine.mean),
    min: join(coarse.min, fine.min),
    max: join(coarse.max, fine.max),
    broken: [
      ...coarse.broken.filter((x) => x < from),
      ...fine.broken,
      ...coarse.broken.filter((x) => x > to),
    ],
  };
}

interface Seen {
  readonly coarse: Drawn;
  readonly fine: Drawn;
  readonly whole: Drawn;
}

/** Draws `fine` from `from` to `to`, and `coarse` on both sides of it. */
export class Lens implements Drawable {
  readonly #seen = new Map<string, Seen>();

  constructor(
    readonly coarse: Drawable,
    readonly fine: Drawable,
    readonly from: number,
    readonly to: number,
  ) {}

  get(name: string): { drawn(): Drawn; readonly lastValue: number } {
    return { drawn: () => this.#drawn(name), lastValue: this.coarse.get(name).lastValue };
  }

  #drawn(name: string): Drawn {
    const coarse = this.coarse.get(name).drawn();
    const fine = this.fine.get(name).drawn();
    const seen = this.#seen.get(name);
    if (seen?.coarse === coarse && seen.fine === fine) return seen.whole;
    const whole = spliced(coarse, fine, this.from, this.to);
    this.#seen.set(name, { coarse, fine, whole });
    return whole;
  }
}
