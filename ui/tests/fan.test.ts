import { describe, expect, it } from "vitest";
import { fan, means, quantile, roundTicks, wealthy } from "../src/models/fan";

describe("quantile", () => {
  it("lies between neighbours", () => {
    expect(quantile([0, 10], 0.25)).toBe(2.5);
    expect(quantile([3], 0.9)).toBe(3);
    expect(quantile([], 0.5)).toBeNaN();
  });
});

describe("fan", () => {
  const paths = [{ cash: [0, 10, 20] }, { cash: [10, 20] }, { cash: [20, null, 40] }];
  it("counts those still alive", () => {
    const told = fan(paths, "cash");
    expect(told.months).toBe(3);
    expect(told.middle).toEqual([10, 15, 30]);
    expect(told.low[0]).toBe(2);
    expect(told.high[0]).toBe(18);
  });
  it("has means", () => {
    expect(means(paths, "cash")).toEqual([10, 15, 30]);
    expect(means([], "cash")).toEqual([]);
  });
});

describe("wealthy", () => {
  it("adds cash and portfolio, where both are known", () => {
    const path = wealthy({ cash: [1, 2, null, 4], portfolio: [10, null, 30] });
    expect(path.wealth).toEqual([11, null, null, null]);
  });
});

describe("roundTicks", () => {
  it("goes from zero to beyond the highest in round steps", () => {
    expect(roundTicks(0, 9700)).toEqual([0, 5000, 10_000]);
    expect(roundTicks(0, 104_000)).toEqual([0, 50_000, 100_000, 150_000]);
    expect(roundTicks(0, 1)).toEqual([0, 0.5, 1]);
  });
  it("reaches below zero where something does", () => {
    expect(roundTicks(-120, 300)).toEqual([-200, 0, 200, 400]);
  });
});
