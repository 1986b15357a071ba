import { describe, expect, it } from "vitest";
import type { Episode } from "../src/api/episodes";
import type { Decision } from "../src/api/types";
import { nearest, pathOf, scaleOf, stacked } from "../src/session/views/lines";
import { extent, extentOf, pictures, recordings, returnSoFar, shares } from "../src/session/views/replay";

const month = (n: number, played = false): Decision => ({
  action_probabilities: { save: 0.5, invest: 0.25, consume: 0.25 },
  selected_action: "save",
  episode: 20,
  step: played ? n : null,
  extra: { month: n, reward: n, cash_after: 100 * n, goal_buffer: 3500, ...(played ? { played: "greedy" } : {}) },
});
const row = (more: Readonly<Record<string, unknown>> = {}): Episode =>
  ({ episode: 20, seq: 9, decisions: null, episode_length: 120, ...more }) as Episode;

describe("what was recorded of an episode", () => {
  it("is of two kinds that are never mixed", () => {
    const found = recordings([month(40), month(1, true), month(2, true), month(80)]);
    expect(found.map((one) => [one.kind, one.unit, one.x])).toEqual([
      ["played", "month", [1, 2]],
      ["training", "month", [40, 80]],
    ]);
    expect(recordings([])).toEqual([]);
  });

  it("stands by its steps where they rise, else by its order", () => {
    const steps = (...told: (number | null)[]): Decision[] => told.map((step) => ({ step }));
    expect(recordings(steps(5, 9, 12))[0]).toMatchObject({ unit: "step", x: [5, 9, 12] });
    expect(recordings(steps(5, 5, 6))[0]).toMatchObject({ unit: "decision", x: [1, 2, 3] });
    expect(recordings(steps(1, null))[0]).toMatchObject({ unit: "decision", x: [1, 2] });
  });

  it("says how much of it there is", () => {
    const [played, lived] = recordings([month(1, true), month(40)]);
    if (played === undefined || lived === undefined) throw new Error("both are there");
    expect(extent(played, row(), "months")).toBe("whole, 1 month");
    expect(extent(lived, row(), "months")).toBe("1 of 120 months");
    expect(extent(lived, row({ episode_length: 1 }), "steps")).toBe("whole, 1 step");
    expect(extent(lived, row({ episode_length: undefined }), "steps")).toContain("was not told");
    expect(extent(lived, null, "steps")).toBe("1 step so far");
    const decisions = { count: 122, played: 120, first_seq: 1, last_seq: 200 };
    expect(extentOf(row({ decisions }), "months")).toBe("played, 120 months · 2 of 120 months");
    expect(extentOf(row({ decisions: { ...decisions, played: 0 } }), "steps")).toBe("whole, 122 steps");
  });

  it("adds up its rewards only where all of them are there", () => {
    const [played] = recordings([month(1, true), month(2, true)]);
    const [lived] = recordings([month(1), month(2)]);
    if (played === undefined || lived === undefined) throw new Error("both are there");
    expect(returnSoFar(played, NaN)).toEqual([1, 3]);
    expect(returnSoFar(lived, 2)).toEqual([1, 3]);
    expect(returnSoFar(lived, 120)).toBeNull();
    expect(returnSoFar(lived, NaN)).toBeNull();
  });

  it("is drawn: shares, reward, money, values, and whatever else was told", () => {
    const [found] = recordings([month(1), month(2)]);
    if (found === undefined) throw new Error("it is there");
    expect(shares(found)).toMatchObject({ title: "Shares of income", stepped: false });
    expect(shares(found)?.parts.map((part) => part.name)).toEqual(["invest", "save", "consume"]);
    expect(pictures(found).map((one) => [one.title, one.unit, one.lines.length])).toEqual([
      ["Reward", "", 1],
      ["Cash", "€", 2],
    ]);
    const agent: Decision[] = [
      { selected_action: "left", q_values: [1, 2], state_values: 3, step: 1, extra: { "obs/angle": 0.1, explored: true } },
      { selected_action: "right", q_values: [2, "NaN" as unknown as number], state_values: 2, step: 2, extra: {} },
    ];
    const [other] = recordings(agent);
    if (other === undefined) throw new Error("it is there");
    expect(shares(other)).toMatchObject({ title: "Chosen action", stepped: true });
    expect(pictures(other).map((one) => one.title)).toEqual(["Q-values", "State value", "Angle"]);
    expect(pictures(other)[2]?.lines[0]?.y).toEqual([0.1, NaN]);
  });
});

describe("small charts", () => {
  it("break where a value is no number", () => {
    const line = { name: "a", hue: 1, x: [0, 1, 2, 3], y: [0, NaN, 1, 0] };
    expect(pathOf(line, { from: 0, to: 3, least: 0, most: 1 })).toBe("M0.0 100.00M666.7 0.00L1000.0 100.00");
  });
  it("stack shares from the bottom, without slopes where they step", () => {
    expect(stacked([0, 1], [[0.5, 1]])).toEqual(["0.0,100.00 1000.0,100.00 1000.0,0.00 0.0,50.00"]);
    expect(stacked([0, 1], [[0.5, 1]], true)[0]).toBe(
      "0.0,100.00 1000.0,100.00 1000.0,100.00 1000.0,0.00 1000.0,50.00 0.0,50.00",
    );
  });
  it("find the nearest point, and scale in words that differ", () => {
    expect([nearest([1, 5, 9], 6), nearest([1, 5, 9], 8), nearest([], 1)]).toEqual([1, 2, -1]);
    expect(scaleOf({ from: 0, to: 1, least: 19.6, most: 20.4 })).toEqual(["20.40", "20.00", "19.60"]);
  });
});
