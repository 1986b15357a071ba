/**
 * Series that grow: exact columns from the store, followed by the live points heard since.
 *
 * The store answers any stretch with buckets (min, max, mean, last, count). Live points are
 * appended behind them until the store's own answer for that stretch arrives and takes their
 * place. So the curve moves at once and is exact a moment later, whatever was left out on the way.
 */

import { PointRing } from "./ring";

/** One series as the server gives it: equal lengths, in the order of `seq`. */
export interface Columns {
  /** Of each bucket's last point. */
  readonly x: Float64Array;
  /** Of the same point. */
  readonly seq: Float64Array;
  readonly min: Float64Array;
  readonly max: Float64Array;
  readonly mean: Float64Array;
  readonly last: Float64Array;
  /** 1 where a bucket holds a NaN or an infinity, else 0. */
  readonly broken: Uint8Array;
  /** How many points are in all buckets together. */
  readonly points: number;
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

/** Reads one series of a `/series` answer. */
export function columnsFrom(wire: Wire): Columns {
  const length = Array.isArray(wire.x) ? wire.x.length : 0;
  const mean = column(wire.mean, length);
  const last = column(wire.last, length);
  const told = Array.isArray(wire.not_finite) ? column(wire.not_finite, length) : null;
  return {
    x: column(wire.x, length),
    seq: column(wire.seq, length),
    min: column(wire.min, length),
    max: column(wire.max, length),
    mean,
    last,
    broken: Uint8Array.from(mean, (v, i) =>
      (told !== null && (told[i] ?? 0) > 0) || !Number.isFinite(v) || !Number.isFinite(last[i]) ? 1 : 0,
    ),
    points: typeof wire.points === "number" ? wire.points : length,
  };
}

const EMPTY: Columns = columnsFrom({});

function after(a: Float64Array, b: Float64Array, skip: number): Float64Array {
  const out = new Float64Array(a.length + b.length - skip);
  out.set(a);
  out.set(b.subarray(skip), a.length);
  return out;
}

/** What a chart draws: plain arrays of one length, x ascending. */
export interface Drawn {
  readonly x: readonly number[];
  readonly mean: readonly number[];
  readonly min: readonly number[];
  readonly max: readonly number[];
  /** x of the buckets that hold a NaN or an infinity. */
  readonly broken: readonly number[];
}

class Pen implements Drawn {
  readonly x: number[];
  readonly mean: number[];
  readonly min: number[];
  readonly max: number[];
  readonly broken: number[];

  /** @param start what is drawn already; copied. */
  constructor(start?: Drawn) {
    this.x = start?.x.slice() ?? [];
    this.mean = start?.mean.slice() ?? [];
    this.min = start?.min.slice() ?? [];
    this.max = start?.max.slice() ?? [];
    this.broken = start?.broken.slice() ?? [];
  }

  put(x: number, mean: number, min: number, max: number): void {
    // A training that went back to a checkpoint runs over the same x again: the later run counts.
    while (this.x.length > 0 && (this.x[this.x.length - 1] ?? x) > x) {
      this.x.pop();
      this.mean.pop();
      this.min.pop();
      this.max.pop();
    }
    while (this.broken.length > 0 && (this.broken[this.broken.length - 1] ?? x) > x) {
      this.broken.pop();
    }
    this.x.push(x);
    this.mean.push(mean);
    this.min.push(min);
    this.max.push(max);
  }
}

/** What can be drawn under a name. */
export interface Drawable {
  get(name: string): { drawn(): Drawn; readonly lastValue: number };
}

/** One metric: the store's buckets, then live points. */
export class Series {
  #base: Columns = EMPTY;
  /** Everything up to this seq is in the store's buckets. */
  #exactSeq = -1;
  readonly #tail: PointRing;
  #drawn: Drawn | null = null;
  /** The store's part of it, which changes seldom. */
  #drawnBase: Pen | null = null;

  constructor(tailCapacity = 2048) {
    this.#tail = new PointRing(tailCapacity);
  }

  /** Buckets from the store; live points come on top. */
  get buckets(): number {
    return this.#base.x.length;
  }

  /** x of the last bucket that came from the store, -Infinity without one. */
  get exactThrough(): number {
    return this.#base.x.at(-1) ?? -Infinity;
  }

  /** Points in each of the store's buckets, on average; 1 where every point is there by itself. */
  get grain(): number {
    const { points, x } = this.#base;
    return x.length === 0 ? 1 : points / x.length;
  }

  /** Live points that wait for the store's answer. */
  get provisional(): number {
    return this.#tail.length;
  }

