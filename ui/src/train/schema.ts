/** Fields of a JSON schema section, as rows of a form. */

import type { Schema } from "../api/plane";
import type { Scenario } from "../api/types";

export interface FormField {
  readonly key: string;
  readonly words: string;
  readonly kind: "number" | "choice" | "text";
  readonly choices: readonly string[];
  readonly min?: number;
  readonly max?: number;
  readonly step: "any" | "1";
  /** Bounds in words: `0 … 1`, `> 0`. */
  readonly bounds: string;
  /** What holds where a scenario says nothing. */
  readonly standard?: unknown;
}

/** The schema itself, or the one of its alternatives that is no null. */
function plain(schema: Schema): Schema {
  const real = schema.anyOf?.find((one) => one.type !== "null");
  if (real === undefined) return schema;
  return schema.description === undefined ? real : { ...real, description: schema.description };
}

function bounds(schema: Schema): string {
  const low = schema.minimum ?? schema.exclusiveMinimum;
  const high = schema.maximum ?? schema.exclusiveMaximum;
  const open = schema.exclusiveMinimum !== undefined;
  if (low !== undefined && high !== undefined) return `${open ? "> " : ""}${low} … ${high}`;
  if (low !== undefined) return `${open ? ">" : "≥"} ${low}`;
  return high === undefined ? "" : `≤ ${high}`;
}

/** The numbers and choices among a section's fields; lists and free text are for the editor. */
export function formFields(section: Schema | undefined, leave: ReadonlySet<string>): FormField[] {
  return Object.entries(section?.properties ?? {}).flatMap(([key, told]) => {
    const schema = plain(told);
    const number = schema.type === "number" || schema.type === "integer";
    if (leave.has(key) || (!number && schema.enum === undefined)) return [];
    const min = schema.minimum ?? schema.exclusiveMinimum;
    const max = schema.maximum ?? schema.exclusiveMaximum;
    return [
      {
        key,
        words: schema.description ?? "",
        kind: number ? ("number" as const) : ("choice" as const),
        choices: schema.enum ?? [],
        ...(min === undefined ? {} : { min }),
        ...(max === undefined ? {} : { max }),
        step: schema.type === "integer" ? ("1" as const) : ("any" as const),
        bounds: bounds(schema),
        standard: told.default,
      },
    ];
  });
}

/** The numbers among the arguments that a scenario gives its algorithm's class. */
export function argumentFields(scenario: Scenario): FormField[] {
  const given = scenario.training?.parameters;
  if (typeof given !== "object" || given === null) return [];
  return Object.entries(given).flatMap(([key, value]) =>
    typeof value === "number"
      ? [{ key: `parameters.${key}`, words: "", kind: "number", choices: [], step: "any", bounds: "" }]
      : [],
  );
}

/** The value at a dotted path. */
export function valueAt(of: unknown, path: string): unknown {
  return path
    .split(".")
    .reduce((at, key) => (at as Record<string, unknown> | null | undefined)?.[key], of);
}

/** Values at dotted paths, as mappings in mappings. */
export function nested(values: readonly (readonly [string, unknown])[]): Record<string, unknown> {
  const all: Record<string, unknown> = {};
  for (const [path, value] of values) {
    const keys = path.split(".");
    let at = all;
    for (const key of keys.slice(0, -1)) at = (at[key] ??= {}) as Record<string, unknown>;
    at[keys.at(-1) ?? ""] = value;
  }
  return all;
}
