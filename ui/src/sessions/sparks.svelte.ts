/** The small curves of the rows in sight: fetched a few at a time, and again when there is more. */

import { SvelteMap } from "svelte/reactivity";
import { ApiError, getSeries } from "../api/server";
import type { Session } from "../api/types";
import { columnsFrom } from "../live";
import { ended } from "../session/status";

const POINTS = 60;
const EVERY_MS = 4000;
/** Small requests under way at once; the rest wait their turn. */
const AT_ONCE = 3;
/** Curves kept; those looked at longest ago go first. */
const KEPT = 1000;

/** The metric a row's curve shows. */
export function telling(session: Session): string | null {
  const latest = session.latest ?? {};
  const extra = (latest.extra ?? {}) as Readonly<Record<string, unknown>>;
  for (const name of ["average_reward", "current_reward", "win_rate", "loss_value"]) {
    if (latest[name] !== undefined && latest[name] !== null) return name;
  }
  const other = Object.entries(extra).find(([, value]) => typeof value === "number");
  return other?.[0] ?? null;
}

interface Spark {
  readonly values: readonly number[];
  readonly seq: number;
  readonly at: number;
}

const NONE: readonly number[] = [];

export class Sparks {
  #of = new SvelteMap<string, Spark>();
  #busy = new Set<string>();
  #wanted: readonly Session[] = [];

  /** A session's curve; empty before it is there. */
  of(id: string): readonly number[] {
    return this.#of.get(id)?.values ?? NONE;
  }

  /** Fetches what these lack, and nothing else from now on. */
  want(sessions: readonly Session[]): void {
    this.#wanted = sessions;
    const now = performance.now();
    for (const session of sessions) {
      if (this.#busy.size >= AT_ONCE) return;
      if (this.#busy.has(session.session_id) || session.last_seq === 0) continue;
      const have = this.#of.get(session.session_id);
      if (have !== undefined) {
        if (have.seq >= session.last_seq) continue;
        if (!ended(session) && now - have.at < EVERY_MS) continue;
      }
      void this.#fetch(session);
    }
  }

  async #fetch(session: Session): Promise<void> {
    const id = session.session_id;
    const metric = telling(session);
    let values = NONE;
    if (metric !== null) {
      this.#busy.add(id);
      try {
        const answer = await getSeries(id, { metrics: [metric], x: "episode", maxPoints: POINTS });
        const wire = answer.series[metric];
        if (wire !== undefined) values = Array.from(columnsFrom(wire).mean);
      } catch (problem) {
        // A session deleted meanwhile leaves the list by itself; its row needs no curve.
        if (!(problem instanceof ApiError)) throw problem;
      } finally {
        this.#busy.delete(id);
      }
    }
    this.#of.delete(id);
    this.#of.set(id, { values, seq: session.last_seq, at: performance.now() });
    for (const oldest of this.#of.keys()) {
      if (this.#of.size <= KEPT) break;
      this.#of.delete(oldest);
    }
    if (metric !== null) this.want(this.#wanted);
  }
}
