/**
 * Series that grow: exact columns from the store, followed by the live points heard since.
 *
 * The store answers any stretch with buckets (min, max, mean, last, count). Live points are
 * appended behind them until the store's own answer for that stretch arrives and takes their
 * place. So the curve moves at once and is exact a moment later, whatever was left out on the way.
 */

import { PointRing } from "./ring";

/** One series as the server gives it: equal lengths, x ascending. */
export interface Columns {
  readonly x: Float64Array;
  readonly min: Float64Array;
  readonly max: Float64Array;
  readonly mean: Float64Array;
  readonly last: Float64Array;
}

type Wire = Readonly<Record<string, unknown>>;

/** Numbers as they travel: NaN and the infinities are strings, null is unknown. */
export function numberFrom(value: unknown): number {
  if (typeof value === "number") return value;
  if (value === "NaN" || value === "Infinity" || value === "-Infinity") return Number(value);
  return NaN;
}

function column(values: unknown, length: number): Float64Array {
  const out = new Float64Array(length).fill(NaN);
  if (Array.isArray(values)) {
    for (let i = 0; i < Math.min(length, values.length); i += 1) out[i] = numberFrom(values[i]);
  }
  return out;
}

/** Reads one series of a `/series` answer. Points without an x on this axis are left out. */
export function columnsFrom(wire: Wire): Columns {
  const xs = Array.isArray(wire.x) ? wire.x : [];
  const mean = column(wire.mean ?? wire.last, xs.length);
  return {
    x: column(xs, xs.length),
    min: wire.min === undefined ? mean : column(wire.min, xs.length),
    max: wire.max === undefined ? mean : column(wire.max, xs.length),
    mean,
    last: wire.last === undefined ? mean : column(wire.last, xs.length),
  };
}

const NONE = new Float64Array(0);
const EMPTY: Columns = { x: NONE, min: NONE, max: NONE, mean: NONE, last: NONE };

function joined(a: Float64Array, keep: number, b: Float64Array): Float64Array {
  const out = new Float64Array(keep + b.length);
  out.set(a.subarray(0, keep));
  out.set(b, keep);
  return out;
}

/** What a chart draws: plain arrays of one length. */
export interface Drawn {
  readonly x: readonly number[];
  readonly mean: readonly number[];
  readonly min: readonly number[];
  readonly max: readonly number[];
}

/** One metric: the store's buckets, then live points. */
export class Series {
  #base: Columns = EMPTY;
  readonly #tail: PointRing;
  #drawn: Drawn | null = null;

  constructor(tailCapacity = 2048) {
    this.#tail = new PointRing(tailCapacity);
  }

  /** Buckets from the store; live points come on top. */
  get buckets(): number {
    return this.#base.x.length;
  }

  get length(): number {
    return this.#base.x.length + this.#tail.length;
  }

  /** Takes a whole answer, exact through `lastSeq`. */
  replace(columns: Columns, lastSeq: number): void {
    this.#base = columns;
    this.#tail.dropThrough(lastSeq);
    this.#drawn = null;
  }

  /** Takes an answer for everything from `from` (inclusive) on, exact through `lastSeq`. */
  splice(from: number, columns: Columns, lastSeq: number): void {
    const base = this.#base;
    let keep = base.x.length;
    while (keep > 0 && (base.x[keep - 1] ?? 0) >= from) keep -= 1;
    this.replace(
      {
        x: joined(base.x, keep, columns.x),
        min: joined(base.min, keep, columns.min),
        max: joined(base.max, keep, columns.max),
        mean: joined(base.mean, keep, columns.mean),
        last: joined(base.last, keep, columns.last),
      },
      lastSeq,
    );
  }

  append(seq: number, x: number, value: number): void {
    this.#tail.push(seq, x, value);
    this.#drawn = null;
  }

  /** x of the last bucket that came from the store, -Infinity without one. */
  get exactThrough(): number {
    return this.#base.x.at(-1) ?? -Infinity;
  }

  /** The newest value, NaN if there is none. */
  get lastValue(): number {
    let value = this.#base.last.at(-1) ?? NaN;
    this.#tail.each((_x, v) => {
      value = v;
    });
    return value;
  }

  /** How much of the x axis one bucket from the store covers; 0 while there are too few to say. */
  #bucketWidth(): number {
    const x = this.#base.x;
    if (x.length < 16) return 0;
    return ((x[x.length - 1] ?? 0) - (x[0] ?? 0)) / (x.length - 1);
  }

  /** Buckets that a stretch of length `span` should have to look like the rest. */
  bucketsIn(span: number): number {
    const width = this.#bucketWidth();
    return width > 0 ? Math.max(1, Math.ceil(span / width)) : Infinity;
  }

  /** Everything as plain arrays, cached until something changes. */
  drawn(): Drawn {
    if (this.#drawn !== null) return this.#drawn;
    const base = this.#base;
    const x = Array.from(base.x);
    const mean = Array.from(base.mean);
    const min = Array.from(base.min);
    const max = Array.from(base.max);
    const width = this.#bucketWidth();
    let opened = -Infinity;
    let count = 0;
    this.#tail.each((px, value) => {
      // A run that was rewound would draw a line backwards; the store's answer shows it rightly.
      if (x.length > 0 && px < (x[x.length - 1] ?? px)) return;
      if (count > 0 && px - opened < width) {
        // As wide as the store's buckets, or the live end would look wilder than the rest.
        const at = x.length - 1;
        count += 1;
        mean[at] = (mean[at] ?? 0) + (value - (mean[at] ?? 0)) / count;
        min[at] = Math.min(min[at] ?? value, value);
        max[at] = Math.max(max[at] ?? value, value);
        return;
      }
      opened = px;
      count = 1;
      x.push(px);
      mean.push(value);
      min.push(value);
      max.push(value);
    });
    this.#drawn = { x, mean, min, max };
    return this.#drawn;
  }
}

/** All series of one session on one x axis. */
export class SeriesSet {
  readonly series = new Map<string, Series>();

  get(name: string): Series {
    let found = this.series.get(name);
    if (found === undefined) {
      found = new Series();
      this.series.set(name, found);
    }
    return found;
  }

  /** The longest series, in buckets: what decides whether to ask for a coarser picture. */
  get buckets(): number {
    let most = 0;
    for (const series of this.series.values()) most = Math.max(most, series.buckets);
    return most;
  }

  /** Takes the `series` part of an answer; from null means the whole range. */
  take(answer: Readonly<Record<string, Wire>>, lastSeq: number, from: number | null): void {
    for (const [name, wire] of Object.entries(answer)) {
      const columns = columnsFrom(wire);
      if (from === null) this.get(name).replace(columns, lastSeq);
      else this.get(name).splice(from, columns, lastSeq);
    }
  }
}
