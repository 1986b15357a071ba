import { describe, expect, it } from "vitest";
import { readTags, writeTags } from "../src/words/tags";

describe("tags in a line", () => {
  it.each([
    ["", []],
    ["one", ["one"]],
    [" one ,two,, one, ", ["one", "two"]],
    ['"lr 0,1", two', ["lr 0,1", "two"]],
    ['"say ""hi""", two', ['say "hi"', "two"]],
    ['"never closed, two', ['"never closed', "two"]],
    ['"a" b, c', ['"a" b', "c"]],
  ])("reads %j", (text, tags) => {
    expect(readTags(text)).toEqual(tags);
  });

  it("reads what it wrote", () => {
    const tags = ["plain", "lr 0,1", 'say "hi"', ",", '"', "ümläut"];
    expect(readTags(writeTags(tags))).toEqual(tags);
  });
});
