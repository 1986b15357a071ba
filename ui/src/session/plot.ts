/** From a group of lines and their series to what uPlot draws, and the uPlot options for it. */

import uPlot from "uplot";
import type { Axis } from "../api/types";
import { faded, token } from "../look/hues";
import { clipped, type Drawable, type Drawn } from "../live";
import { short } from "../words/numbers";
import type { Group, Line } from "./grouping";
import { clockTicks, linearTicks, logTicks, padded, symlogTicks } from "./ticks";
import type { Flag } from "./flags";
import { markBroken, markFlags, markSpikes, type Spike } from "./marks";
import { smoothed } from "./smoothing";

type Column = (number | null | undefined)[];

/** With more lines than this, raw values and extremes would only be fog. */
const BACKDROPS_UP_TO = 3;

/** Series per line: raw, band top, band bottom, smoothed line. */
const PER_LINE = 4;

export interface Plotted {
  readonly data: uPlot.AlignedData;
  /** Limits for left and right axis: all lines and extremes, spikes perhaps left out. */
  readonly left: readonly [number, number];
  readonly right: readonly [number, number];
  /** Whether every drawn value is above zero, as a logarithm needs. */
  readonly positive: boolean;
  /** x of values that are NaN or infinite. */
  readonly broken: readonly number[];
  readonly spikes: readonly Spike[];
}

function same(a: readonly number[], b: readonly number[]): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i += 1) if (a[i] !== b[i]) return false;
  return true;
}

/** uPlot takes null as a gap and would trip over NaN. */
function gaps(values: readonly number[]): Column {
  if (values.every(Number.isFinite)) return values as Column;
  return values.map((v) => (Number.isFinite(v) ? v : null));
}

/** So much of a curve's own height an extreme must lie outside of it to be called a spike. */
const SPIKE = 0.5;

/** What lies between the outermost hundredths, and half as much again on each side. */
function fences(low: Column, high: Column): [number, number] {
  // Typed arrays sort as numbers, many times faster.
  const lows = Float64Array.from(low.filter((v) => typeof v === "number")).sort();
  const highs = Float64Array.from(high.filter((v) => typeof v === "number")).sort();
  const bottom = lows[Math.floor(lows.length * 0.01)] ?? -Infinity;
  const top = highs[Math.ceil(highs.length * 0.99) - 1] ?? Infinity;
  const room = (top - bottom) * SPIKE;
  return [bottom - room, top + room];
}

function atMostZero(v: Column[number]): boolean {
  return typeof v === "number" && v <= 0;
}

class Limits {
  #low = Infinity;
  #high = -Infinity;

