import { expect, test } from "vitest";
import { about } from "../src/session/catalogue";
import { MEANINGS } from "../src/words/meanings";
import { meaning, told } from "../src/words/metrics";

test("a metric says what it means, its unit and its range", () => {
  expect(told("avg_cash")).toEqual({
    meaning: "Mean cash left at an episode's end, over the last 10 episodes.",
    unit: "€",
    range: "any",
  });
});

test("another name of the same number says the same", () => {
  expect(meaning("charts/episodic_return")).toBe(meaning("current_reward"));
});

test("of two levels, the meaning says whose it is", () => {
  expect(meaning("low/kl")).toMatch(/^How far the update moved the policy.* Of the Executor\.$/);
  expect(meaning("high/kl")).toMatch(/Of the Strategist\.$/);
});

test("of a name that nobody explained nothing is said", () => {
  expect(meaning("my/own")).toBeUndefined();
  expect(meaning("low/mine")).toBeUndefined();
  expect(meaning("toString")).toBeUndefined();
  expect(meaning("")).toBeUndefined();
});

test("the units that figures are written with are those of the table", () => {
  const units = { euro: ["€"], share: ["share"], months: ["months"], megabyte: ["MB", "MiB"] } as const;
  for (const name of Object.keys(MEANINGS)) {
    const { unit } = about(name);
    const said = told(name)?.unit ?? "";
    if (unit in units) expect(units[unit as keyof typeof units], name).toContain(said);
    if (unit === "percent") expect(said, name).toMatch(/^%/);
    if (unit === "rate") expect(said, name).toMatch(/ a second$/);
  }
});
