/** The curves of one session on one x axis: the whole run, and finer the stretch looked at. */

import { ApiError } from "../api/server";
import type { Axis, Metrics } from "../api/types";
import { Lens, type Drawable, type SeriesSet } from "../live";
import { NOT_CURVES } from "./catalogue";
import { Picture } from "./picture";

export interface Range {
  readonly from: number;
  readonly to: number;
  /** It ends at the newest point, and moves on with it. */
  readonly live: boolean;
}

/** Buckets a curve is asked for; a card is about this many pixels wide. */
const BUCKETS = 600;
/** All curves of a session together: with very many metrics each is drawn coarser, zoomed finer. */
const MOST_BUCKETS = 36_000;
/** On each side of the stretch looked at, a half of it is asked for as well, for a look beside. */
const MARGIN = 0.5;
/** So fine must the fine picture be: not more than this many times as wide as what is looked at. */
const FINE_ENOUGH = 2 * MARGIN + 1.5;
/** While a finger or a wheel moves, the finer picture waits until it rests. */
const REST_MS = 150;
const ASK_AGAIN_MS = 2000;
/** Narrower than this makes no sense: two episodes, two steps, two milliseconds. */
const NARROWEST: Readonly<Record<Axis, number>> = { episode: 2, step: 2, time: 0.002 };

export class Curves {
  readonly #sessionId: string;
  readonly #changed: (problem: ApiError | null) => void;
  axis: Axis = "episode";
  /** The stretch looked at, null for the whole run. */
  range: Range | null = null;
  names: readonly string[] = [];
  /** An x that is pointed at outside of the charts, null for none. */
  marked: number | null = null;
  #whole: Picture;
  #nextWhole: Picture | null = null;
  #fine: Picture | null = null;
  #nextFine: Picture | null = null;
  #lens: Lens | null = null;
  #restTimer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  /** @param changed told whenever the curves are others, or cannot be had. */
  constructor(sessionId: string, changed: (problem: ApiError | null) => void) {
    this.#sessionId = sessionId;
    this.#changed = changed;
    this.#whole = this.#picture(this.axis, null, null);
  }

  get loaded(): boolean {
    return this.#whole.loaded;
  }

  /** The whole run; always follows. */
  get overview(): SeriesSet {
    return this.#whole.set;
  }

  /** What the charts draw now: the coarse picture, with the finer one where there is one. */
  get shown(): Drawable {
    const whole = this.#whole.set;
    const fine = this.#fine;
    if (fine === null) return whole;
    if (this.#lens?.coarse !== whole || this.#lens.fine !== fine.set) {
      this.#lens = new Lens(whole, fine.set, fine.of.from ?? -Infinity, fine.of.to ?? Infinity);
    }
    return this.#lens;
  }

  /** Whether a finer picture is on its way. */
  get refining(): boolean {
    return this.#nextFine !== null || this.#restTimer !== undefined;
  }

  /** Points behind each one drawn in the stretch looked at, on average; 1 where all are shown. */
  get grain(): number {
    return this.#fine !== null && this.#covers(this.#fine) ? this.#fine.set.grain : this.overview.grain;
  }

  /** Asks for everything anew, as after a change of axis or a stretch that cannot be replayed. */
  async load(axis: Axis = this.axis): Promise<void> {
    this.#nextWhole?.close();
    const fresh = this.#picture(axis, null, null);
    this.#nextWhole = fresh;
    try {
      await fresh.load();
    } catch (problem) {
      if (fresh.closed) return;
      fresh.close();
      this.#nextWhole = null;
      this.#fail(problem);
      return;
    }
    this.#whole.close();
    this.#whole = fresh;
    this.#nextWhole = null;
    if (axis !== this.axis) {
      this.#leaveZoom();
      this.axis = axis;
    }
    if (this.range !== null) void this.#refine();
    this.#changed(null);
  }

  /** Takes one live metrics record. */
  append(seq: number, metrics: Metrics): void {
    for (const picture of this.#pictures()) picture.append(seq, metrics);
    this.#follow(this.#whole.heardX);
  }

  #follow(newest: number): void {
    const range = this.range;
    if (!range?.live || !(newest > range.to)) return;
    const on = newest - range.to;
    this.range = { from: range.from + on, to: newest, live: true };
  }

