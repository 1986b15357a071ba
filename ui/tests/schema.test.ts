import { describe, expect, it } from "vitest";
import type { Scenario } from "../src/api/types";
import { cashFlow } from "../src/train/cashflow";
import { argumentFields, formFields, nested, valueAt } from "../src/train/schema";

describe("formFields", () => {
  const section = {
    properties: {
      rate: { type: "number", exclusiveMinimum: 0, description: "how fast" },
      share: { type: "number", minimum: 0, maximum: 1 },
      count: { anyOf: [{ type: "integer", minimum: 1 }, { type: "null" }], description: "many" },
      kind: { enum: ["a", "b"], type: "string" },
      list: { type: "array" },
      hidden: { type: "number" },
    },
  };
  it("takes numbers and choices, with bounds in words", () => {
    const fields = formFields(section, new Set(["hidden"]));
    expect(fields.map((f) => f.key)).toEqual(["rate", "share", "count", "kind"]);
    expect(fields.map((f) => f.bounds)).toEqual(["> 0", "0 … 1", "≥ 1", ""]);
    expect(fields[2]).toMatchObject({ words: "many", step: "1", kind: "number" });
    expect(fields[3]?.choices).toEqual(["a", "b"]);
  });
  it("has nothing to say of nothing", () => {
    expect(formFields(undefined, new Set())).toEqual([]);
  });
});

describe("arguments of an algorithm's class", () => {
  const scenario: Scenario = {
    name: "pole",
    description: "",
    environment: { id: "CartPole-v1" },
    training: { parameters: { learning_rate: 0.002, policy: "MlpPolicy" } },
  };
  it("are fields where they are numbers", () => {
    expect(argumentFields(scenario).map((f) => f.key)).toEqual(["parameters.learning_rate"]);
    expect(argumentFields({ ...scenario, training: {} })).toEqual([]);
    expect(valueAt(scenario.training, "parameters.learning_rate")).toBe(0.002);
    expect(valueAt(scenario.training, "nothing.there")).toBeUndefined();
  });
  it("go back as mappings in mappings", () => {
    const values = [["training.parameters.learning_rate", 1], ["training.clip", 2], ["reward.mu", 3]] as const;
    expect(nested(values)).toEqual({
      training: { parameters: { learning_rate: 1 }, clip: 2 },
      reward: { mu: 3 },
    });
  });
});

describe("cashFlow", () => {
  const scenario = (environment: Record<string, unknown>): Scenario => ({
    name: "x",
    description: "",
    environment,
  });
  it("is what is left of a month", () => {
    const bills = { fixed_expenses: 1000, variable_expense_mean: 700 };
    expect(cashFlow(scenario({ income: 1500, ...bills }))?.surplus).toBe(-200);
    expect(cashFlow(scenario({ income: 2000, ...bills, variable_expense_std: 50 }))?.swing).toBe(50);
  });
  it("is not for what is no household", () => {
    expect(cashFlow(scenario({ id: "CartPole-v1" }))).toBeNull();
  });
});
