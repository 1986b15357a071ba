/** The six figures above the curves: which, and in what words. */

import type { Metrics, Scenario, Session } from "../api/types";
import { numberFrom } from "../live";
import { plain, short, whole } from "../words/numbers";
import { about, NOT_CURVES, title, twin, type Unit } from "./catalogue";

export interface Figure {
  readonly label: string;
  readonly value: string;
  /** Unit, or what it is out of. */
  readonly note: string;
  readonly hue: number;
  /** Whose history is drawn below, null for none. */
  readonly metric: string | null;
}

/** A value with its unit, split so that the unit can be set small. */
export function withUnit(value: number, unit: Unit): { text: string; note: string } {
  if (!Number.isFinite(value)) return { text: plain(value), note: "" };
  if (unit === "euro") return { text: `€\u00a0${whole(value)}`, note: "" };
  if (unit === "share") return { text: `${(value * 100).toFixed(1)}\u00a0%`, note: "" };
  if (unit === "percent") return { text: `${value.toFixed(1)}\u00a0%`, note: "" };
  if (unit === "months") return { text: value.toFixed(1), note: "months" };
  if (unit === "rate") return { text: short(value), note: "a second" };
  if (unit === "megabyte") return { text: whole(value), note: "MB" };
  return { text: plain(value), note: "" };
}

/** All numbers of a metrics record by name, `extra` included. */
export function numbersOf(metrics: Metrics | null): Map<string, number> {
  const found = new Map<string, number>();
  const visit = (record: Readonly<Record<string, unknown>>): void => {
    for (const [name, value] of Object.entries(record)) {
      if (typeof value === "number" || value === "NaN" || value === "Infinity" || value === "-Infinity") {
        found.set(name, numberFrom(value));
      }
    }
  };
  if (metrics === null) return found;
  if (typeof metrics.extra === "object" && metrics.extra !== null) {
    visit(metrics.extra as Record<string, unknown>);
  }
  visit(metrics);
  return found;
}

/** In this order, as far as the session has them; the rest fill up by name. */
const WISHED: readonly string[] = [
  "average_reward",
  "avg_reward",
  "current_reward",
  "avg_duration",
  "win_rate",
  "stability",
  "goal_adherence",
  "avg_cash",
  "best_reward",
  "loss_value",
  "epsilon",
  "avg_invested",
  "episode_length",
  "learning_rate",
];

const TITLES: Readonly<Record<string, string>> = {
  average_reward: "Average reward",
  avg_reward: "Average reward",
  current_reward: "Last reward",
  best_reward: "Best reward",
  avg_duration: "Months survived",
  avg_cash: "Final cash",
  avg_invested: "Invested",
  win_rate: "Win rate",
  loss_value: "Loss",
  memory_usage_mb: "Memory",
};

const SPEEDS = ["steps_per_second", "actions_per_second", "frames_per_second"] as const;

function speedFigure(session: Session, numbers: ReadonlyMap<string, number>): Figure | null {
  for (const name of SPEEDS) {
    const value = numbers.get(name);
    if (value === undefined) continue;
    const note = name === "steps_per_second" ? "steps/s" : `${about(name).label}/s`;
    return { label: "Speed", value: short(value), note, hue: 8, metric: name };
  }
  if (session.speed === null || session.speed === undefined) return null;
  return { label: "Speed", value: short(session.speed), note: "a second", hue: 8, metric: null };
}

function outOf(name: string, scenario: Scenario | null, numbers: ReadonlyMap<string, number>): string {
  const environment = scenario?.environment ?? {};
  if (name === "avg_duration" && typeof environment.max_months === "number") {
    return `of ${environment.max_months}`;
  }
  if (name === "avg_cash" && typeof environment.safety_threshold === "number") {
    return `buffer ${whole(environment.safety_threshold)}`;
  }
  const best = numbers.get("best_reward");
  if (name === "average_reward" && best !== undefined) return `best ${plain(best)}`;
  return "";
}

/** At most six figures; fewer while the session has not reported enough. */
export function figures(
  session: Session,
  latest: Metrics | null,
  scenario: Scenario | null,
): Figure[] {
  const numbers = numbersOf(latest);
  const speed = speedFigure(session, numbers);
  const wanted = speed === null ? 6 : 5;
  if (numbers.has("average_reward")) numbers.delete("avg_reward");
  // Beside the average these say little new; they come last, where there is room.
  const spare = numbers.has("average_reward") ? ["best_reward", "current_reward"] : [];
  const taken = [
    ...WISHED.filter((name) => numbers.has(name) && !spare.includes(name)),
    ...[...numbers.keys()].filter(
      (name) => !WISHED.includes(name) && !NOT_CURVES.has(name) && !twin(name, numbers) && !name.includes("per_second"),
    ),
    ...spare.filter((name) => numbers.has(name)),
  ].slice(0, wanted);
  const found = taken.map((name) => {
    const known = about(name);
    const value = numbers.get(name) ?? NaN;
    const { text, note } = withUnit(value, known.unit);
    const of = outOf(name, scenario, numbers);
    return {
      label: TITLES[name] ?? title(name),
      value: text,
      note: of || note,
      hue: known.hue,
      metric: name,
    };
  });
  return speed === null ? found : [...found, speed];
}
