/** What a month of a household comes to, as parts of its income. */

import type { Scenario } from "../api/types";

export interface CashFlow {
  readonly income: number;
  readonly fixed: number;
  readonly variable: number;
  /** How far the variable bills swing, one standard deviation. */
  readonly swing: number;
  /** What is left; below zero where the bills are larger than the income. */
  readonly surplus: number;
}

/** Null for a scenario that is no household. */
export function cashFlow(scenario: Scenario): CashFlow | null {
  const figure = (key: string): number => {
    const value = scenario.environment[key];
    return typeof value === "number" ? value : NaN;
  };
  const income = figure("income");
  const fixed = figure("fixed_expenses");
  const variable = figure("variable_expense_mean");
  if (Number.isNaN(income + fixed + variable)) return null;
  const swing = figure("variable_expense_std");
  return {
    income,
    fixed,
    variable,
    swing: Number.isNaN(swing) ? 0 : swing,
    surplus: income - fixed - variable,
  };
}