  /** The newest value, NaN if there is none. */
  get lastValue(): number {
    let value = this.#base.last.at(-1) ?? NaN;
    this.#tail.each((_x, v) => {
      value = v;
    });
    return value;
  }

  /** Takes a whole answer, exact through `lastSeq`. */
  replace(columns: Columns, lastSeq: number): void {
    this.#base = columns;
    this.#exactSeq = Math.max(this.#exactSeq, lastSeq);
    this.#tail.dropThrough(lastSeq);
    this.#drawn = this.#drawnBase = null;
  }

  /**
   * Takes an answer for everything from {@link exactThrough} on, exact through `lastSeq`.
   *
   * The point the two stretches share is known by its `seq` and taken once.
   */
  extend(columns: Columns, lastSeq: number): void {
    const base = this.#base;
    const known = base.seq.at(-1) ?? -Infinity;
    let skip = 0;
    while (skip < columns.seq.length && (columns.seq[skip] ?? 0) <= known) skip += 1;
    const broken = new Uint8Array(base.broken.length + columns.broken.length - skip);
    broken.set(base.broken);
    broken.set(columns.broken.subarray(skip), base.broken.length);
    this.replace(
      {
        x: after(base.x, columns.x, skip),
        seq: after(base.seq, columns.seq, skip),
        min: after(base.min, columns.min, skip),
        max: after(base.max, columns.max, skip),
        mean: after(base.mean, columns.mean, skip),
        last: after(base.last, columns.last, skip),
        broken,
        points: base.points + columns.points - skip,
      },
      lastSeq,
    );
  }

  /** Takes a live point; one that the store's buckets hold already is let pass. */
  append(seq: number, x: number, value: number): void {
    if (seq <= this.#exactSeq) return;
    this.#tail.push(seq, x, value);
    this.#drawn = null;
  }

  /** How much of the x axis one bucket from the store covers; 0 where they are single points. */
  #bucketWidth(): number {
    const x = this.#base.x;
    if (x.length < 16 || this.grain <= 1) return 0;
    return ((x[x.length - 1] ?? 0) - (x[0] ?? 0)) / (x.length - 1);
  }

  /** Buckets that a stretch of length `span` should have to look like the rest. */
  bucketsIn(span: number): number {
    const width = this.#bucketWidth();
    return width > 0 ? Math.max(1, Math.ceil(span / width)) : Infinity;
  }

  #penned(): Pen {
    const { x, min, max, mean, broken } = this.#base;
    const pen = new Pen();
    for (let i = 0; i < x.length; i += 1) {
      pen.put(x[i] ?? NaN, mean[i] ?? NaN, min[i] ?? NaN, max[i] ?? NaN);
      if (broken[i] === 1) pen.broken.push(x[i] ?? NaN);
    }
    return pen;
  }

  /** Everything as plain arrays, cached until something changes. */
  drawn(): Drawn {
    if (this.#drawn !== null) return this.#drawn;
    const pen = new Pen((this.#drawnBase ??= this.#penned()));
    const width = this.#bucketWidth();
    let opened = Infinity;
    let count = 0;
    this.#tail.each((at, value) => {
      if (!Number.isFinite(value)) pen.broken.push(at);
      const i = pen.x.length - 1;
      if (at < opened || at - opened >= width || !Number.isFinite(value)) {
        opened = at;
        count = 1;
        pen.put(at, value, value, value);
        return;
      }
      // As wide as the store's buckets, or the live end would look wilder than the rest.
      count += 1;
      pen.x[i] = at;
      pen.mean[i] = (pen.mean[i] ?? 0) + (value - (pen.mean[i] ?? 0)) / count;
      pen.min[i] = Math.min(pen.min[i] ?? value, value);
      pen.max[i] = Math.max(pen.max[i] ?? value, value);
    });
    this.#drawn = pen;
    return pen;
  }
}

/** All series of one session on one x axis. */
export class SeriesSet implements Drawable {
  readonly series = new Map<string, Series>();

  get(name: string): Series {
    let found = this.series.get(name);
    if (found === undefined) {
      found = new Series();
      this.series.set(name, found);
    }
    return found;
  }

  /** The coarsest series, in points a bucket. */
  get grain(): number {
    let most = 1;
    for (const series of this.series.values()) most = Math.max(most, series.grain);
    return most;
  }

  /** The longest series, in buckets: what decides whether to ask for a coarser picture. */
  get buckets(): number {
    let most = 0;
    for (const series of this.series.values()) most = Math.max(most, series.buckets);
    return most;
  }

  /** Takes the `series` part of an answer that holds the whole range asked for. */
  take(answer: Readonly<Record<string, Wire>>, lastSeq: number): void {
    for (const [name, wire] of Object.entries(answer)) {
      this.get(name).replace(columnsFrom(wire), lastSeq);
    }
  }

  /** Takes the `series` part of an answer that holds what came after `exactThrough`. */
  extend(answer: Readonly<Record<string, Wire>>, lastSeq: number): void {
    for (const [name, wire] of Object.entries(answer)) {
      this.get(name).extend(columnsFrom(wire), lastSeq);
    }
  }

  /**
   * Names of the series by where the store's part of them ends: rewards that come with every
   * episode end elsewhere than losses that come with every update.
   *
   * @param most how many ends at most; the oldest share the oldest of theirs.
   */
  rhythms(most: number): [from: number, names: string[]][] {
    const found = new Map<number, string[]>();
    for (const [name, series] of this.series) {
      const names = found.get(series.exactThrough);
      if (names === undefined) found.set(series.exactThrough, [name]);
      else names.push(name);
    }
    const sorted = [...found].sort(([a], [b]) => b - a);
    const rest = sorted.splice(most);
    for (const [from, names] of rest) {
      const last = sorted[most - 1];
      if (last === undefined) break;
      last[0] = from;
      last[1].push(...names);
    }
    return sorted;
  }
}
