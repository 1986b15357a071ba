/** Where sessions differ, and what they share: configuration and facts as rows. */

import type { Session } from "../api/types";

export interface Row {
  /** Dotted, as in the configuration: `scenario.environment.income`. */
  readonly path: string;
  /** By session id; undefined where a session has none. */
  readonly values: ReadonlyMap<string, unknown>;
  readonly differs: boolean;
}

const DEEPEST = 8;

function flatten(value: unknown, path: string, into: Map<string, unknown>, depth = 0): void {
  const plain = value !== null && typeof value === "object" && !Array.isArray(value);
  if (!plain || depth >= DEEPEST) {
    into.set(path, value);
    return;
  }
  for (const [name, inner] of Object.entries(value as Record<string, unknown>)) {
    flatten(inner, path === "" ? name : `${path}.${name}`, into, depth + 1);
  }
}

/** Everything that may explain a difference, by dotted path. */
export function factsOf(session: Session): Map<string, unknown> {
  const found = new Map<string, unknown>([
    ["algorithm", session.algorithm],
    ["scenario", session.scenario_name ?? undefined],
    ["total_episodes", session.total_episodes ?? undefined],
    ["tags", session.tags.length > 0 ? session.tags.join(", ") : undefined],
  ]);
  const config = new Map<string, unknown>();
  flatten(session.config ?? {}, "", config);
  for (const [path, value] of config) {
    if (!found.has(path) && path !== "" && path !== "scenario.name") found.set(path, value);
  }
  return found;
}

/** A value as people read it. */
export function written(value: unknown): string {
  if (value === undefined || value === null || value === "") return "–";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** One row for each path that any session has, those that differ first. */
export function rowsOf(sessions: readonly Session[]): Row[] {
  const facts = sessions.map((one) => [one.session_id, factsOf(one)] as const);
  const paths = new Set(facts.flatMap(([, of]) => [...of.keys()]));
  return [...paths]
    .map((path) => {
      const values = new Map(facts.map(([id, of]) => [id, of.get(path)]));
      const different = new Set([...values.values()].map(written)).size > 1;
      return { path, values, differs: different };
    })
    .sort((a, b) => Number(b.differs) - Number(a.differs));
}

/** Rows as a Markdown table or as CSV, for a report. */
export function copied(
  head: readonly string[],
  body: readonly (readonly string[])[],
  as: "markdown" | "csv",
): string {
  if (as === "csv") {
    const cell = (text: string): string => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    return [head, ...body].map((row) => row.map(cell).join(",")).join("\n") + "\n";
  }
  const row = (cells: readonly string[]): string => `| ${cells.map((c) => c.replaceAll("|", "\\|")).join(" | ")} |`;
  return [row(head), row(head.map(() => "---")), ...body.map(row)].join("\n") + "\n";
}
