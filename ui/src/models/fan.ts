/** Many lived episodes as one picture: the middle and the band around it, month by month. */

import type { Trajectory } from "../api/types";

export interface Fan {
  readonly months: number;
  readonly low: readonly number[];
  readonly middle: readonly number[];
  readonly high: readonly number[];
}

/** The value below which a share of sorted values lies, between neighbours linearly. */
export function quantile(sorted: readonly number[], share: number): number {
  if (sorted.length === 0) return NaN;
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const a = sorted[below] ?? NaN;
  const b = sorted[Math.min(below + 1, sorted.length - 1)] ?? NaN;
  return a + (b - a) * (place - below);
}

function column(paths: readonly Trajectory[], name: string, month: number): number[] {
  const values: number[] = [];
  for (const path of paths) {
    const value = path[name]?.[month];
    if (typeof value === "number") values.push(value);
  }
  return values;
}

function longest(paths: readonly Trajectory[], name: string): number {
  return Math.max(0, ...paths.map((path) => path[name]?.length ?? 0));
}

/** Tenth, half and ninetieth per cent of one figure in every month, of those still alive. */
export function fan(paths: readonly Trajectory[], name: string): Fan {
  const months = longest(paths, name);
  const rows = Array.from({ length: months }, (_, month) =>
    column(paths, name, month).sort((a, b) => a - b),
  );
  return {
    months,
    low: rows.map((row) => quantile(row, 0.1)),
    middle: rows.map((row) => quantile(row, 0.5)),
    high: rows.map((row) => quantile(row, 0.9)),
  };
}

/** A lived episode with what cash and portfolio come to together. */
export function wealthy(path: Trajectory): Trajectory {
  const wealth = (path.cash ?? []).map((cash, month) => {
    const invested = path.portfolio?.[month];
    return cash === null || invested == null ? null : cash + invested;
  });
  return { ...path, wealth };
}

/** Three or four round numbers from 0, or from below it, to beyond `high`. */
export function roundTicks(low: number, high: number): readonly number[] {
  const rough = Math.max(high - Math.min(low, 0), Number.MIN_VALUE) / 3;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = size * ([1, 2, 2.5, 5].find((one) => one * size >= rough) ?? 10);
  const ticks: number[] = [];
  for (let i = Math.floor(Math.min(low, 0) / step); i <= Math.ceil(high / step); i += 1) {
    ticks.push(i * step);
  }
  return ticks;
}

/** The mean of one figure in every month, of those still alive. */
export function means(paths: readonly Trajectory[], name: string): readonly number[] {
  return Array.from({ length: longest(paths, name) }, (_, month) => {
    const values = column(paths, name, month);
    return values.reduce((a, b) => a + b, 0) / values.length;
  });
}
