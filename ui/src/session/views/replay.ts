/** What was recorded of an episode, as something to be stepped through. */

import type { Episode } from "../../api/episodes";
import type { Decision, Scenario } from "../../api/types";
import { numberFrom } from "../../live";
import { plain, whole } from "../../words/numbers";
import { colours, isEuro, labelOf } from "../decision";
import type { Line } from "./lines";

/** Played to be looked at without exploring, or decided on the way while it trained. */
export type Kind = "played" | "training";
export type Unit = "month" | "step" | "decision";

export interface Recording {
  readonly kind: Kind;
  readonly decisions: readonly Decision[];
  /** Where each stands along the charts; rising. */
  readonly x: readonly number[];
  readonly unit: Unit;
}

const rises = (values: readonly number[]): boolean =>
  values.every((value, i) => Number.isFinite(value) && (i === 0 || value > (values[i - 1] ?? NaN)));

function recording(kind: Kind, decisions: readonly Decision[]): Recording {
  const months = decisions.map((one) => numberFrom(one.extra?.month));
  if (rises(months)) return { kind, decisions, x: months, unit: "month" };
  const steps = decisions.map((one) => numberFrom(one.step));
  if (rises(steps)) return { kind, decisions, x: steps, unit: "step" };
  return { kind, decisions, x: decisions.map((_, i) => i + 1), unit: "decision" };
}

/** The recordings that an episode's decisions make: none, one, or one of each kind. */
export function recordings(decisions: readonly Decision[]): readonly Recording[] {
  const isPlayed = (one: Decision): boolean => Boolean(one.extra?.played);
  const parts: readonly [Kind, readonly Decision[]][] = [
    ["played", decisions.filter(isPlayed)],
    ["training", decisions.filter((one) => !isPlayed(one))],
  ];
  return parts.filter(([, list]) => list.length > 0).map(([kind, list]) => recording(kind, list));
}

/** "month 12", "step 4 012". */
export const at = (unit: Unit, x: number): string => `${unit} ${whole(x)}`;

/** How a scenario counts an episode's steps. */
export function stepsOf(scenario: Scenario | null): "months" | "steps" {
  return scenario?.environment.max_months === undefined ? "steps" : "months";
}

/** A number of months or steps, in words. */
export const counted = (count: number, units: "months" | "steps"): string =>
  `${whole(count)} ${count === 1 ? units.slice(0, -1) : units}`;

/** Whether every step of the episode is there. */
export function isWhole(count: number, kind: Kind, length: number): boolean {
  return kind === "played" || count >= length;
}

/** How much of the episode is recorded, in words that promise nothing more. */
export function extent(found: Recording, row: Episode | null, units: "months" | "steps"): string {
  const count = found.decisions.length;
  const length = numberFrom(row?.episode_length);
  if (found.kind === "played") return `whole, ${counted(count, units)}`;
  if (row === null) return `${counted(count, units)} so far`;
  if (Number.isNaN(length)) return `${counted(count, units)}; how many it lasted was not told`;
  return count >= length ? `whole, ${counted(count, units)}` : `${whole(count)} of ${counted(length, units)}`;
}

/** What a table says of it, with the figures the server keeps of every episode. */
export function extentOf(row: Episode, units: "months" | "steps"): string {
  const { count = 0, played = 0 } = row.decisions ?? {};
  const lived = count - played;
  const length = numberFrom(row.episode_length);
  const own =
    lived === 0 ? "" : lived >= length ? `whole, ${counted(lived, units)}` : Number.isNaN(length) ? counted(lived, units) : `${whole(lived)} of ${counted(length, units)}`;
  return [played > 0 ? `played, ${counted(played, units)}` : "", own].filter(Boolean).join(" · ");
}

export interface Picture {
  readonly title: string;
  readonly unit: string;
  readonly lines: readonly Line[];
  readonly zero: boolean;
}

export interface Shares {
  readonly title: string;
  readonly parts: readonly { readonly name: string; readonly hue: number; readonly values: readonly number[] }[];
  /** What is drawn is chosen or not: no slopes between. */
  readonly stepped: boolean;
}

/** Actions more than this are no areas one can tell apart. */
const MOST_PARTS = 8;
/** Charts of what a decision told besides. */
const MOST_OTHERS = 8;

