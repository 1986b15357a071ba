import { describe, expect, it } from "vitest";
import { clipped, Lens, nearest } from "../src/live/lens";
import { columnsFrom, Series, SeriesSet } from "../src/live/series";

function wire(rows: readonly [x: number, seq: number, value: number | string][]) {
  const values = rows.map(([, , v]) => v);
  return {
    x: rows.map(([x]) => x),
    seq: rows.map(([, s]) => s),
    min: values,
    max: values,
    mean: values,
    last: values,
  };
}

describe("a series", () => {
  it("shows live points at once and the store's answer in their place", () => {
    const series = new Series();
    series.replace(columnsFrom(wire([[1, 1, 5], [2, 2, 6]])), 2);
    series.append(4, 4, 8); // seq 3 was left out on the way
    expect(series.drawn().x).toEqual([1, 2, 4]);
    expect(series.lastValue).toBe(8);
    series.extend(columnsFrom(wire([[2, 2, 6], [3, 3, 7], [4, 4, 8]])), 4);
    expect(series.drawn().x).toEqual([1, 2, 3, 4]);
    expect(series.drawn().mean).toEqual([5, 6, 7, 8]);
    expect(series.provisional).toBe(0);
  });

  it("keeps live points that are newer than the answer", () => {
    const series = new Series();
    series.append(1, 1, 10);
    series.append(2, 2, 20);
    series.replace(columnsFrom(wire([[1, 1, 10]])), 1);
    expect(series.drawn().mean).toEqual([10, 20]);
    expect(series.provisional).toBe(1);
  });

  it("lets the later run count where a training went back", () => {
    const series = new Series();
    series.replace(columnsFrom(wire([[1, 1, 1], [2, 2, 2], [3, 3, 3]])), 3);
    series.append(4, 2, 20);
    expect(series.drawn().x).toEqual([1, 2, 2]);
    expect(series.drawn().mean).toEqual([1, 2, 20]);
  });

  it("gathers live points into buckets as wide as the store's, extremes kept", () => {
    const series = new Series();
    const rows = Array.from({ length: 21 }, (_, i) => [i * 10, i, 0] as [number, number, number]);
    series.replace(columnsFrom({ ...wire(rows), points: 210 }), 20);
    expect(series.grain).toBe(10);
    [3, -7, 5].forEach((value, i) => series.append(21 + i, 201 + i, value));
    const drawn = series.drawn();
    expect(drawn.x.length).toBe(22);
    expect(drawn.min.at(-1)).toBe(-7);
    expect(drawn.max.at(-1)).toBe(5);
    expect(drawn.mean.at(-1)).toBeCloseTo(1 / 3);
  });

  it("keeps live points apart where the store's are single ones", () => {
    const series = new Series();
    const rows = Array.from({ length: 21 }, (_, i) => [i * 10, i, 0] as [number, number, number]);
    series.replace(columnsFrom({ ...wire(rows), points: 21 }), 20);
    series.append(21, 201, 3);
    series.append(22, 202, 4);
    expect(series.drawn().x.slice(-3)).toEqual([200, 201, 202]);
  });

  it("lets a live point pass that the store's answer held already", () => {
    const series = new Series();
    series.replace(columnsFrom(wire([[1, 1, 5], [2, 2, 6]])), 2);
    series.append(2, 2, 6);
    series.append(3, 3, 7);
    series.extend(columnsFrom(wire([[2, 2, 6], [3, 3, 7], [4, 4, 8]])), 4);
    series.append(4, 4, 8);
    expect(series.drawn().x).toEqual([1, 2, 3, 4]);
  });

  it("never loses a NaN or an infinity", () => {
    const series = new Series();
    series.replace(
      columnsFrom({ ...wire([[1, 1, 1], [2, 2, "NaN"], [3, 3, 3]]), not_finite: [0, 1, 1] }),
      3,
    );
    series.append(4, 4, Infinity);
    expect(series.drawn().broken).toEqual([2, 3, 4]);
    expect(series.drawn().mean[1]).toBeNaN();
  });
});

describe("a set of series", () => {
  it("knows which series end together, and bounds how many ends there are", () => {
    const set = new SeriesSet();
    set.take({ reward: wire([[9, 9, 1]]), loss: wire([[5, 5, 1]]), old: wire([[1, 1, 1]]) }, 9);
    expect(set.rhythms(4)).toEqual([[9, ["reward"]], [5, ["loss"]], [1, ["old"]]]);
    expect(set.rhythms(2)).toEqual([[9, ["reward"]], [1, ["loss", "old"]]]);
  });
});

describe("a lens", () => {
  const coarse = new SeriesSet();
  coarse.take({ reward: wire([[10, 10, 1], [20, 20, 2], [30, 30, 3], [40, 40, 4]]) }, 40);
  const fine = new SeriesSet();
  fine.take({ reward: wire([[18, 18, 9], [19, 19, "NaN"], [20, 20, 9], [21, 21, 9]]) }, 40);

  it("shows the finer picture where it reaches, the coarse one beside it", () => {
    const lens = new Lens(coarse, fine, 18, 31);
    expect(lens.get("reward").drawn().x).toEqual([10, 18, 19, 20, 21, 40]);
    expect(lens.get("reward").drawn().mean).toEqual([1, 9, NaN, 9, 9, 4]);
    expect(lens.get("reward").drawn().broken).toEqual([19]);
    expect(lens.get("reward").lastValue).toBe(4);
    expect(new Lens(coarse, fine, -Infinity, 31).get("reward").drawn().x[0]).toBe(18);
    expect(new Lens(coarse, fine, 18, Infinity).get("reward").drawn().x.at(-1)).toBe(21);
  });

  it("makes it once and again only when something changed", () => {
    const lens = new Lens(coarse, fine, 18, 31);
    const before = lens.get("reward").drawn();
    expect(lens.get("reward").drawn()).toBe(before);
    fine.get("reward").append(41, 22, 5);
    expect(lens.get("reward").drawn().x).toContain(22);
  });

  it("cuts what is not looked at, but for the points to which lines lead", () => {
    const all = coarse.get("reward").drawn();
    expect(clipped(all, 15, 25).x).toEqual([10, 20, 30]);
    expect(clipped(all, 20, 20).x).toEqual([10, 20, 30]);
    expect(clipped(all, -5, 99)).toBe(all);
    expect(clipped(all, 35, 99).mean).toEqual([3, 4]);
  });

  it("finds the nearest", () => {
    expect(nearest([], 1)).toBe(-1);
    expect([0, 4, 6, 99].map((at) => nearest([1, 5, 7], at))).toEqual([0, 1, 1, 2]);
  });
});
