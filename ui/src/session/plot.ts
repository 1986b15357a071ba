/** From a group of lines and their series to what uPlot draws, and the uPlot options for it. */

import uPlot from "uplot";
import type { Axis } from "../api/types";
import { faded, token } from "../look/hues";
import type { SeriesSet } from "../live";
import { short } from "../words/numbers";
import type { Group, Line } from "./grouping";
import { clockTicks, linearTicks, logTicks, symlogTicks } from "./ticks";
import { smoothed } from "./smoothing";

type Column = (number | null | undefined)[];

/** With more lines than this, raw values and extremes would only be fog. */
const BACKDROPS_UP_TO = 3;

/** Series per line: raw, band top, band bottom, smoothed line. */
const PER_LINE = 4;

export interface Plotted {
  readonly data: uPlot.AlignedData;
  /** Limits for left and right axis: all lines whole, extremes up to their outermost hundredth. */
  readonly left: readonly [number, number];
  readonly right: readonly [number, number];
  /** Whether every drawn value is above zero, as a logarithm needs. */
  readonly positive: boolean;
  /** x of values that are NaN or infinite. */
  readonly broken: readonly number[];
}

function same(a: readonly number[], b: readonly number[]): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i += 1) if (a[i] !== b[i]) return false;
  return true;
}

/** uPlot takes null as a gap and would trip over NaN. */
function gaps(values: readonly number[]): Column {
  return values.map((v) => (Number.isFinite(v) ? v : null));
}

class Limits {
  readonly #whole: number[] = [];
  readonly #trimmed: number[] = [];
  #low = Infinity;
  #high = -Infinity;

