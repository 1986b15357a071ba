import { describe, expect, it } from "vitest";
import { reach, shares } from "../src/session/heat";

describe("reach", () => {
  it("is from the least to the greatest edge of all", () => {
    const some = [
      { counts: [1], edges: [0, 2] },
      { counts: [1, 1], edges: [-3, -1, 1] },
    ];
    expect(reach(some)).toEqual([-3, 2]);
    expect(reach([{ counts: [], edges: [] }])).toBeNull();
  });
});

describe("shares", () => {
  const sum = (values: Float64Array): number => values.reduce((a, b) => a + b, 0);
  it("spreads each bin over the rows it covers", () => {
    expect([...shares({ counts: [1, 3], edges: [0, 1, 2] }, 0, 4, 4)]).toEqual([0.25, 0.75, 0, 0]);
    expect([...shares({ counts: [2], edges: [0, 4] }, 0, 4, 4)]).toEqual([0.25, 0.25, 0.25, 0.25]);
    expect([...shares({ counts: [1, 1], edges: [0, 0.5, 1] }, 0, 2, 2)]).toEqual([1, 0]);
  });
  it("loses nothing, whatever the edges", () => {
    const edges = [-1.3, -0.2, -0.19, 0.7, 3.1];
    expect(sum(shares({ counts: [5, 1, 7, 2], edges }, -1.3, 3.1, 66))).toBeCloseTo(1, 9);
    expect(sum(shares({ counts: [5, 1, 7, 2], edges }, -9, 9, 7))).toBeCloseTo(1, 9);
  });
  it("of nothing is nothing", () => {
    expect(sum(shares({ counts: [0], edges: [0, 1] }, 0, 1, 3))).toBe(0);
  });
});
