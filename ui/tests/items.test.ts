import { expect, test } from "vitest";
import { itemAt, topsOf, type Item } from "../src/sessions/items";

test("an item is found by its height, also beyond both ends", () => {
  const items = Array.from({ length: 10_000 }, (_, i) => ({ key: String(i) })) as unknown as Item[];
  const tops = topsOf(items, 50, 40);
  expect(tops[10_000]).toBe(500_000);
  expect([-1, 0, 49, 50, 499_999, 1e9].map((at) => itemAt(tops, at))).toEqual([0, 0, 0, 1, 9999, 9999]);
  expect(itemAt(topsOf([], 50, 40), 10)).toBe(0);
});