  line(values: Column): void {
    for (const v of values) {
      if (v === null || v === undefined) continue;
      if (v < this.#low) this.#low = v;
      if (v > this.#high) this.#high = v;
    }
  }

  extremes(low: Column, high: Column): void {
    for (const v of low) if (typeof v === "number") this.#trimmed.push(v);
    for (const v of high) if (typeof v === "number") this.#whole.push(v);
  }

  result(): [number, number] {
    let low = this.#low;
    let high = this.#high;
    if (this.#trimmed.length > 0) {
      this.#trimmed.sort((a, b) => a - b);
      this.#whole.sort((a, b) => a - b);
      low = Math.min(low, this.#trimmed[Math.floor(this.#trimmed.length * 0.01)] ?? low);
      high = Math.max(high, this.#whole[Math.ceil(this.#whole.length * 0.99) - 1] ?? high);
    }
    return [low, high];
  }
}

/** Everything one card draws. */
export function plotted(
  group: Group,
  set: SeriesSet,
  smoothing: number,
  width: number,
  withRange: readonly [number, number] | null,
): Plotted {
  const backdrops = group.lines.length <= BACKDROPS_UP_TO;
  const tables: { x: readonly number[]; columns: Column[] }[] = [];
  const left = new Limits();
  const right = new Limits();
  const broken: number[] = [];
  let positive = true;
  for (const line of group.lines) {
    const own = set.get(line.name).drawn();
    const behind = backdrops ? set.get(line.backdrop).drawn() : null;
    const amount = line.exact ? 0 : smoothing;
    const main = gaps(smoothed(own.x, own.mean, amount, width));
    broken.push(...own.broken);
    const limits = line.right ? right : left;
    const inside = (x: readonly number[], values: Column): Column =>
      withRange === null
        ? values
        : values.map((v, i) => {
            const at = x[i] ?? NaN;
            return at >= withRange[0] && at <= withRange[1] ? v : null;
          });
    limits.line(inside(own.x, main));
    if (main.some((v) => v !== null && v !== undefined && v <= 0)) positive = false;
    if (behind !== null) {
      const low = gaps(behind.min);
      const high = gaps(behind.max);
      limits.extremes(inside(behind.x, low), inside(behind.x, high));
      if (low.some((v) => v !== null && v !== undefined && v <= 0)) positive = false;
      const raw = amount > 0 || line.backdrop !== line.name ? gaps(behind.mean) : [];
      const empty: Column = new Array<null>(behind.x.length).fill(null);
      tables.push({ x: behind.x, columns: [raw.length > 0 ? raw : empty, high, low] });
    } else {
      tables.push({ x: own.x, columns: [[], [], []].map(() => new Array<null>(own.x.length).fill(null)) });
    }
    tables.push({ x: own.x, columns: [main] });
  }
  const first = tables[0]?.x ?? [];
  const data = tables.every((t) => same(t.x, first))
    ? ([first, ...tables.flatMap((t) => t.columns)] as uPlot.AlignedData)
    : uPlot.join(tables.map((t) => [t.x, ...t.columns] as uPlot.AlignedData));
  return { data, left: left.result(), right: right.result(), positive, broken };
}

function padded(low: number, high: number, zero: boolean): [number, number] {
  if (!(low <= high)) return [0, 1];
  if (low === high) {
    const room = Math.abs(low) * 0.1 || 1;
    return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
  }
  const room = (high - low) * 0.06;
  // A curve that starts near zero reads better standing on it.
  const floor = zero && low >= 0 && low < (high - low) * 0.35 ? 0 : low - room;
  return [floor, high + room];
}

export interface Drawing {
  readonly group: Group;
  readonly axis: Axis;
  readonly log: boolean;
  readonly positive: boolean;
  /** The present limits; read at every redraw. */
  readonly limits: () => Plotted;
  readonly broken: () => readonly number[];
  readonly onZoom: (from: number, to: number) => void;
  readonly onReset: () => void;
  /** Index of the bucket under the pointer, null when it has left. */
  readonly onHover: (index: number | null) => void;
}

const FONT = '11px "JetBrains Mono Variable", ui-monospace, monospace';

function seriesOf(line: Line): uPlot.Series[] {
  const hue = (): string => token(`s${line.hue}`);
  const scale = line.right ? "right" : "y";
  const hidden = { scale, points: { show: false }, spanGaps: false };
  return [
    { ...hidden, stroke: () => faded(hue(), 0.22), width: 1 },
    { ...hidden, width: 0 },
    { ...hidden, width: 0 },
    {
      ...hidden,
      stroke: hue,
      width: 1.8,
      ...(line.dash ? { dash: [6, 4] } : {}),
      points: { show: loneliness, size: 5, stroke: hue, fill: hue },
    },
  ];
}

/** A single value has no line; a dot shows it. */
function loneliness(u: uPlot, seriesIndex: number): boolean {
  let seen = 0;
  for (const v of u.data[seriesIndex] ?? []) {
    if (typeof v === "number") seen += 1;
    if (seen > 1) return false;
  }
  return seen === 1;
}

function yScale(drawing: Drawing, side: "left" | "right"): uPlot.Scale {
  const range = (): [number, number] => {
    const [low, high] = drawing.limits()[side];
    if (drawing.log && drawing.positive) return low > 0 ? [low * 0.9, high * 1.1] : [0.1, 1];
    return padded(low, high, true);
  };
  if (!drawing.log) return { range };
  return drawing.positive ? { distr: 3, range } : { distr: 4, asinh: 1, range };
}

function yAxis(scale: string, side: 1 | 3, grid: boolean, drawing: Drawing): uPlot.Axis {
  const logarithmic = {
    splits: (_u: uPlot, _axis: number, low: number, high: number): number[] =>
      drawing.positive ? logTicks(low, high) : symlogTicks(low, high),
    filter: (_u: uPlot, splits: number[]): number[] => splits,
  };
  return {
    ...(drawing.log ? logarithmic : {}),
    scale,
    side,
    size: 48,
    gap: 6,
    font: FONT,
    stroke: () => token("ink-3"),
    grid: { show: grid, stroke: () => token("border"), width: 1 },
    ticks: { show: false },
    space: 28,
    values: (_u, splits) => (drawing.log ? splits.map(short) : linearTicks(splits)),
  };
}

/** uPlot's options for one card. */
export function options(drawing: Drawing, width: number, height: number): uPlot.Options {
  const lines = drawing.group.lines;
  const bands: uPlot.Band[] = lines.map((line, i) => ({
    series: [i * PER_LINE + 2, i * PER_LINE + 3],
    fill: () => faded(token(`s${line.hue}`), 0.12),
  }));
  const hasRight = lines.some((l) => l.right);
  return {
    width,
    height,
    padding: [8, hasRight ? 0 : 8, 0, 0],
    legend: { show: false },
    scales: {
      x: { time: drawing.axis === "time" },
      y: yScale(drawing, "left"),
      ...(hasRight ? { right: yScale(drawing, "right") } : {}),
    },
    series: [{}, ...lines.flatMap(seriesOf)],
    bands,
    axes: [
      {
        size: 24,
        gap: 4,
        font: FONT,
        stroke: () => token("ink-3"),
        grid: { show: false },
        ticks: { show: false },
        space: 64,
        values: (_u: uPlot, splits: number[]) =>
          drawing.axis === "time" ? clockTicks(splits) : linearTicks(splits),
      },
      yAxis("y", 3, true, drawing),
      ...(hasRight ? [yAxis("right", 1, false, drawing)] : []),
    ],
    cursor: {
      sync: { key: "curves", scales: ["x", null] },
      drag: { x: true, y: false, setScale: false },
      points: {
        show: (u, i) => {
          const dot = document.createElement("div");
          // Only the smoothed line carries a dot.
          dot.hidden = (i - 1) % PER_LINE !== PER_LINE - 1;
          return u.series[i] === undefined ? document.createElement("div") : dot;
        },
        size: 6,
      },
      bind: {
        dblclick: () => () => {
          drawing.onReset();
          return null;
        },
      },
    },
    hooks: {
      setSelect: [
        (u) => {
          const { left, width: selected } = u.select;
          if (selected < 6) return;
          drawing.onZoom(u.posToVal(left, "x"), u.posToVal(left + selected, "x"));
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        },
      ],
      setCursor: [(u) => drawing.onHover(u.cursor.idx ?? null)],
      draw: [(u) => markBroken(u, drawing.broken())],
    },
  };
}

/** NaN and infinite values: a mark on the floor where the line is missing. */
function markBroken(u: uPlot, at: readonly number[]): void {
  if (at.length === 0) return;
  const { ctx, bbox } = u;
  ctx.save();
  ctx.fillStyle = token("bad");
  for (const x of at) {
    const px = u.valToPos(x, "x", true);
    if (px < bbox.left || px > bbox.left + bbox.width) continue;
    ctx.fillRect(px - 1, bbox.top + bbox.height - 6, 2, 6);
  }
  ctx.restore();
}

/** Which of a card's data columns is the smoothed line number `i`. */
export function lineColumn(i: number): number {
  return i * PER_LINE + PER_LINE;
}
