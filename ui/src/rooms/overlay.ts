/** What an overlay's address asks for, and what it shows of a session. */

import type { Metrics, Session } from "../api/types";
import type { SeriesSet } from "../live";
import { about, title } from "../session/catalogue";
import { numbersOf, withUnit } from "../session/figures";
import { whole } from "../words/numbers";

export const PARTS = ["figures", "curve", "decision"] as const;
export type Part = (typeof PARTS)[number];

export interface Wish {
  readonly show: ReadonlySet<Part>;
  /** 0.5…4. */
  readonly scale: number;
  /** A CSS colour as it was written; empty for none, so that the stream shows through. */
  readonly background: string;
  readonly name: string;
  readonly password: string | null;
  readonly invitation: string | null;
  readonly token: string | null;
}

/**
 * @param search what follows the question mark.
 * @param hash what follows the #, which no server and no log sees: what is secret stands here.
 */
export function wishFrom(search: string, hash: string): Wish {
  const open = new URLSearchParams(search);
  const secret = new URLSearchParams(hash.replace(/^#/, ""));
  const named = (open.get("show") ?? "").split(",").map((one) => one.trim());
  const parts = PARTS.filter((one) => named.includes(one));
  const scale = Number(open.get("scale") ?? 1);
  return {
    show: new Set(parts.length > 0 ? parts : PARTS),
    scale: Number.isFinite(scale) && scale > 0 ? Math.min(4, Math.max(0.5, scale)) : 1,
    background: open.get("bg") ?? "",
    name: open.get("name")?.trim().slice(0, 64) || "Stream overlay",
    password: secret.get("password"),
    invitation: secret.get("invitation"),
    token: secret.get("token"),
  };
}

export interface Big {
  readonly label: string;
  readonly value: string;
  readonly note: string;
}

const REWARDS = ["average_reward", "avg_reward", "current_reward"] as const;

/** Episode, reward and win rate, as far as the session tells them. */
export function bigFigures(session: Session, latest: Metrics | null): Big[] {
  const numbers = numbersOf(latest);
  const episode = Math.max(session.current_episode, numbers.get("episode") ?? 0);
  const found: Big[] = [
    {
      label: "Episode",
      value: whole(episode),
      note: session.total_episodes ? `of ${whole(session.total_episodes)}` : "",
    },
  ];
  const reward = REWARDS.find((name) => numbers.has(name));
  for (const [name, label] of [[reward, "Reward"], ["win_rate", "Win rate"]] as const) {
    const value = name === undefined ? undefined : numbers.get(name);
    if (name === undefined || value === undefined) continue;
    const { text, note } = withUnit(value, about(name).unit);
    found.push({ label, value: text, note });
  }
  return found;
}

/** The metric whose curve is shown; null while there is none. */
export function curveOf(names: readonly string[]): string | null {
  return [...REWARDS, "win_rate"].find((name) => names.includes(name)) ?? names[0] ?? null;
}

/** What a curve is called where nothing else stands beside it. */
export function curveTitle(name: string): string {
  return (REWARDS as readonly string[]).includes(name) ? "Reward" : title(name);
}

const POINTS = 200;

/** A curve's points, as many as a stream can show. */
export function pointsOf(set: SeriesSet, name: string): readonly number[] {
  const all = set.get(name).drawn().mean;
  if (all.length <= POINTS) return all;
  const step = all.length / POINTS;
  return Array.from({ length: POINTS }, (_, i) => {
    const part = all.slice(Math.floor(i * step), Math.floor((i + 1) * step)).filter(Number.isFinite);
    return part.reduce((a, b) => a + b, 0) / part.length;
  });
}