/** How probable each action was, or which was chosen; null where neither can be drawn. */
export function shares(found: Recording): Shares | null {
  const hues = colours(found.decisions);
  const names = [...hues.keys()];
  if (names.length > MOST_PARTS) return null;
  if (names.length > 1) {
    const household = names.every((name) => ["invest", "save", "consume"].includes(name));
    const parts = names.map((name) => ({
      name,
      hue: hues.get(name) ?? 8,
      values: found.decisions.map((one) => numberFrom(one.action_probabilities?.[name])),
    }));
    return { title: household ? "Shares of income" : "Action probabilities", parts, stepped: false };
  }
  const chosen = found.decisions.map((one) => (one.selected_action == null ? "" : String(one.selected_action)));
  const kinds = [...new Set(chosen)].filter((name) => name !== "").sort();
  if (kinds.length === 0 || kinds.length > MOST_PARTS) return null;
  const parts = kinds.map((name, i) => ({ name, hue: (i % 8) + 1, values: chosen.map((one) => (one === name ? 1 : 0)) }));
  return { title: "Chosen action", parts, stepped: true };
}

/** Small charts over the steps: reward first, money, values, then whatever else was told. */
export function pictures(found: Recording): readonly Picture[] {
  const { decisions, x } = found;
  const columns = new Map<string, number[]>();
  decisions.forEach((one, i) => {
    for (const [name, value] of Object.entries(one.extra ?? {})) {
      if (SPOKEN.has(name) || typeof value === "boolean") continue;
      const number = numberFrom(value);
      if (Number.isNaN(number) && !columns.has(name)) continue;
      let column = columns.get(name);
      if (column === undefined) columns.set(name, (column = decisions.map(() => NaN)));
      column[i] = number;
    }
  });
  const taken = (name: string): number[] | undefined => {
    const column = columns.get(name);
    columns.delete(name);
    return column;
  };
  const line = (name: string, hue: number, y: readonly number[] | undefined): Line[] =>
    y === undefined ? [] : [{ name, hue, x, y }];
  const made: Picture[] = [];
  const add = (title: string, unit: string, lines: readonly Line[], zero = false): void => {
    if (lines.length > 0) made.push({ title, unit, lines, zero });
  };
  add("Reward", "", line("reward", 1, taken("reward")), true);
  add("Cash", "€", [...line("cash", 3, taken("cash_after")), ...line("goal, buffer", 8, taken("goal_buffer"))], true);
  add("Portfolio", "€", line("portfolio", 1, taken("portfolio_after") ?? taken("portfolio")), true);
  add("Q-values", "", values(found));
  const state = decisions.map((one) =>
    numberFrom(Array.isArray(one.state_values) ? one.state_values[0] : one.state_values),
  );
  if (state.some(Number.isFinite)) add("State value", "", line("state value", 6, state));
  for (const [name, column] of [...columns].slice(0, MOST_OTHERS)) {
    add(labelOf(name), isEuro(name) ? "€" : "", line(name, 4, column));
  }
  return made;
}
/** On the charts' axis, or in the head of the page. */
const SPOKEN = new Set(["month", "max_months", "income", "played"]);

function values({ decisions, x }: Recording): Line[] {
  const most = Math.max(0, ...decisions.map((one) => one.q_values?.length ?? 0));
  if (most === 0 || most > MOST_PARTS) return [];
  const hues = colours(decisions);
  const names = hues.size === most ? [...hues.keys()] : Array.from({ length: most }, (_, i) => `action ${i}`);
  return names.map((name, i) => ({
    name,
    hue: hues.get(name) ?? (i % 8) + 1,
    x,
    y: decisions.map((one) => numberFrom(one.q_values?.[i])),
  }));
}

/** What the episode has brought up to each step; null where steps or their rewards are missing. */
export function returnSoFar(found: Recording, length: number): readonly number[] | null {
  const rewards = found.decisions.map((one) => numberFrom(one.extra?.reward));
  if (!isWhole(rewards.length, found.kind, length) || !rewards.every(Number.isFinite)) return null;
  let sum = 0;
  return rewards.map((reward) => (sum += reward));
}

/** A return or a length, or a dash where it was not told. */
export function figure(value: unknown): string {
  const number = numberFrom(value);
  return Number.isNaN(number) && value !== "NaN" ? "–" : plain(number);
}
