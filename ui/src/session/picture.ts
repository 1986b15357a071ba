/**
 * A stretch of one session on one x axis: exact as the store has it, moving with the live feed
 * where it reaches the live end, made exact again a moment after anything was left out.
 */

import { ApiError, getSeries } from "../api/server";
import type { Axis, Metrics } from "../api/types";
import { SeriesSet } from "../live";
import { NOT_CURVES } from "./catalogue";
import { numbersOf } from "./figures";

/** Buckets the store gives each curve in any case, however many share a number of them. */
const FEWEST_BUCKETS = 100;
/** Past this many buckets, spliced stretches are asked for again as one coarser picture. */
const TOO_MANY = 2.5;
const REPAIR_AFTER_MS = 1000;
/** Questions a repair asks at most: one for each rhythm in which metrics come. */
const MOST_RHYTHMS = 4;
/** Live points a curve may collect before the store is asked for them. */
const LONG_TAIL = 512;
/** Live records kept while the first answer is on its way. */
const MOST_PENDING = 4096;

/** Seconds since 1970 of a UTC time, to the microsecond that `Date` would drop. */
export function secondsOf(iso: string): number {
  const [, whole = "", fraction = "", zone = ""] = /^(.*?)(\.\d+)?(Z|[+-][\d:]+)?$/.exec(iso) ?? [];
  return Date.parse(whole + zone) / 1000 + Number(fraction || 0);
}

/** Where a metrics record lies on an axis; NaN when it does not say. */
export function xOf(axis: Axis, metrics: Metrics): number {
  if (axis === "time") {
    return typeof metrics.timestamp === "string" ? secondsOf(metrics.timestamp) : NaN;
  }
  const value = metrics[axis];
  return typeof value === "number" ? value : NaN;
}

export interface PictureOf {
  readonly sessionId: string;
  readonly axis: Axis;
  /** Both included; null where the stretch has no end on that side. */
  readonly from: number | null;
  readonly to: number | null;
  /** Buckets a curve is asked for. */
  readonly buckets: number;
  /** What all curves share: with very many metrics each is drawn coarser. */
  readonly total: number;
}

export interface PictureTells {
  /** The curves are others than before. */
  readonly changed: () => void;
  /** A question was refused or not answered; it is asked again. */
  readonly failed: (problem: ApiError) => void;
  /** There are too many buckets by now; somebody should ask anew. */
  readonly outgrown: () => void;
  /** Names of metrics that were seen. */
  readonly names: (names: readonly string[]) => void;
}

export class Picture {
  readonly of: PictureOf;
  readonly set = new SeriesSet();
  loaded = false;
  /** The largest x heard live, -Infinity before the first. */
  heardX = -Infinity;
  readonly #tells: PictureTells;
  #lastSeq = 0;
  /** There are records up to here, whether or not they came in live. */
  #told = 0;
  #repairTimer: ReturnType<typeof setTimeout> | undefined;
  /** Buckets of each curve, as many as there turned out to be. */
  #share: number;
  readonly #leaving = new AbortController();
  #pending: { seq: number; metrics: Metrics }[] = [];
  #missed = false;

  constructor(of: PictureOf, tells: PictureTells) {
    this.of = of;
    this.#share = of.buckets;
    this.#tells = tells;
  }

  get closed(): boolean {
    return this.#leaving.signal.aborted;
  }

  /** Whether what comes in live belongs to it. */
  get reachesLive(): boolean {
    return this.of.to === null;
  }

  /**
   * Asks for all of it.
   *
   * @throws ApiError, or an AbortError once it is closed.
   */
  async load(): Promise<void> {
    const { sessionId, axis, from, to, buckets, total } = this.of;
    const answer = await getSeries(
      sessionId,
      { x: axis, from, to, maxPoints: buckets, maxTotal: total },
      this.#leaving.signal,
    );
    this.#leaving.signal.throwIfAborted();
    this.set.take(answer.series, answer.last_seq);
    this.#lastSeq = answer.last_seq;
    const part = Math.floor(total / Math.max(1, answer.metrics.length));
    this.#share = Math.min(buckets, Math.max(FEWEST_BUCKETS, part));
    this.loaded = true;
    this.#tells.names(answer.metrics);
    // What arrived while the answer was on its way.
    for (const { seq, metrics } of this.#pending.splice(0)) this.append(seq, metrics);
    if (this.#missed || this.#lastSeq < this.#told) this.repairSoon();
  }

  /** Hears how far the session had come when the live connection was made. */
  tell(lastSeq: number): void {
    this.#told = Math.max(this.#told, lastSeq);
    if (this.loaded && this.#lastSeq < lastSeq) this.repairSoon();
  }

  /** Takes one live metrics record. */
  append(seq: number, metrics: Metrics): void {
    if (!this.reachesLive) return;
    if (!this.loaded) {
      this.#pending.push({ seq, metrics });
      if (this.#pending.length > MOST_PENDING) {
        this.#pending.splice(0, MOST_PENDING / 2);
        this.#missed = true;
      }
      return;
    }
    if (seq <= this.#lastSeq) return;
    this.#lastSeq = seq;
    const x = xOf(this.of.axis, metrics);
    if (x > this.heardX) this.heardX = x;
    const outside = this.of.from !== null && x < this.of.from;
    const heard: string[] = [];
    let waiting = 0;
    for (const [name, value] of numbersOf(metrics)) {
      if (NOT_CURVES.has(name)) continue;
      heard.push(name);
      if (Number.isNaN(x) || outside) continue;
      const series = this.set.get(name);
      series.append(seq, x, value);
      waiting = Math.max(waiting, series.provisional);
    }
    this.#tells.names(heard);
    const incomplete = metrics.skipped_from !== undefined || Number.isNaN(x);
    if (incomplete || waiting > LONG_TAIL) this.repairSoon();
  }

  /** Asks the store, within a second, for the newest stretch as it really was. */
  repairSoon(): void {
    if (!this.loaded) {
      this.#missed = true;
      return;
    }
    if (this.closed || !this.reachesLive) return;
    this.#repairTimer ??= setTimeout(() => {
      this.#repairTimer = undefined;
      void this.#repair();
    }, REPAIR_AFTER_MS);
  }

  async #repair(): Promise<void> {
    const { sessionId, axis } = this.of;
    if (this.set.buckets > TOO_MANY * this.#share) return this.#tells.outgrown();
    try {
      for (const [end, metrics] of this.set.rhythms(MOST_RHYTHMS)) {
        const first = this.set.get(metrics[0] ?? "");
        const from = Math.max(end, this.of.from ?? -Infinity);
        const answer = await getSeries(
          sessionId,
          {
            metrics,
            x: axis,
            from: Number.isFinite(from) ? from : null,
            // One more for the point that is already here.
            maxPoints: Math.min(this.#share, 1 + first.bucketsIn(Math.max(0, this.heardX - from))),
          },
          this.#leaving.signal,
        );
        if (this.closed) return;
        this.set.extend(answer.series, answer.last_seq);
        this.#tells.names(answer.metrics);
      }
      this.#tells.changed();
    } catch (problem) {
      if (this.closed) return;
      if (!(problem instanceof ApiError)) throw problem;
      this.#tells.failed(problem);
      this.repairSoon();
    }
  }

  /** Ends it: nothing is asked any more. */
  close(): void {
    this.#leaving.abort();
    clearTimeout(this.#repairTimer);
  }
}
