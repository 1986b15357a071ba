import { describe, expect, it } from "vitest";
import { fan, means, quantile } from "../src/models/fan";

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
