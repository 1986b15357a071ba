import { describe, expect, it } from "vitest";
import type { Session } from "../src/api/types";
import { circumstances, configured, reportedBy } from "../src/session/about";
import { figures } from "../src/session/figures";
import { groups } from "../src/session/grouping";
import { secondsOf, xOf } from "../src/session/picture";
import { smoothed } from "../src/session/smoothing";
import { why } from "../src/session/status";
import { linearTicks, logTicks, padded, symlogTicks } from "../src/session/ticks";
import { duration, exact, many, plain, short, whole } from "../src/words/numbers";

const session = { speed: null } as Session;

describe("cards", () => {
  it("draws every metric exactly once, the return first", () => {
    const names = [
      "current_reward", "average_reward", "best_reward", "avg_duration", "episode_length",
      "avg_cash", "avg_invested", "stability", "goal_adherence", "low/policy_loss",
      "low/value_loss", "high/policy_loss", "high/value_loss", "learning_rate", "low/entropy",
      "game/score", "game/lives", "mystery", "episode",
    ];
    const cards = groups(names);
    expect(cards[0]?.title).toBe("Episode return");
    expect(cards[0]?.lines[0]).toMatchObject({ name: "average_reward", backdrop: "current_reward" });
    const drawn = cards.flatMap((c) => c.lines.map((l) => l.name));
    const behind = cards.flatMap((c) => c.lines.map((l) => l.backdrop));
    expect(new Set(drawn).size).toBe(drawn.length);
    for (const name of names.filter((n) => n !== "episode")) {
      expect(drawn.includes(name) || behind.includes(name), name).toBe(true);
    }
    expect(drawn).not.toContain("episode");
    expect(new Set(cards.map((c) => c.id)).size).toBe(cards.length);
  });

  it("never gives two lines of a card the same look", () => {
    const many = Array.from({ length: 20 }, (_, i) => `layer/weight_${i}`);
    for (const card of groups(many)) {
      const looks = card.lines.map((l) => `${l.hue}${l.dash}`);
      expect(new Set(looks).size).toBe(looks.length);
    }
  });

  it("puts the machine behind the training, one card a unit", () => {
    const system = ["cpu_percent", "process_cpu_percent", "memory_percent", "gpu_percent"];
    const memory = ["process_memory_mb", "gpu_memory_mb"];
    const cards = groups([...system, ...memory].map((n) => `system/${n}`).concat("mystery", "game/lives"));
    expect(cards.map((c) => c.title)).toEqual(["Mystery", "Game", "System", "System memory"]);
    expect(cards[2]?.lines.map((l) => l.label)).toEqual(["all cores", "this worker", "memory", "GPU"]);
  });
});

describe("why it ended", () => {
  const told = (status: string, stop_reason: string): string =>
    why({ status, stop_reason } as unknown as Session);
  it("is said where the status does not say it already", () => {
    expect(told("completed", "plateau")).toBe("plateau");
    expect(told("completed", "all episodes done")).toBe("");
    expect(told("stopped", "stopped")).toBe("");
    expect(told("running", "plateau")).toBe("");
  });
});

describe("figures", () => {
  it("shows six for a game bot", () => {
    const shown = figures(
      session,
      {
        average_reward: 12.3, best_reward: 20.1, current_reward: 15.5, win_rate: 75.5,
        loss_value: 0.05, epsilon: 0.1, episode_length: 250, actions_per_second: 30.5,
      },
      null,
    );
    expect(shown.map((f) => f.label)).toEqual([
      "Average reward", "Win rate", "Loss", "Epsilon", "Episode length", "Speed",
    ]);
    expect(shown[0]).toMatchObject({ value: "12.30", note: "best 20.10" });
  });

  it("says what is not a number", () => {
    expect(figures(session, { loss_value: "NaN" }, null)[0]?.value).toBe("NaN");
  });
});

describe("smoothing", () => {
  it("looks alike however finely the curve is sampled", () => {
    const at = (n: number): number => {
      const x = Array.from({ length: n }, (_, i) => i / (n - 1));
      const y = x.map((v) => (v < 0.5 ? 0 : 1));
      return smoothed(x, y, 0.9, 1)[Math.round((n - 1) * 0.55)] ?? NaN;
    };
    expect(at(400)).toBeCloseTo(at(2000), 1);
  });

  it("passes NaN through without spoiling what follows", () => {
    const y = smoothed([0, 1, 2, 3], [1, NaN, 1, 1], 0.9, 3);
    expect(y[1]).toBeNaN();
    expect(y[3]).toBeCloseTo(1);
  });
});

