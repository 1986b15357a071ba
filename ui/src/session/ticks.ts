/** How far an axis reaches, where its marks lie and what they say. */

import { short } from "../words/numbers";

const DAY_S = 86_400;

/** Of its size, what a number may be off from summing up: a mean of alike values is not quite alike. */
const NOISE = 1e-9;

/** An axis' limits with some room around values from `low` to `high`. */
export function padded(low: number, high: number, zero: boolean): [number, number] {
  if (!(low <= high)) return [0, 1];
  if (high - low <= NOISE * Math.max(Math.abs(low), Math.abs(high))) {
    const room = Math.abs(low) * 0.1 || 1;
    return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
  }
  const room = (high - low) * 0.06;
  // A curve that starts near zero reads better standing on it.
  const floor = zero && low >= 0 && low < (high - low) * 0.35 ? 0 : low - room;
  return [floor, high + room];
}

/** Marks of a linear axis, with just the digits that tell them apart. */
export function linearTicks(splits: readonly number[]): string[] {
  // One mark alone is told apart from whatever could stand beside it.
  const [first = 0, second] = splits;
  const step = second === undefined ? lastDigit(first) : Math.abs(second - first);
  const largest = Math.max(...splits.map(Math.abs));
  if (!(step > 0)) return splits.map(short);
  const unit = largest >= 1e9 ? 1e9 : largest >= 1e6 ? 1e6 : largest >= 1e3 ? 1e3 : 1;
  const letter = { 1e9: "G", 1e6: "M", 1e3: "k", 1: "" }[unit] ?? "";
  const whole = (digits: number): boolean => {
    const scaled = (step / unit) * 10 ** digits;
    return Math.abs(scaled - Math.round(scaled)) < 1e-6 * scaled;
  };
  if (largest >= 1e13) return splits.map(short);
  const digits = [0, 1, 2, 3, 4].find(whole);
  if (digits === undefined) return splits.map(short);
  return splits.map((value) => {
    if (value === 0) return "0";
    const text = (Math.abs(value) / unit).toFixed(digits);
    const trimmed = text.includes(".") ? text.replace(/\.?0+$/, "") : text;
    return `${value < 0 ? "−" : ""}${trimmed}${letter}`;
  });
}

/** What the last digit of a number stands for, of four after the point at most. */
function lastDigit(value: number): number {
  const digits = [0, 1, 2, 3].find((n) => Math.abs(value * 10 ** n - Math.round(value * 10 ** n)) < 1e-6);
  return 10 ** -(digits ?? 4);
}

/** Times of day of epoch seconds; dates where the axis covers more than a day. */
export function clockTicks(splits: readonly number[]): string[] {
  const span = (splits.at(-1) ?? 0) - (splits[0] ?? 0);
  const step = (splits[1] ?? 0) - (splits[0] ?? 0);
  return splits.map((seconds) => {
    const moment = new Date(seconds * 1000);
    if (span > 2 * DAY_S) {
      return moment.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
    }
    const withSeconds = step > 0 && step < 60;
    return moment.toLocaleTimeString("en-GB", {
      hour: "2-digit",
      minute: "2-digit",
      ...(withSeconds ? { second: "2-digit" } : {}),
    });
  });
}

/** Marks of a logarithmic axis from `low` to `high` (both above 0): decades, and 2 and 5 when few. */
export function logTicks(low: number, high: number): number[] {
  const from = Math.floor(Math.log10(low));
  const to = Math.ceil(Math.log10(high));
  const decades = to - from;
  const parts = decades <= 2 ? [1, 2, 5] : [1];
  const every = Math.max(1, Math.ceil(decades / 6));
  const found: number[] = [];
  for (let power = from; power <= to; power += every) {
    for (const part of parts) {
      const mark = part * 10 ** power;
      if (mark >= low && mark <= high) found.push(mark);
    }
  }
  if (found.length >= 2) return found;
  return [low, Math.sqrt(low * high), high];
}

/** Marks of an axis that is logarithmic away from zero on both sides: 0 and ± powers of ten. */
export function symlogTicks(low: number, high: number): number[] {
  const powers = (limit: number): number[] => {
    const top = Math.floor(Math.log10(Math.max(1, limit)));
    const every = Math.max(1, Math.ceil(top / 3));
    const found: number[] = [];
    for (let power = top; power > 0; power -= every) found.push(10 ** power);
    return found.reverse();
  };
  const found = [
    ...powers(-low).map((v) => -v).reverse(),
    0,
    ...powers(high),
  ].filter((v) => v >= low && v <= high);
  return found.length >= 2 ? found : [low, (low + high) / 2, high];
}
