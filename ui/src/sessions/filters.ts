/** Which sessions are looked for, as it stands in the address. */

import type { Status } from "../api/types";

export type Which = "all" | "live" | "ended" | "failed" | "lost" | "archived";

export interface Filters {
  /** Part of a name, id, scenario, algorithm, tag or note. */
  readonly q: string;
  readonly which: Which;
  readonly algorithm: string;
  readonly tag: string;
  readonly sort: string;
  /** What the list is in groups by; empty where it is in none. */
  readonly group: Group | "";
}

export type Group = "scenario" | "algorithm" | "status" | "tag";
export const GROUPS: readonly Group[] = ["scenario", "algorithm", "status", "tag"];

/** What a group is called; null is that of the sessions that have no such thing. */
export function nameOf(by: Group, value: string | null): string {
  return value || (by === "tag" ? "untagged" : `no ${by}`);
}

export const STATUSES: Readonly<Record<Which, readonly Status[]>> = {
  all: [],
  live: ["queued", "starting", "running", "pausing", "paused", "stopping"],
  ended: ["stopped", "completed", "failed"],
  failed: ["failed"],
  lost: ["lost"],
  archived: [],
};

/** These filters as the server is asked. */
export function asked(filters: Filters): {
  readonly status: string;
  readonly q: string;
  readonly algorithm: string;
  readonly tag: string;
  readonly sort: string;
  readonly archived: string;
} {
  const { q, which, algorithm, tag, sort } = filters;
  return {
    status: STATUSES[which].join(",") || "all",
    q, algorithm, tag, sort,
    archived: String(which === "archived"),
  };
}

/** Orders the list can have; the first is the usual one. */
export const SORTS = [
  { value: "-activity", label: "under way first" },
  { value: "-created_at", label: "newest first" },
  { value: "-last_seen_at", label: "heard from last" },
  { value: "name", label: "by name" },
  { value: "-current_episode", label: "most episodes" },
] as const;

export const EVERYTHING: Filters = {
  q: "",
  which: "all",
  algorithm: "",
  tag: "",
  sort: SORTS[0].value,
  group: "",
};

/** Reads an address; what makes no sense there is left out. */
export function filtersFrom(search: string): Filters {
  const told = new URLSearchParams(search);
  const which = told.get("status") ?? "";
  const sort = told.get("sort") ?? "";
  const group = told.get("group") as Group;
  return {
    q: (told.get("q") ?? "").slice(0, 200),
    which: Object.hasOwn(STATUSES, which) ? (which as Which) : "all",
    algorithm: told.get("algorithm") ?? "",
    tag: told.get("tag") ?? "",
    sort: SORTS.some((one) => one.value === sort) ? sort : EVERYTHING.sort,
    group: GROUPS.includes(group) ? group : "",
  };
}

/** What follows the question mark for these filters; empty for the usual list. */
export function searchOf(filters: Filters): string {
  const told = new URLSearchParams();
  if (filters.q) told.set("q", filters.q);
  if (filters.which !== EVERYTHING.which) told.set("status", filters.which);
  if (filters.algorithm) told.set("algorithm", filters.algorithm);
  if (filters.tag) told.set("tag", filters.tag);
  if (filters.sort !== EVERYTHING.sort) told.set("sort", filters.sort);
  if (filters.group) told.set("group", filters.group);
  const text = told.toString();
  return text && `?${text}`;
}

/** Whether anything is left out of the list. */
export function narrows(filters: Filters): boolean {
  return filters.q !== "" || filters.which !== "all" || filters.algorithm !== "" || filters.tag !== "";
}

const KINDS: Readonly<Record<Which, string>> = {
  all: "session",
  live: "session under way",
  ended: "ended session",
  failed: "failed session",
  lost: "lost session",
  archived: "archived session",
};

/** The filters in words, as in "no … ": `ended session with “pong” in it, of algorithm DQN`. */
export function inWords(filters: Filters): string {
  const parts = [
    filters.q && `with “${filters.q}” in it`,
    filters.algorithm && `of algorithm ${filters.algorithm}`,
    filters.tag && `tagged ${filters.tag}`,
  ].filter(Boolean);
  return [KINDS[filters.which], parts.join(", ")].filter(Boolean).join(" ");
}

/** How many of these statuses there are. */
export function countOf(which: Which, counts: Readonly<Partial<Record<Status, number>>>): number {
  const wanted = STATUSES[which];
  return Object.entries(counts).reduce(
    (sum, [status, count]) =>
      wanted.length === 0 || wanted.includes(status as Status) ? sum + count : sum,
    0,
  );
}