describe("words", () => {
  it("writes numbers as people read them", () => {
    expect(plain(1243.21)).toBe("1\u00a0243.2");
    expect(plain(-0.0011)).toBe("−0.0011");
    expect(plain(0.00011)).toBe("1.1e−4");
    expect(short(12500)).toBe("12.5k");
    expect(many(999_999)).toBe(whole(999_999));
    expect(many(1_234_567)).toBe("1.2M");
    expect(duration(41)).toBe("0:41");
    expect(duration(11_100)).toBe("3 h 05");
  });

  it("marks logarithmic axes at round numbers", () => {
    expect(logTicks(0.001, 1)).toEqual([0.001, 0.01, 0.1, 1]);
    expect(symlogTicks(-200, 2000)).toEqual([-100, -10, 0, 10, 100, 1000]);
  });
});

describe("an axis", () => {
  it("does not look into the last digits of what is all alike", () => {
    const [low, high] = padded(120 - 1e-13, 120 + 1e-13, true);
    expect(low).toBeCloseTo(108);
    expect(high).toBeCloseTo(132);
    expect(padded(119.98, 120, false)[0]).toBeCloseTo(119.9788);
  });
});

describe("marks of a linear axis", () => {
  it("carry the digits that tell them apart", () => {
    expect(linearTicks([119, 119.5, 120])).toEqual(["119", "119.5", "120"]);
    expect(linearTicks([119.98])).toEqual(["119.98"]);
    expect(linearTicks([120])).toEqual(["120"]);
    expect(linearTicks([0, 2500, 5000])).toEqual(["0", "2.5k", "5k"]);
    expect(linearTicks([-0.004, -0.002, 0])).toEqual(["−0.004", "−0.002", "0"]);
    expect(linearTicks([0, 500, 1000, 1500])).toEqual(["0", "0.5k", "1k", "1.5k"]);
  });
});

describe("places on the time axis", () => {
  it("keep their microseconds", () => {
    expect(secondsOf("2026-01-01T00:00:00Z")).toBe(1767225600);
    expect(secondsOf("2026-01-01T00:00:00.123456Z")).toBeCloseTo(1767225600.123456, 6);
    expect(secondsOf("2026-01-01T01:00:00.5+01:00")).toBe(1767225600.5);
    expect(xOf("time", {})).toBeNaN();
    expect(xOf("step", { step: 7 })).toBe(7);
  });
});

describe("a value under the pointer", () => {
  it("is told with all its digits", () => {
    expect(exact(431.25)).toBe("431.25");
    expect(exact(-1234567)).toBe("−1\u00a0234\u00a0567");
    expect(exact(0.1 + 0.2)).toBe("0.3");
    expect(exact(NaN)).toBe("NaN");
    expect(exact(0.00001234)).toBe(plain(0.00001234));
  });
});

describe("a script's own session", () => {
  it("draws once what an integration stores under two names", () => {
    const told = groups(["current_reward", "charts/episodic_return", "train/loss", "loss_value", "train/clip_range"]);
    expect(told.flatMap((group) => group.lines.map((line) => line.name))).toEqual([
      "current_reward",
      "loss_value",
      "train/clip_range",
    ]);
    expect(groups(["charts/episodic_return"])[0]?.lines[0]?.label).toBe("episodic return");
  });

  it("puts counters last and says a group once", () => {
    const told = groups(["time/total_timesteps", "env/crashes", "current_reward"]);
    expect(told.map((group) => group.title)).toEqual(["Episode return", "Env", "Counters"]);
    expect(told[1]?.lines[0]?.label).toBe("crashes");
  });

  it("tells its configuration flat, and versions apart", () => {
    const told = {
      ...session,
      tags: [] as readonly string[],
      error: null,
      config: { lr: 0.5, net: { hidden: [64, 32], bias: true }, versions: { "stable-baselines3": "2.9" } },
    };
    expect(configured(told)).toEqual([
      { name: "lr", value: "0.5" },
      { name: "net.hidden", value: "64, 32" },
      { name: "net.bias", value: "yes" },
    ]);
    expect(circumstances(told)).toEqual([{ name: "stable-baselines3", value: "2.9" }]);
    expect(reportedBy(told)).toBe("sb3");
  });

  it("says numbers of any size in few characters", () => {
    expect(plain(1e29)).toBe("1.00e29");
    expect(linearTicks([0, 5e28, 1e29])).toEqual(["0", "5e28", "1e29"]);
  });
});
