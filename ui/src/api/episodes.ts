/** A session's finished episodes, and what was decided in them. */

import { ask } from "./server";
import type { Decision, Metrics } from "./types";

/** Where in the log the decisions of an episode are; `played` of them show the policy at play. */
export interface Decided {
  readonly count: number;
  readonly played: number;
  readonly first_seq: number;
  readonly last_seq: number;
}

/** A finished episode: the record that told of it. */
export type Episode = Metrics & {
  readonly episode: number;
  readonly seq: number;
  readonly timestamp?: string;
  readonly decisions: Decided | null;
};

export interface EpisodeList {
  readonly episodes: readonly Episode[];
  readonly total: number;
  /** Only episodes from here on can be looked through. */
  readonly from_episode: number;
  /** The place of the first of them in that order. */
  readonly offset: number;
  /** Of the episode asked for, finished or not. */
  readonly decided: Decided | null;
  /** After these the policy was played step by step, to be looked at; rising. */
  readonly played: readonly number[];
  readonly last_seq: number;
}

export const SORTS = ["-episode", "episode", "-return", "return", "-length", "length"] as const;
export type EpisodeSort = (typeof SORTS)[number];

export interface EpisodeQuery {
  readonly sort?: EpisodeSort;
  readonly limit: number;
  readonly offset?: number;
  /** Begin at this one instead. */
  readonly episode?: number | null;
}

const PER_REQUEST = 10_000;
/** Most decisions of one episode that are looked at. */
export const MOST_DECISIONS = 20_000;

const path = (id: string): string => `api/training/sessions/${encodeURIComponent(id)}`;

interface Page {
  readonly bot_decisions?: readonly Decision[];
  readonly next_cursor: string | null;
}

/** A page of the finished episodes. */
export function getEpisodes(id: string, query: EpisodeQuery, signal?: AbortSignal): Promise<EpisodeList> {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined) params.set(name, String(value));
  }
  return ask(`${path(id)}/episodes?${params}`, signal ? { signal } : {});
}

/** The decisions of one episode as they were told, the first `MOST_DECISIONS`. */
export async function getEpisodeDecisions(
  id: string,
  episode: number,
  where: Decided,
  signal?: AbortSignal,
): Promise<readonly Decision[]> {
  const params = new URLSearchParams({
    type: "bot_decision",
    episode_from: String(episode),
    episode_to: String(episode),
    since_seq: String(where.first_seq - 1),
    until_seq: String(where.last_seq),
    limit: String(PER_REQUEST),
  });
  const found: Decision[] = [];
  for (;;) {
    const page: Page = await ask(`${path(id)}/history?${params}`, signal ? { signal } : {});
    found.push(...(page.bot_decisions ?? []));
    if (page.next_cursor === null || found.length >= MOST_DECISIONS) return found.slice(0, MOST_DECISIONS);
    params.set("cursor", page.next_cursor);
  }
}

const SPAN = 2_000;
const WIDEST_SPAN = 100_000;

/**
 * The decisions right before a record, oldest first, and how far back was looked: `from` 0 means
 * that there are none before them.
 */
export async function getDecisionsBefore(
  id: string,
  before: number,
  signal?: AbortSignal,
): Promise<{ readonly decisions: readonly Decision[]; readonly from: number }> {
  let [span, until] = [SPAN, before - 1];
  while (until > 0) {
    const since = Math.max(0, until - span);
    const params = new URLSearchParams({
      type: "bot_decision",
      since_seq: String(since),
      until_seq: String(until),
      limit: String(PER_REQUEST),
    });
    const page: Page = await ask(`${path(id)}/history?${params}`, signal ? { signal } : {});
    const decisions = page.bot_decisions ?? [];
    if (page.next_cursor !== null) {
      span = Math.ceil(span / 2); // the newest of them are wanted, and a page begins with the oldest
      continue;
    }
    if (decisions.length > 0) return { decisions, from: since };
    [span, until] = [Math.min(span * 4, WIDEST_SPAN), since];
  }
  return { decisions: [], from: 0 };
}
