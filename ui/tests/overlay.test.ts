import { describe, expect, it } from "vitest";
import type { Session } from "../src/api/types";
import { bigFigures, curveOf, wishFrom } from "../src/rooms/overlay";

describe("an overlay's address", () => {
  it("says what is shown, how large and on what", () => {
    const wish = wishFrom("?show=curve,figures,nonsense&scale=2&bg=navy", "");
    expect([...wish.show].sort()).toEqual(["curve", "figures"]);
    expect(wish).toMatchObject({ scale: 2, background: "navy", token: null, password: null });
  });

  it("shows everything, lets through what is behind, and bounds what makes no sense", () => {
    expect([...wishFrom("", "").show]).toEqual(["figures", "curve", "decision"]);
    expect(wishFrom("", "").background).toBe("");
    expect(wishFrom("?scale=900", "").scale).toBe(4);
    expect(wishFrom("?scale=-1", "").scale).toBe(1);
    expect(wishFrom("?scale=big&show=", "").show.size).toBe(3);
  });

  it("has its secrets behind the #, and nowhere else", () => {
    expect(wishFrom("?password=seen&token=seen", "#password=ab%20c")).toMatchObject({
      password: "ab c",
      token: null,
    });
  });
});

describe("an overlay", () => {
  const session = { current_episode: 3, total_episodes: 100 } as Session;

  it("has the episode, the reward and the win rate, as far as they are told", () => {
    expect(bigFigures(session, null)).toEqual([{ label: "Episode", value: "3", note: "of 100" }]);
    const told = { episode: 12, average_reward: 1.5, win_rate: 40 };
    expect(bigFigures(session, told).map((one) => one.label)).toEqual(["Episode", "Reward", "Win rate"]);
    expect(bigFigures(session, told)[0]?.value).toBe("12");
  });

  it("draws the reward before anything else", () => {
    expect(curveOf(["loss_value", "average_reward"])).toBe("average_reward");
    expect(curveOf(["loss_value"])).toBe("loss_value");
    expect(curveOf([])).toBe(null);
  });
});
