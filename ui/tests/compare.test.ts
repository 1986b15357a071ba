import { describe, expect, it } from "vitest";
import { PLAIN, searchOf, viewFrom, type View } from "../src/compare/address";
import { copied } from "../src/compare/facts";
import { highest, independent, lastTenth, t95, together, windowed } from "../src/compare/statistics";
import type { Drawn } from "../src/live";

function curve(values: readonly number[], step = 1): Drawn {
  const x = values.map((_, i) => i * step);
  return { x, mean: values, min: values, max: values, broken: [] };
}

describe("the address", () => {
  it("says a whole view and nothing that is as usual", () => {
    const view: View = {
      ids: ["a", "b c"], metrics: ["loss,x", "low/kl"], across: "seconds", smoothing: 0.9, log: true,
      by: "scenario.environment.income", hidden: new Set(["b c"]), from: 3, to: 7.5,
    };
    expect(viewFrom(searchOf(view))).toEqual(view);
    expect(searchOf({ ...PLAIN, ids: ["a"] })).toBe("?ids=a");
    expect(viewFrom("")).toEqual(PLAIN);
  });
  it("leaves out what cannot be", () => {
    const view = viewFrom("?ids=a,a,b&x=sideways&smooth=7&from=9&to=2");
    expect(view.ids).toEqual(["a", "b"]);
    expect([view.across, view.smoothing, view.from]).toEqual(["episode", 0.98, null]);
    expect(viewFrom("?ids=a,100%").ids).toEqual(["a", "100%"]);
    expect(viewFrom("?ids=a%2Cb&by=50%")).toMatchObject({ ids: ["a", "b"], by: "50%" });
  });
});

describe("intervals", () => {
  it("are Student's", () => {
    expect(t95(1)).toBe(12.706);
    expect(t95(1000)).toBe(1.96);
    const told = independent([1, 2, 3]);
    expect(told.mean).toBe(2);
    expect(told.margin).toBeCloseTo(4.303 / Math.sqrt(3), 6);
    expect(independent([5]).margin).toBeNaN();
  });
  it("of a run's end come from batches, wider than from single values where those hang together", () => {
    const wave = Array.from({ length: 4000 }, (_, i) => Math.sin(i / 60));
    const told = lastTenth(curve(wave), null, null, false);
    const naive = independent(wave.slice(-400));
    expect(told.n).toBe(10);
    expect(told.margin).toBeGreaterThan(2 * naive.margin);
    expect(lastTenth(curve([1, 2, 3]), null, null, false).margin).toBeNaN();
    expect(lastTenth(curve([]), null, null, false).mean).toBeNaN();
  });
  it("are not told of running means", () => {
    expect(["average_reward", "low/avg_cash", "ep_rew_mean", "best_reward"].map(windowed)).toEqual([true, true, true, true]);
    expect(["current_reward", "loss_value", "averaging", "meaning"].map(windowed)).toEqual([false, false, false, false]);
    const told = lastTenth(curve(Array.from({ length: 400 }, (_, i) => i)), null, null, true);
    expect(told.margin).toBeNaN();
    expect(told.mean).toBeCloseTo(379.5);
  });
  it("pool runs at the same x, as far as all of them got", () => {
    const pooled = together([curve([0, 0, 0, 0, 0]), curve([2, 2], 2)]);
    expect(pooled.x[0]).toBe(0);
    expect(pooled.x.at(-1)).toBe(2);
    expect(pooled.mean[0]).toBe(1);
    expect(pooled.max.at(-1)).toBeCloseTo(1 + 12.706);
    expect(together([curve([10]), curve([20])]).mean).toEqual([15]);
    expect(together([]).x).toEqual([]);
  });
  it("know the highest within a stretch", () => {
    expect(highest(curve([1, NaN, 9, 2]), null, null)).toBe(9);
    expect(highest(curve([1, 5, 9, 2]), 0, 1)).toBe(5);
    expect(highest(curve([]), null, null)).toBeNaN();
  });
});

it("tables are copied so that others read them", () => {
  expect(copied(["a", "b"], [["x|y", "1,5"]], "markdown")).toBe("| a | b |\n| --- | --- |\n| x\\|y | 1,5 |\n");
  expect(copied(["a", "b"], [["x|y", '1,"5']], "csv")).toBe('a,b\nx|y,"1,""5"\n');
});