  take(values: Column, within: readonly [number, number] = [-Infinity, Infinity]): void {
    for (const v of values) {
      if (v === null || v === undefined || v < within[0] || v > within[1]) continue;
      if (v < this.#low) this.#low = v;
      if (v > this.#high) this.#high = v;
    }
  }

  result(): [number, number] {
    return [this.#low, this.#high];
  }
}

/**
 * Everything one card draws.
 *
 * @param range what is looked at, null for the whole run.
 * @param toSpikes whether the axis reaches to the last spike; else those are marked at its edge, and
 *   do not press everything else flat.
 */
export function plotted(
  group: Group,
  set: Drawable,
  smoothing: number,
  width: number,
  range: readonly [number, number] | null,
  toSpikes: boolean,
): Plotted {
  const backdrops = group.lines.length <= BACKDROPS_UP_TO;
  const tables: { x: readonly number[]; columns: Column[] }[] = [];
  const left = new Limits();
  const right = new Limits();
  const broken: number[] = [];
  const spikes: Spike[] = [];
  let positive = true;
  const inside = (x: readonly number[], values: Column): Column =>
    range === null
      ? values
      : values.map((v, i) => {
          const at = x[i] ?? NaN;
          return at >= range[0] && at <= range[1] ? v : null;
        });
  // What lies beside is not drawn, but half a width to the left a smoothed line begins.
  const part = (name: string): Drawn => {
    const drawn = set.get(name).drawn();
    return range === null ? drawn : clipped(drawn, range[0] - width / 2, range[1]);
  };
  for (const line of group.lines) {
    const own = part(line.name);
    const behind = line.backdrop === line.name ? own : part(line.backdrop);
    const amount = line.exact ? 0 : smoothing;
    const main = gaps(smoothed(own.x, own.mean, amount, width));
    broken.push(...own.broken);
    const limits = line.right ? right : left;
    limits.take(inside(own.x, main));
    if (main.some(atMostZero)) positive = false;
    const low = gaps(behind.min);
    const high = gaps(behind.max);
    const lows = inside(behind.x, low);
    const highs = inside(behind.x, high);
    const usual = fences(lows, highs);
    if (backdrops || toSpikes) {
      limits.take(lows, toSpikes ? undefined : usual);
      limits.take(highs, toSpikes ? undefined : usual);
    }
    // Marked on every card: a spike must not vanish where there is no room for bands.
    const spike = (x: number, mean: number, extreme: Column[number]): void => {
      if (typeof extreme !== "number" || (extreme >= usual[0] && extreme <= usual[1])) return;
      spikes.push({ x, mean: Number.isFinite(mean) ? mean : extreme, extreme, line });
    };
    behind.x.forEach((x, i) => {
      spike(x, behind.mean[i] ?? NaN, lows[i]);
      spike(x, behind.mean[i] ?? NaN, highs[i]);
    });
    const empty = new Array<null>(behind.x.length).fill(null);
    if (backdrops) {
      if (low.some(atMostZero)) positive = false;
      const raw = amount > 0 || line.backdrop !== line.name ? gaps(behind.mean) : empty;
      tables.push({ x: behind.x, columns: [raw, high, low] });
    } else {
      tables.push({ x: behind.x, columns: [empty, empty, empty] });
    }
    tables.push({ x: own.x, columns: [main] });
  }
  const first = tables[0]?.x ?? [];
  const data = tables.every((t) => same(t.x, first))
    ? ([first, ...tables.flatMap((t) => t.columns)] as uPlot.AlignedData)
    : uPlot.join(tables.map((t) => [t.x, ...t.columns] as uPlot.AlignedData));
  return { data, left: left.result(), right: right.result(), positive, broken, spikes };
}

export interface Drawing {
  readonly group: Group;
  readonly axis: Axis;
  readonly log: boolean;
  readonly positive: boolean;
  /** The present limits; read at every redraw. */
  readonly limits: () => Plotted;
  /** The present flags, and the x pointed at elsewhere. */
  readonly flags: () => { readonly flags: readonly Flag[]; readonly marked: number | null };
  readonly onZoom: (from: number, to: number) => void;
  readonly onReset: () => void;
  /** The pointer moved or left. */
  readonly onHover: () => void;
}

const FONT = '11px "JetBrains Mono Variable", ui-monospace, monospace';
/** How wide a letter of it is. */
const LETTER = 6.7;

function seriesOf(line: Line): uPlot.Series[] {
  const hue = (): string => token(`s${line.hue}`);
  const scale = line.right ? "right" : "y";
  const hidden = { scale, points: { show: false }, spanGaps: false };
  return [
    {
      ...hidden,
      stroke: () => faded(hue(), 0.22),
      width: 1,
      points: { show: apart, size: 4, stroke: () => faded(hue(), 0.65), fill: () => token("surface") },
    },
    { ...hidden, width: 0 },
    { ...hidden, width: 0 },
    {
      ...hidden,
      stroke: hue,
      width: 1.8,
      ...(line.dash ? { dash: [6, 4] } : {}),
      points: {
        show: (u, i) => alone(u, i) || (!isDrawn(u, i - PER_LINE + 1) && apart(u, i)),
        size: 5,
        stroke: hue,
        fill: hue,
      },
    },
  ];
}

function isDrawn(u: uPlot, seriesIndex: number): boolean {
  return (u.data[seriesIndex] ?? []).some((v) => typeof v === "number");
}

/** A single value has no line; a dot shows it. */
function alone(u: uPlot, seriesIndex: number): boolean {
  let seen = 0;
  for (const v of u.data[seriesIndex] ?? []) {
    if (typeof v === "number") seen += 1;
    if (seen > 1) return false;
  }
  return seen === 1;
}

/** Pixels between values from which on each gets a dot. */
const APART_PX = 9;

/** Looked at closely, a curve is single values; dots show where they are. */
function apart(u: uPlot, seriesIndex: number): boolean {
  const [from, to] = u.series[0]?.idxs ?? [0, 0];
  const most = u.bbox.width / devicePixelRatio / APART_PX;
  const column = u.data[seriesIndex] ?? [];
  let seen = 0;
  for (let i = from; i <= to && seen <= most; i += 1) {
    if (typeof column[i] === "number") seen += 1;
  }
  return seen > 0 && seen <= most;
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
  // It grows with the longest label, and does not shrink again: a curve that moves sideways is unquiet.
  let room = 48;
  const logarithmic = {
    splits: (_u: uPlot, _axis: number, low: number, high: number): number[] =>
      drawing.positive ? logTicks(low, high) : symlogTicks(low, high),
    filter: (_u: uPlot, splits: number[]): number[] => splits,
  };
  return {
    ...(drawing.log ? logarithmic : {}),
    scale,
    side,
    size: (_u, values) => (room = Math.max(room, ...(values ?? []).map((one) => one.length * LETTER + 8))),
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
    padding: [8, hasRight ? 0 : 16, 0, 0],
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
        // With shift the chart is moved, not selected from.
        mousedown: (_u, _target, handler) => (event: MouseEvent) => {
          if (!event.shiftKey) handler(event);
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
      setCursor: [() => drawing.onHover()],
      draw: [
        (u) => {
          markSpikes(u, drawing.limits().spikes);
          markBroken(u, drawing.limits().broken);
          const { flags, marked } = drawing.flags();
          markFlags(u, flags, drawing.axis, marked);
        },
      ],
    },
  };
}
