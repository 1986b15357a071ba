/** What happened, as small flags along the upper edge of the charts. */

import type { Axis, Metrics } from "../api/types";
import type { Envelope } from "../live";
import { eventFrom } from "./happenings";
import { secondsOf } from "./picture";

export interface Flag {
  readonly key: string;
  readonly words: string;
  readonly grave: boolean;
  /** Where it stands on each axis; NaN where nobody says. */
  readonly at: Readonly<Record<Axis, number>>;
}

/** Statuses worth a flag: those in which the run stood still or went back. */
const STATUSES: ReadonlySet<unknown> = new Set(["paused", "running", "failed", "lost", "stopped"]);
const EVENTS: ReadonlySet<unknown> = new Set(["checkpoint", "alert", "rewound", "resumed", "evaluation"]);

function first(...values: unknown[]): number {
  return values.find((value): value is number => typeof value === "number") ?? NaN;
}

/**
 * The flag of a status message; null for what is not worth one.
 *
 * @param latest the newest record when it was heard, which says where the run was; null later on.
 */
export function flagFrom(message: Envelope, latest: Metrics | null): Flag | null {
  const { data } = message;
  const worth = data.event === "status" ? STATUSES.has(data.status) : EVENTS.has(data.event);
  const told = worth ? eventFrom(message) : null;
  if (told === null) return null;
  return {
    key: told.key,
    words: [told.what, told.more].filter(Boolean).join(" "),
    grave: told.grave,
    at: {
      episode: first(data.episode, data.current_episode, data.episodes_completed, latest?.episode),
      step: first(data.step, latest?.step),
      time: secondsOf(message.timestamp),
    },
  };
}
