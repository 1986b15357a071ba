/** What can honestly be said of curves in one number and an interval. */

import type { Drawn } from "../live";

/** Two-sided 95 % quantiles of Student's t, by degrees of freedom from 1; beyond, the normal's. */
const T_95 = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145,
  2.131, 2.12, 2.11, 2.101, 2.093, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048, 2.045,
  2.042,
] as const;

export function t95(freedom: number): number {
  return freedom < 1 ? NaN : (T_95[Math.floor(freedom) - 1] ?? 1.96);
}

export interface Estimate {
  readonly mean: number;
  /** Half the width of the 95 % interval; NaN where it cannot be told. */
  readonly margin: number;
  /** Independent values behind it. */
  readonly n: number;
}

/** Mean and 95 % interval of independent values, by Student's t. */
export function independent(values: readonly number[]): Estimate {
  const n = values.length;
  const mean = values.reduce((sum, v) => sum + v, 0) / n;
  if (n < 2) return { mean, margin: NaN, n };
  const variance = values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (n - 1);
  return { mean, margin: t95(n - 1) * Math.sqrt(variance / n), n };
}

const BATCHES = 10;
const SHARE = 0.1;

/**
 * The mean of a curve's last tenth, with a 95 % interval.
 *
 * Neighbouring values of one run hang together, so they are not taken for independent: the stretch
 * is cut into ten batches, whose means nearly are (batch means; Law, Simulation Modeling and
 * Analysis, section 9.5.3). It says how sure the run's own mean is, not how another seed would do.
 *
 * Values that are means over a window themselves hang together longer than a batch, and would make
 * the interval far too narrow: for those there is none.
 *
 * @param until the end of the stretch looked at; the curve's own where it is null.
 * @param windowed whether each value is a mean over those before it.
 */
export function lastTenth(
  drawn: Drawn,
  from: number | null,
  until: number | null,
  windowed: boolean,
): Estimate {
  const low = from ?? drawn.x[0] ?? 0;
  const high = until ?? drawn.x.at(-1) ?? 0;
  const begin = high - (high - low) * SHARE;
  const values: number[] = [];
  drawn.x.forEach((x, i) => {
    const value = drawn.mean[i] ?? NaN;
    if (x >= begin && x <= high && Number.isFinite(value)) values.push(value);
  });
  if (values.length === 0) return { mean: NaN, margin: NaN, n: 0 };
  if (windowed || values.length < 2 * BATCHES) return { ...independent(values), margin: NaN };
  const size = Math.floor(values.length / BATCHES);
  const batches = Array.from({ length: BATCHES }, (_, b) => {
    const part = values.slice(b * size, b === BATCHES - 1 ? values.length : (b + 1) * size);
    return part.reduce((sum, v) => sum + v, 0) / part.length;
  });
  const told = independent(batches);
  return { ...told, mean: values.reduce((sum, v) => sum + v, 0) / values.length };
}

/** Whether a metric is a running mean by its name, as `average_reward` is, or a record so far. */
export function windowed(metric: string): boolean {
  return /(^|[/_])(average|avg|mean|best|smoothed|ema)([/_]|$)/.test(metric);
}

/** The greatest value within a stretch, NaN without one. */
export function highest(drawn: Drawn, from: number | null, until: number | null): number {
  let found = NaN;
  drawn.x.forEach((x, i) => {
    const value = drawn.max[i] ?? NaN;
    if ((from === null || x >= from) && (until === null || x <= until) && !(value <= found)) {
      if (Number.isFinite(value)) found = value;
    }
  });
  return found;
}

/** A curve's value at x, between its points; NaN outside of it. */
function at(drawn: Drawn, x: number): number {
  const xs = drawn.x;
  const last = xs.length - 1;
  if (last < 0 || x < (xs[0] ?? NaN) || x > (xs[last] ?? NaN)) return NaN;
  let low = 0;
  let high = last;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((xs[middle] ?? NaN) <= x) low = middle;
    else high = middle;
  }
  const [a, b] = [xs[low] ?? NaN, xs[high] ?? NaN];
  const [u, v] = [drawn.mean[low] ?? NaN, drawn.mean[high] ?? NaN];
  return b > a ? u + ((v - u) * (x - a)) / (b - a) : u;
}

const STEPS = 300;

/**
 * Several runs as one: at each x that all of them got to the mean, and its 95 % interval by
 * Student's t, which takes the runs for independent. Where some have ended or not yet come the line
 * ends: a mean over ever fewer would jump, and look the surer the fewer there are.
 */
export function together(runs: readonly Drawn[]): Drawn {
  const filled = runs.filter((run) => run.x.length > 0);
  const low = Math.max(...filled.map((run) => run.x[0] ?? Infinity));
  const high = Math.min(...filled.map((run) => run.x.at(-1) ?? -Infinity));
  const out = { x: [] as number[], mean: [] as number[], min: [] as number[], max: [] as number[] };
  if (filled.length === 0 || !(low <= high)) return { ...out, broken: [] };
  const steps = low < high ? STEPS : 0;
  for (let i = 0; i <= steps; i += 1) {
    const x = steps === 0 ? low : low + ((high - low) * i) / steps;
    const values = filled.map((run) => at(run, x)).filter(Number.isFinite);
    if (values.length < filled.length) continue;
    const { mean, margin } = independent(values);
    const room = Number.isFinite(margin) ? margin : 0;
    out.x.push(x);
    out.mean.push(mean);
    out.min.push(mean - room);
    out.max.push(mean + room);
  }
  return { ...out, broken: [] };
}