  /** Hears how far the session had come when the live connection was made. */
  tell(lastSeq: number): void {
    for (const picture of this.#pictures()) picture.tell(lastSeq);
  }

  /** Asks the store, within a second, for the newest stretch as it really was. */
  repairSoon(): void {
    for (const picture of this.#pictures()) picture.repairSoon();
  }

  /** From the first x to the last; null before there are two. */
  get extent(): readonly [number, number] | null {
    let first = Infinity;
    let last = -Infinity;
    for (const series of this.overview.series.values()) {
      const { x } = series.drawn();
      first = Math.min(first, x[0] ?? Infinity);
      last = Math.max(last, x.at(-1) ?? -Infinity);
    }
    return first < last ? [first, last] : null;
  }

  /**
   * Looks closer at a stretch: coarse at once, finer when the store has answered.
   *
   * @param wanted null for the whole run, as is whatever holds all of it.
   * @param moving whether this is one of many steps of a movement that goes on.
   */
  zoom(wanted: { readonly from: number; readonly to: number } | null, moving = false): void {
    const extent = this.extent;
    if (wanted === null || extent === null) {
      this.#leaveZoom();
      this.#changed(null);
      return;
    }
    const [first, last] = extent;
    const span = Math.max(wanted.to - wanted.from, Math.min(NARROWEST[this.axis], last - first));
    if (span >= last - first) {
      this.#leaveZoom();
      this.#changed(null);
      return;
    }
    const middle = (wanted.from + wanted.to) / 2;
    const from = Math.min(Math.max(middle - span / 2, first), last - span);
    const live = from + span >= last - 0.01 * span;
    this.range = { from: live ? last - span : from, to: live ? last : from + span, live };
    clearTimeout(this.#restTimer);
    this.#restTimer = undefined;
    if (!this.#fineEnough()) {
      if (moving) this.#refineIn(REST_MS);
      else void this.#refine();
    }
    this.#changed(null);
  }

  /** Shows in all charts where an x is, as while somebody points at an event; null for none. */
  mark(x: number | null): void {
    this.marked = x;
    this.#changed(null);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#restTimer);
    for (const picture of this.#pictures()) picture.close();
  }

  /** Whether what is there shows the stretch looked at as finely as it can be drawn. */
  #fineEnough(): boolean {
    const range = this.range;
    const fine = this.#nextFine ?? this.#fine;
    if (range === null) return true;
    if (fine === null || !this.#covers(fine)) return false;
    if (fine.loaded && fine.set.grain <= 1) return true;
    const [first, last] = this.extent ?? [0, 0];
    const width = Math.min(fine.of.to ?? last, last) - Math.max(fine.of.from ?? first, first);
    return width <= FINE_ENOUGH * (range.to - range.from);
  }

  /** Whether all that is looked at lies inside of it. */
  #covers({ of }: Picture): boolean {
    const range = this.range;
    return range === null || (range.from >= (of.from ?? -Infinity) && range.to <= (of.to ?? Infinity));
  }

  #refineIn(ms: number): void {
    clearTimeout(this.#restTimer);
    this.#restTimer = setTimeout(() => {
      this.#restTimer = undefined;
      void this.#refine();
    }, ms);
  }

  async #refine(): Promise<void> {
    const range = this.range;
    const extent = this.extent;
    if (range === null || extent === null || this.#closed) return;
    this.#nextFine?.close();
    const room = (range.to - range.from) * MARGIN;
    const from = range.from - room <= extent[0] ? null : range.from - room;
    const to = range.to + room >= extent[1] ? null : range.to + room;
    const fresh = this.#picture(this.axis, from, to, 1 + 2 * MARGIN);
    this.#nextFine = fresh;
    try {
      await fresh.load();
    } catch (problem) {
      if (fresh.closed) return;
      fresh.close();
      this.#nextFine = null;
      this.#fail(problem);
      this.#refineIn(ASK_AGAIN_MS);
      return;
    }
    this.#fine?.close();
    this.#fine = fresh;
    this.#nextFine = null;
    this.#changed(null);
  }

  #picture(axis: Axis, from: number | null, to: number | null, widths?: number): Picture {
    const whole = widths === undefined;
    const buckets = Math.round(BUCKETS * (widths ?? 1));
    const total = Math.round(MOST_BUCKETS * (widths ?? 1));
    return new Picture(
      { sessionId: this.#sessionId, axis, from, to, buckets, total },
      {
        changed: () => {
          if (this.range?.live) this.#follow(this.extent?.[1] ?? NaN);
          this.#changed(null);
        },
        failed: (problem) => this.#changed(problem),
        outgrown: () => void (whole ? this.load() : this.#refine()),
        names: (names) => this.#learn(names),
      },
    );
  }

  *#pictures(): Iterable<Picture> {
    for (const picture of [this.#whole, this.#nextWhole, this.#fine, this.#nextFine]) {
      if (picture !== null) yield picture;
    }
  }

  #leaveZoom(): void {
    clearTimeout(this.#restTimer);
    this.#restTimer = undefined;
    this.#nextFine?.close();
    this.#fine?.close();
    this.range = this.#fine = this.#nextFine = this.#lens = null;
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
