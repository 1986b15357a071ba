/** What is told of a run beside its numbers: configuration and circumstances, as rows. */

import type { Session } from "../api/types";
import type { Kind } from "../words/recipes";

export interface Row {
  readonly name: string;
  readonly value: string;
}

/** Shown elsewhere, or too long to be a row. */
const LEFT_OUT = new Set(["scenario", "versions"]);
const LONGEST = 300;

function text(value: unknown): string {
  if (Array.isArray(value)) return value.map(text).join(", ");
  if (value === null || value === undefined) return "none";
  if (typeof value === "boolean") return value ? "yes" : "no";
  return typeof value === "object" ? JSON.stringify(value) : String(value).slice(0, LONGEST);
}

const flat = (value: unknown): boolean => !Array.isArray(value) || value.every((one) => typeof one !== "object");

function rows(of: Readonly<Record<string, unknown>>, before: string): Row[] {
  return Object.entries(of).flatMap(([key, value]) => {
    const name = `${before}${key}`;
    if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      return rows(value as Readonly<Record<string, unknown>>, `${name}.`);
    }
    return [{ name, value: flat(value) ? text(value) : JSON.stringify(value).slice(0, LONGEST) }];
  });
}

/** A configuration as dotted names and values. */
export function configured(session: Session): Row[] {
  const told = Object.entries(session.config ?? {}).filter(([key]) => !LEFT_OUT.has(key));
  return rows(Object.fromEntries(told), "");
}

/** Where it ran: versions, command line, commit, as far as it was told. */
export function circumstances(session: Session): Row[] {
  const told = { ...session.config, ...session.error } as Readonly<Record<string, unknown>>;
  const found: Row[] = [];
  if (typeof told.command === "string") found.push({ name: "command", value: told.command });
  if (typeof told.git_commit === "string") {
    found.push({ name: "commit", value: told.git_commit.slice(0, 12) });
  }
  const versions = told.versions;
  if (typeof versions === "object" && versions !== null) {
    const there = Object.entries(versions).filter(([, version]) => version !== "not installed");
    found.push(...there.map(([name, version]) => ({ name, value: text(version) })));
  }
  return found;
}

/** Which of the integrations this run looks like. */
export function reportedBy(session: Session): Kind {
  if (session.tags.includes("tensorboard")) return "tensorboard";
  const versions = session.config?.versions;
  const has = typeof versions === "object" && versions !== null && "stable-baselines3" in versions;
  return has ? "sb3" : "python";
}
