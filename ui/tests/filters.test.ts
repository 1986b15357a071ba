import { describe, expect, it } from "vitest";
import { countOf, EVERYTHING, filtersFrom, inWords, narrows, searchOf } from "../src/sessions/filters";

describe("filters in the address", () => {
  it("say nothing for the usual list", () => {
    expect(searchOf(EVERYTHING)).toBe("");
    expect(filtersFrom("")).toEqual(EVERYTHING);
    expect(narrows(EVERYTHING)).toBe(false);
  });

  it("come back as they went", () => {
    const chosen = { q: "a&b ü", which: "ended", algorithm: "A2C+", tag: "50%", sort: "name", group: "tag" } as const;
    expect(filtersFrom(searchOf(chosen))).toEqual(chosen);
    expect(narrows(chosen)).toBe(true);
  });

  it("leave out what makes no sense", () => {
    expect(filtersFrom("?status=toString&sort=pk")).toEqual(EVERYTHING);
  });

  it("are told in words", () => {
    expect(inWords({ ...EVERYTHING, which: "failed" })).toBe("failed session");
    expect(inWords({ ...EVERYTHING, q: "pong", tag: "long" })).toBe(
      "session with “pong” in it, tagged long",
    );
  });

  it("count by what the statuses belong to", () => {
    const counts = { running: 2, queued: 1, completed: 4, failed: 3, lost: 1 };
    expect(countOf("all", counts)).toBe(11);
    expect(countOf("live", counts)).toBe(3);
    expect(countOf("ended", counts)).toBe(7);
    expect(countOf("lost", counts)).toBe(1);
  });
});
