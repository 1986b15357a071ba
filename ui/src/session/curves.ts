/**
 * The curves of one session on one x axis: exact at the start, moving with the live feed, made
 * exact again a moment after anything was left out.
 */

import { ApiError, getSeries } from "../api/server";
import type { Axis, Metrics } from "../api/types";
import { SeriesSet } from "../live";
import { NOT_CURVES } from "./catalogue";
import { numbersOf } from "./figures";

export interface Range {
  readonly from: number;
  readonly to: number;
}

/** Buckets a curve is asked for; a card is about this many pixels wide. */
const BUCKETS = 600;
/** Past this many, spliced stretches are asked for again as one coarser picture. */
const TOO_MANY = 1500;
const REPAIR_AFTER_MS = 1000;
/** Questions a repair asks at most: one for each rhythm in which metrics come. */
const MOST_RHYTHMS = 4;
/** Live points a curve may collect before the store is asked for them. */
const LONG_TAIL = 512;

/** Where a metrics record lies on an axis; NaN when it does not say. */
export function xOf(axis: Axis, metrics: Metrics): number {
  if (axis === "time") {
    return typeof metrics.timestamp === "string" ? Date.parse(metrics.timestamp) / 1000 : NaN;
  }
  const value = metrics[axis];
  return typeof value === "number" ? value : NaN;
}

export class Curves {
  readonly #sessionId: string;
  readonly #changed: (problem: ApiError | null) => void;
  /** The whole run; always follows. */
  overview = new SeriesSet();
  /** The stretch looked at, null while following live. */
  detail: SeriesSet | null = null;
  axis: Axis = "episode";
  range: Range | null = null;
  loaded = false;
  names: readonly string[] = [];
  #loading: AbortController | null = null;
  #zooming: AbortController | null = null;
  #repairTimer: ReturnType<typeof setTimeout> | undefined;
  #lastSeq = 0;
  #newestX = NaN;
  #pending: { seq: number; metrics: Metrics }[] = [];

  constructor(sessionId: string, changed: (problem: ApiError | null) => void) {
    this.#sessionId = sessionId;
    this.#changed = changed;
  }

  /** What the charts draw now. */
  get shown(): SeriesSet {
    return this.detail ?? this.overview;
  }

  /** Asks for everything anew, as after a change of axis or a stretch that cannot be replayed. */
  async load(axis: Axis = this.axis): Promise<void> {
    this.#loading?.abort();
    const mine = new AbortController();
    this.#loading = mine;
    clearTimeout(this.#repairTimer);
    this.#repairTimer = undefined;
    try {
      const answer = await getSeries(
        this.#sessionId,
        { x: axis, maxPoints: BUCKETS },
        mine.signal,
      );
      if (mine.signal.aborted) return;
      if (axis !== this.axis) this.#leaveZoom();
      this.axis = axis;
      const fresh = new SeriesSet();
      fresh.take(answer.series, answer.last_seq);
      this.overview = fresh;
      this.loaded = true;
      this.#lastSeq = answer.last_seq;
      this.#learn(answer.metrics);
      this.#loading = null;
      // What arrived while the answer was on its way.
      for (const { seq, metrics } of this.#pending.splice(0)) this.append(seq, metrics);
      this.#changed(null);
    } catch (problem) {
      if (mine.signal.aborted) return;
      this.#loading = null;
      this.#fail(problem);
    }
  }

  /** Takes one live metrics record. */
  append(seq: number, metrics: Metrics): void {
    if (this.#loading !== null || !this.loaded) {
      this.#pending.push({ seq, metrics });
      if (this.#pending.length > 4096) this.#pending.splice(0, 2048);
      return;
    }
    if (seq <= this.#lastSeq) return;
    const x = xOf(this.axis, metrics);
    if (!Number.isNaN(x)) this.#newestX = x;
    const heard: string[] = [];
    let waiting = 0;
    for (const [name, value] of numbersOf(metrics)) {
      if (NOT_CURVES.has(name)) continue;
      heard.push(name);
      if (Number.isNaN(x)) continue;
      const series = this.overview.get(name);
      series.append(seq, x, value);
      waiting = Math.max(waiting, series.provisional);
    }
    this.#learn(heard);
    const incomplete = metrics.skipped_from !== undefined || Number.isNaN(x);
    if (incomplete || waiting > LONG_TAIL) this.repairSoon();
  }

  /** Asks the store, within a second, for the newest stretch as it really was. */
  repairSoon(): void {
    this.#repairTimer ??= setTimeout(() => {
      this.#repairTimer = undefined;
      void this.#repair();
    }, REPAIR_AFTER_MS);
  }

  async #repair(): Promise<void> {
    if (this.#loading !== null) return;
    const set = this.overview;
    if (set.buckets > TOO_MANY) return this.load();
    try {
      for (const [from, metrics] of set.rhythms(MOST_RHYTHMS)) {
        const first = set.get(metrics[0] ?? "");
        const span = Math.max(0, this.#newestX - from);
        const answer = await getSeries(this.#sessionId, {
          metrics,
          x: this.axis,
          from: Number.isFinite(from) ? from : null,
          // One more for the point that is already here.
          maxPoints: Math.min(BUCKETS, 1 + first.bucketsIn(span)),
        });
        if (this.#loading !== null || set !== this.overview) return;
        set.extend(answer.series, answer.last_seq);
        this.#learn(answer.metrics);
      }
      this.#changed(null);
    } catch (problem) {
      this.#fail(problem);
      this.repairSoon();
    }
  }

  /** Looks closer at a stretch, with the store's finer data; null returns to live. */
  async zoom(range: Range | null): Promise<void> {
    this.#zooming?.abort();
    if (range === null) {
      this.#leaveZoom();
      this.#changed(null);
      return;
    }
    const mine = new AbortController();
    this.#zooming = mine;
    this.range = range;
    this.detail ??= this.overview; // the coarse picture until the finer one is here
    this.#changed(null);
    try {
      const answer = await getSeries(
        this.#sessionId,
        { x: this.axis, from: range.from, to: range.to, maxPoints: BUCKETS },
        mine.signal,
      );
      if (mine.signal.aborted) return;
      const detail = new SeriesSet();
      detail.take(answer.series, answer.last_seq);
      this.detail = detail;
      this.#changed(null);
    } catch (problem) {
      if (!mine.signal.aborted) this.#fail(problem);
    }
  }

  close(): void {
    this.#loading?.abort();
    this.#zooming?.abort();
    clearTimeout(this.#repairTimer);
  }

  #leaveZoom(): void {
    this.#zooming?.abort();
    this.range = null;
    this.detail = null;
  }

  #learn(names: readonly string[]): void {
    const known = new Set(this.names);
    const fresh = names.filter((name) => !known.has(name) && !NOT_CURVES.has(name));
    if (fresh.length > 0) this.names = [...this.names, ...fresh];
  }

  #fail(problem: unknown): void {
    if (!(problem instanceof ApiError)) throw problem;
    this.#changed(problem);
  }
}
