/** Texts, histograms and images of a session, as far as its page keeps them. */

import { getMedia, imageAddress } from "../api/server";
import { forgetFrame, onNextFrame } from "../live";

const KEEP_TEXTS = 100;
/** Of each name: histograms drawn beside one another, and images behind the slider. */
const KEEP_HISTOGRAMS = 240;
const KEEP_IMAGES = 500;
/** Pages of a thousand that are read when the page opens. */
const PAGES = 20;

interface Placed {
  readonly seq: number;
  readonly timestamp: string;
  readonly name: string;
  readonly step: number | null;
  readonly episode: number | null;
}
export interface TextShown extends Placed {
  readonly text: string;
  /** Characters that the reporter cut off its end. */
  readonly leftOut: number;
}
export interface HistogramShown extends Placed {
  readonly counts: readonly number[];
  readonly edges: readonly number[];
  /** Values in no bin: NaN and infinities. */
  readonly odd: number;
}
export interface ImageShown extends Placed {
  readonly address: string;
  readonly width: number;
  readonly height: number;
  readonly caption: string;
}
type Data = Readonly<Record<string, unknown>>;
export type Named<T> = readonly (readonly [string, readonly T[]])[];

const count = (value: unknown): number => (typeof value === "number" ? value : 0);
const known = (value: unknown): number | null => (typeof value === "number" ? value : null);
const numbers = (value: unknown): readonly number[] | null =>
  Array.isArray(value) && value.every((one) => typeof one === "number") ? value : null;

/** `step 1 200`, or the episode where no step was told. */
export function where(one: Placed, whole: (value: number) => string): string {
  if (one.step !== null) return `step ${whole(one.step)}`;
  return one.episode === null ? "" : `episode ${whole(one.episode)}`;
}

/** A list no longer than `most`: every other one goes, the newest stays. */
function thinned<T>(list: readonly T[], most: number): readonly T[] {
  return list.length <= most ? list : list.filter((_, i) => (list.length - 1 - i) % 2 === 0);
}

export class Media {
  /** Newest first. */
  texts = $state.raw<readonly TextShown[]>([]);
  /** By name, oldest first. */
  histograms = $state.raw<Named<HistogramShown>>([]);
  images = $state.raw<Named<ImageShown>>([]);

  readonly #id: string;
  readonly #texts = new Map<number, TextShown>();
  readonly #histograms = new Map<string, readonly HistogramShown[]>();
  readonly #images = new Map<string, readonly ImageShown[]>();
  readonly #show = (): void => this.#shown();

  constructor(id: string) {
    this.#id = id;
  }

  /** Reads what was reported up to now. Throws what the server refuses with. */
  async load(lastSeq: number): Promise<void> {
    let since: number | null = 0;
    for (let page = 0; page < PAGES && since !== null; page += 1) since = await this.#page(since);
    // There is very much of it: the newest matter more than what lies between.
    if (since !== null && lastSeq - 1000 > since) await this.#page(lastSeq - 1000);
  }

  async #page(since: number): Promise<number | null> {
    const { records, next } = await getMedia(this.#id, since);
    for (const { seq, timestamp, ...data } of records) this.take(seq, timestamp, data);
    return next;
  }

  /** Takes one record, as a live message or a page of history tells it; false: it is none. */
  take(seq: number, timestamp: string, data: Data): boolean {
    if (typeof data.name !== "string") return false;
    const step = known(data.step);
    const placed = { seq, timestamp, name: data.name, step, episode: known(data.episode) };
    if (data.event === "text" && typeof data.text === "string") {
      this.#texts.set(seq, { ...placed, text: data.text, leftOut: count(data.left_out) });
      if (this.#texts.size > 2 * KEEP_TEXTS) {
        const oldest = [...this.#texts.keys()].sort((a, b) => a - b).slice(0, KEEP_TEXTS);
        for (const one of oldest) this.#texts.delete(one);
      }
    } else if (data.event === "histogram") {
      const counts = numbers(data.counts);
      const edges = numbers(data.edges);
      if (counts === null || edges === null) return false;
      const odd = count(data.nan) + count(data.positive_infinity) + count(data.negative_infinity);
      this.#put(this.#histograms, { ...placed, counts, edges, odd }, KEEP_HISTOGRAMS);
    } else if (data.event === "image" && typeof data.digest === "string") {
      const image = {
        ...placed,
        address: imageAddress(this.#id, seq, data.digest),
        width: count(data.width),
        height: count(data.height),
        caption: typeof data.caption === "string" ? data.caption : "",
      };
      this.#put(this.#images, image, KEEP_IMAGES);
    } else {
      return false;
    }
    onNextFrame(this.#show);
    return true;
  }

  #put<T extends Placed>(into: Map<string, readonly T[]>, one: T, most: number): void {
    const before = into.get(one.name) ?? [];
    if (before.some((other) => other.seq === one.seq)) return;
    const last = before.at(-1);
    const all = [...before, one];
    if (last !== undefined && last.seq > one.seq) all.sort((a, b) => a.seq - b.seq);
    into.set(one.name, thinned(all, most));
  }

  #shown(): void {
    const texts = [...this.#texts.values()].sort((a, b) => b.seq - a.seq);
    this.texts = texts.slice(0, KEEP_TEXTS);
    this.histograms = [...this.#histograms];
    this.images = [...this.#images];
  }

  close(): void {
    forgetFrame(this.#show);
  }
}
