/** Small charts of a few lines: what they draw, as paths in a box of 1000 × 100. */

import { plain, short } from "../../words/numbers";

export interface Line {
  readonly name: string;
  /** 1…8. */
  readonly hue: number;
  /** Of one length; rising. */
  readonly x: readonly number[];
  readonly y: readonly number[];
}

export interface Frame {
  readonly from: number;
  readonly to: number;
  readonly least: number;
  readonly most: number;
}

export const WIDTH = 1000;
export const HEIGHT = 100;
/** More points than this are thinned, each bucket's ends and extremes kept. */
const DRAWN = 2000;
/** Up to so many points are dots as well. */
const DOTTED = 40;

/** What all lines together span; `zero` keeps 0 in sight. Null where there is nothing to draw. */
export function frameOf(lines: readonly Line[], zero = false): Frame | null {
  let [from, to, least, most] = [Infinity, -Infinity, zero ? 0 : Infinity, zero ? 0 : -Infinity];
  let any = false;
  for (const { x, y } of lines) {
    for (let i = 0; i < x.length; i += 1) {
      const at = x[i] ?? NaN;
      const value = y[i] ?? NaN;
      if (!Number.isFinite(at) || !Number.isFinite(value)) continue;
      any = true;
      from = Math.min(from, at);
      to = Math.max(to, at);
      least = Math.min(least, value);
      most = Math.max(most, value);
    }
  }
  if (!any) return null;
  if (least === most) {
    const room = Math.abs(least) * 0.1 || 1;
    [least, most] = [least - room, most + room];
  }
  return { from, to, least, most };
}

/** The words of its scale: top, middle, bottom, with as many digits as tell them apart. */
export function scaleOf({ least, most }: Frame): readonly string[] {
  const at = [most, (most + least) / 2, least];
  const size = Math.max(Math.abs(least), Math.abs(most));
  const digits = Math.ceil(-Math.log10(most - least)) + 1;
  if (size >= 1e4 || digits > 5) return at.map(short);
  const few = Math.max(0, digits);
  return at.map((value) => (Number(value.toFixed(few)) === 0 ? "0" : plain(value, few)));
}

export const across = (frame: Frame, x: number): number =>
  frame.to === frame.from ? WIDTH / 2 : ((x - frame.from) / (frame.to - frame.from)) * WIDTH;
export const up = (frame: Frame, y: number): number =>
  HEIGHT - ((y - frame.least) / (frame.most - frame.least)) * HEIGHT;

/** The indices drawn of a long line: first, last, least and greatest of each bucket. */
function kept(y: readonly number[]): readonly number[] {
  if (y.length <= DRAWN) return y.map((_, i) => i);
  const size = (y.length / DRAWN) * 4;
  const found = new Set<number>();
  for (let a = 0; a < y.length; a += size) {
    const [first, end] = [Math.floor(a), Math.min(y.length, Math.floor(a + size))];
    let [low, high] = [first, first];
    for (let i = first; i < end; i += 1) {
      if ((y[i] ?? NaN) < (y[low] ?? NaN)) low = i;
      if ((y[i] ?? NaN) > (y[high] ?? NaN)) high = i;
    }
    for (const i of [first, low, high, end - 1]) found.add(i);
  }
  return [...found].sort((a, b) => a - b);
}

/** A line as an SVG path; it is broken where a value is no number. */
export function pathOf(line: Line, frame: Frame): string {
  let path = "";
  let pen = false;
  for (const i of kept(line.y)) {
    const x = across(frame, line.x[i] ?? NaN);
    const y = up(frame, line.y[i] ?? NaN);
    if (!Number.isFinite(x) || !Number.isFinite(y)) {
      pen = false;
      continue;
    }
    path += `${pen ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(2)}`;
    pen = true;
  }
  return path;
}

/** Its points, where they are few: what lies between them was not told. */
export function dotsOf({ x, y }: Line, frame: Frame): string {
  if (y.length > DOTTED) return "";
  const points = y.map((value, i) => [across(frame, x[i] ?? NaN), up(frame, value)] as const);
  return points
    .filter(([left, top]) => Number.isFinite(left) && Number.isFinite(top))
    .map(([left, top]) => `M${left.toFixed(1)} ${top.toFixed(2)}h0`)
    .join("");
}

/** The place of the point nearest to `x`; -1 of none. */
export function nearest(x: readonly number[], at: number): number {
  if (x.length === 0) return -1;
  let [low, high] = [0, x.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((x[middle] ?? NaN) < at) low = middle + 1;
    else high = middle;
  }
  return low > 0 && at - (x[low - 1] ?? NaN) < (x[low] ?? NaN) - at ? low - 1 : low;
}

/**
 * Areas one above the other, as polygons from the bottom: shares of 1 by step. `stepped` holds each
 * value until the next one. Of very many steps every n-th is drawn.
 */
export function stacked(
  x: readonly number[],
  columns: readonly (readonly number[])[],
  stepped = false,
): readonly string[] {
  const frame: Frame = { from: x[0] ?? 0, to: x.at(-1) ?? 1, least: 0, most: 1 };
  const every = Math.ceil(x.length / DRAWN);
  const places = x.map((_, i) => i).filter((i) => i % every === 0 || i === x.length - 1);
  const base = x.map(() => 0);
  const point = (i: number, y: number): string =>
    `${across(frame, x[i] ?? NaN).toFixed(1)},${up(frame, Math.min(1, y)).toFixed(2)}`;
  const edge = (heights: readonly number[]): string[] =>
    places.flatMap((i, n) => {
      const y = heights[i] ?? 0;
      const next = places[n + 1];
      return stepped && next !== undefined ? [point(i, y), point(next, y)] : [point(i, y)];
    });
  return columns.map((values) => {
    const below = edge(base);
    values.forEach((value, i) => (base[i] = (base[i] ?? 0) + (Number.isFinite(value) ? value : 0)));
    return [...below, ...edge(base).reverse()].join(" ");
  });
}
