import { describe, expect, it } from "vitest";
import { PointRing } from "../src/live/ring";

const values = (ring: PointRing): number[] => {
  const found: number[] = [];
  ring.each((_x, value) => found.push(value));
  return found;
};

describe("a ring of live points", () => {
  it("keeps the newest in order and says what had to go", () => {
    const ring = new PointRing(3);
    for (let i = 1; i <= 5; i += 1) ring.push(i, i, i * 10);
    expect(values(ring)).toEqual([30, 40, 50]);
    expect(ring.lostThrough).toBe(2);
  });

  it("forgets what the store has, across the seam", () => {
    const ring = new PointRing(3);
    for (let i = 1; i <= 5; i += 1) ring.push(i, i, i * 10);
    ring.dropThrough(4);
    expect(values(ring)).toEqual([50]);
    expect(ring.lostThrough).toBe(-1);
    ring.push(6, 6, 60);
    ring.push(7, 7, 70);
    expect(values(ring)).toEqual([50, 60, 70]);
  });

  it("refuses to hold nothing", () => {
    expect(() => new PointRing(0)).toThrow("at least one point");
  });
});
