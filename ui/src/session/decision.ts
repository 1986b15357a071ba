/** One decision in words and shares, whatever made it. */

import type { Decision, Scenario } from "../api/types";
import { numberFrom } from "../live";
import { plain, whole } from "../words/numbers";
import { leaf } from "./catalogue";

export interface Choice {
  readonly name: string;
  /** 0…1. */
  readonly share: number;
  readonly hue: number;
  readonly chosen: boolean;
  /** Money for a household, a Q value for an agent that has them, else empty. */
  readonly note: string;
}

export interface Fact {
  readonly label: string;
  readonly value: string;
}

const HUES: Readonly<Record<string, number>> = { invest: 1, save: 8, consume: 2 };
const ORDER = ["invest", "save", "consume"];
/** More actions than this are folded into one. */
const SHOWN = 8;

const FACTS: Readonly<Record<string, { label: string; euro?: boolean }>> = {
  goal_share: { label: "Strategist’s goal, invest share" },
  goal_invest_share: { label: "Strategist’s goal, invest share" },
  goal_buffer: { label: "Goal, safety buffer", euro: true },
  cash_after: { label: "Cash after this month", euro: true },
  portfolio: { label: "Portfolio", euro: true },
  portfolio_after: { label: "Portfolio after", euro: true },
  reward: { label: "Reward" },
};
/** Said elsewhere on the card. */
const SPOKEN = new Set(["month", "max_months", "income", "played"]);
/** More facts than this crowd a card. */
const FACTS_SHOWN = 8;

/** What a fact is called. */
export function labelOf(name: string): string {
  return FACTS[name]?.label ?? leaf(name).replaceAll("_", " ").replace(/^./, (c) => c.toUpperCase());
}

/** Whether a fact is money. */
export const isEuro = (name: string): boolean => FACTS[name]?.euro ?? false;

/** The actions that probabilities were told of, each with its hue, in the order they are drawn. */
export function colours(decisions: readonly Decision[]): ReadonlyMap<string, number> {
  const names = new Set(decisions.flatMap((one) => Object.keys(one.action_probabilities ?? {})));
  const all = [...names].map((name, i) => [name, HUES[name] ?? (i % 8) + 1] as const);
  const household = all.every(([name]) => ORDER.includes(name));
  return new Map(household ? all.sort(([a], [b]) => ORDER.indexOf(a) - ORDER.indexOf(b)) : all);
}

/** The month's income in euros: as told, or as the scenario defines it (income grows monthly). */
function incomeOf(decision: Decision, scenario: Scenario | null): number {
  const told = numberFrom(decision.extra?.income);
  if (!Number.isNaN(told)) return told;
  const { income, income_growth: growth } = scenario?.environment ?? {};
  return numberFrom(income) * (1 + numberFrom(growth ?? 0)) ** (numberFrom(decision.extra?.month) / 12);
}

/** The actions, the likeliest first (a household's in their own order). */
export function choices(decision: Decision, scenario: Scenario | null = null): Choice[] {
  const given = Object.entries(decision.action_probabilities ?? {});
  const income = incomeOf(decision, scenario);
  const qs = decision.q_values ?? [];
  const household = given.length > 0 && given.every(([name]) => ORDER.includes(name));
  const all = given.map(([name, value], i) => ({
    name,
    share: Number(value),
    hue: HUES[name] ?? (i % 8) + 1,
    chosen: String(decision.selected_action ?? "") === name,
    note: Number.isFinite(income)
      ? `€\u00a0${whole(Number(value) * income)}`
      : qs.length === given.length
        ? numberFrom(qs[i]).toFixed(2)
        : "",
  }));
  if (household) return all.sort((a, b) => ORDER.indexOf(a.name) - ORDER.indexOf(b.name));
  if (all.length <= SHOWN) return all;
  const sorted = all.sort((a, b) => b.share - a.share);
  const rest = sorted.slice(SHOWN - 1);
  return [
    ...sorted.slice(0, SHOWN - 1),
    {
      name: `${rest.length} more`,
      share: rest.reduce((sum, one) => sum + one.share, 0),
      hue: 8,
      chosen: rest.some((one) => one.chosen),
      note: "",
    },
  ];
}

/** Everything else the decision tells, in words. */
export function facts(decision: Decision, most = FACTS_SHOWN): Fact[] {
  const found: Fact[] = [];
  for (const [name, value] of Object.entries(decision.extra ?? {})) {
    if (SPOKEN.has(name)) continue;
    const label = labelOf(name);
    if (typeof value === "number") {
      found.push({ label, value: isEuro(name) ? `€\u00a0${whole(value)}` : plain(value) });
    } else if (typeof value === "boolean") {
      found.push({ label, value: value ? "yes" : "no" });
    } else if (typeof value === "string" && value.length <= 40) {
      found.push({ label, value });
    }
    if (found.length === most) break;
  }
  const value = Array.isArray(decision.state_values)
    ? numberFrom(decision.state_values[0])
    : numberFrom(decision.state_values);
  if (!Number.isNaN(value)) {
    found.push({ label: "State value", value: (value > 0 ? "+" : "") + plain(value) });
  }
  const confidence = numberFrom(decision.confidence_score);
  if (!Number.isNaN(confidence)) found.push({ label: "Confidence", value: confidence.toFixed(2) });
  return found;
}

/** Where in the run it was taken: "month 43 of 120", "episode 12 · step 80". */
export function place(decision: Decision): string {
  const month = decision.extra?.month;
  const months = decision.extra?.max_months;
  if (typeof month === "number") {
    return `month ${whole(month)}${typeof months === "number" ? ` of ${whole(months)}` : ""}`;
  }
  const parts: string[] = [];
  if (typeof decision.episode === "number") parts.push(`episode ${whole(decision.episode)}`);
  if (typeof decision.step === "number") parts.push(`step ${whole(decision.step)}`);
  return parts.join(" · ");
}
