import { describe, expect, it } from "vitest";
import { sought, treeOf } from "../src/session/views/tree";

const config = {
  seed: 3,
  overrides: { training: { lr: 0.001 } },
  scenario: { training: { lr: 0.001, epochs: 2, layers: [64, 64] }, shipped: false, notes: null },
  empty: {},
};

describe("a configuration", () => {
  it("is a tree of values as they stand, those given for the training marked", () => {
    const tree = treeOf(config);
    expect(tree.count).toBe(8);
    expect(tree.leaves.map((leaf) => [leaf.name, leaf.text])).toEqual([["seed", "3"], ["empty", "empty"]]);
    const scenario = tree.branches.find((one) => one.name === "scenario");
    expect(scenario?.leaves.map((leaf) => [leaf.text, leaf.kind])).toEqual([["no", "flag"], ["none", "none"]]);
    const training = scenario?.branches[0]?.leaves ?? [];
    expect(training.map((leaf) => [leaf.path, leaf.text, leaf.given])).toEqual([
      ["scenario.training.lr", "0.001", true],
      ["scenario.training.epochs", "2", false],
      ["scenario.training.layers", "64, 64", false],
    ]);
  });

  it("is searched by dotted name and value", () => {
    const tree = treeOf(config);
    expect(sought(tree, []).count).toBe(8);
    expect(sought(tree, ["training.lr"]).count).toBe(2);
    expect(sought(tree, ["scenario", "64"]).branches[0]?.branches[0]?.leaves.map((leaf) => leaf.name)).toEqual(["layers"]);
    expect(sought(tree, ["nothing"]).count).toBe(0);
  });
});
