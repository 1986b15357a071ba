/** Which curves share a card: by meaning for the names we know, by prefix for the rest. */

import { about, leaf, level, NOT_CURVES, prefix, title, twin, words, type Unit } from "./catalogue";

export interface Line {
  readonly name: string;
  readonly label: string;
  /** What its legend says on hover. */
  readonly title: string;
  readonly unit: Unit;
  readonly hue: number;
  readonly exact: boolean;
  readonly dash: boolean;
  /** Drawn against the right-hand axis, because its size has nothing to do with the others'. */
  readonly right: boolean;
  /** Whose raw values and extremes lie behind this line; usually its own. */
  readonly backdrop: string;
}

export interface Group {
  readonly id: string;
  readonly title: string;
  readonly lines: readonly Line[];
}

interface Rule {
  readonly id: string;
  readonly title: string;
  /** Takes a name, or a pattern tested against the last part of `group/name`. */
  readonly takes: readonly (string | RegExp)[];
  readonly right?: RegExp;
  /** Of the machine, not of the training: one card for all of it, behind all others. */
  readonly aside?: true;
}

const RULES: readonly Rule[] = [
  { id: "return", title: "Episode return", takes: ["average_reward", "avg_reward", "current_reward", "best_reward"] },
  { id: "win", title: "Win rate", takes: ["win_rate"] },
  { id: "months", title: "Months survived", takes: ["avg_duration"] },
  {
    id: "money",
    title: "Cash and invested",
    takes: ["avg_invested", "avg_cash", "portfolio", "wealth", "cash"],
  },
  { id: "plan", title: "Stability and goal adherence", takes: ["stability", "goal_adherence"] },
  { id: "length", title: "Episode length", takes: ["episode_length", "average_length"] },
  { id: "loss", title: "Losses", takes: [/^(.*_)?loss(_value)?$/, /^td_error$/] },
  {
    id: "schedule",
    title: "Learning rate and entropy",
    takes: [/^learning_rate$/, /^entropy$/, /^epsilon$/, /^temperature$/],
    right: /^(entropy|epsilon|temperature)$/,
  },
  { id: "kl", title: "KL divergence", takes: [/^(approx_)?kl(_divergence)?$/] },
  { id: "clip", title: "Clip fraction", takes: [/^clip_?frac(tion)?$/] },
  { id: "explained", title: "Explained variance", takes: [/^explained_var(iance)?$/] },
  { id: "gradient", title: "Gradient norm", takes: [/(^|_)grad(ient)?(_norm)?(s)?($|_)/] },
  { id: "speed", title: "Speed", takes: [/^(actions|frames|steps|episodes)_per_second$/, /^(SPS|fps)$/] },
  { id: "memory", title: "Memory", takes: ["memory_usage_mb"] },
  {
    id: "counters",
    title: "Counters",
    takes: [/^(total_timesteps|n_updates|iterations|time_elapsed|global_step)$/],
    aside: true,
  },
  {
    id: "machine",
    title: "System",
    takes: [/^cpu_percent$/, /^process_cpu_percent$/, /^memory_percent$/, /^gpu_percent$/],
    aside: true,
  },
  { id: "machine-memory", title: "System memory", takes: [/^(process|gpu)_memory_mb$/], aside: true },
];

/** At most this many lines in a card; more go to a card of the same title. */
const LINES_A_CARD = 6;
/** From more lines than this on, levels of several measures are shown measure by measure. */
const CROWD = 3;

/** The Executor before the Strategist, as the eye meets them; then by name. */
function bySeniority(a: string, b: string): number {
  const rank = (name: string): number => ({ low: 0, high: 1 })[prefix(name)] ?? 2;
  return rank(a) - rank(b) || a.localeCompare(b);
}

function takes(rule: Rule, name: string): number {
  const at = rule.takes.findIndex((what) =>
    typeof what === "string" ? what === name : what.test(leaf(name)),
  );
  return at;
}

function lines(names: readonly string[], all: ReadonlySet<string>, right?: RegExp, within = false): Line[] {
  const used = new Set<number>();
  // Where only the level differs, the title says the rest.
  const oneLeaf = names.length > 1 && new Set(names.map(leaf)).size === 1;
  const mixed = right !== undefined && names.some((n) => !right.test(leaf(n)));
  return names.map((name) => {
    const known = about(name);
    let hue = known.hue;
    for (let tries = 0; tries < 8 && used.has(hue); tries += 1) hue = (hue % 8) + 1;
    const dash = used.has(hue);
    used.add(hue);
    let backdrop = name;
    if (name === "average_reward" && all.has("current_reward")) backdrop = "current_reward";
    if (name === "avg_duration" && all.has("episode_length")) backdrop = "episode_length";
    return {
      name,
      title: name,
      label: (oneLeaf && level(prefix(name))) || (within ? words(leaf(name)) : known.label),
      unit: known.unit,
      exact: known.exact,
      hue,
      dash,
      right: mixed && right.test(leaf(name)),
      backdrop,
    };
  });
}

function scheduleTitle(names: readonly string[]): string {
  const kinds = [...new Set(names.map((n) => leaf(n).replaceAll("_", " ")))];
  const said = kinds.join(" and ");
  return said.charAt(0).toUpperCase() + said.slice(1);
}

/** All cards of a session, the most telling first. Every curve is on exactly one card. */
export function groups(names: readonly string[]): Group[] {
  const all = new Set(names.filter((name) => !NOT_CURVES.has(name)));
  const left = new Set([...all].filter((name) => !twin(name, all)));
  // Behind the averages, not beside them.
  if (all.has("average_reward")) {
    left.delete("current_reward");
    left.delete("avg_reward"); // the same under its other documented name
  }
  if (all.has("avg_duration")) left.delete("episode_length");
  const found: Group[] = [];
  const add = (id: string, name: string, members: readonly string[], right?: RegExp, within = false): void => {
    for (let i = 0; i < members.length; i += LINES_A_CARD) {
      const part = members.slice(i, i + LINES_A_CARD);
      found.push({
        id: i === 0 ? id : `${id}-${i / LINES_A_CARD + 1}`,
        title: name,
        lines: lines(part, all, right, within),
      });
    }
  };
  const aside: (() => void)[] = [];
  for (const rule of RULES) {
    const members = [...left]
      .map((name) => ({ name, rank: takes(rule, name) }))
      .filter((m) => m.rank >= 0)
      .sort((a, b) => a.rank - b.rank || bySeniority(a.name, b.name))
      .map((m) => m.name);
    if (members.length === 0) continue;
    for (const name of members) left.delete(name);
    const leaves = [...new Set(members.map(leaf))];
    if (!rule.aside && members.length > CROWD && leaves.length > 1 && members.some((n) => prefix(n) !== "")) {
      // Two levels with several measures each: one card a measure keeps their sizes apart.
      for (const one of leaves) {
        add(`${rule.id}/${one}`, title(one), members.filter((n) => leaf(n) === one));
      }
      continue;
    }
    if (rule.aside) {
      aside.push(() => add(rule.id, rule.title, members));
      continue;
    }
    const name = rule.id === "schedule" ? scheduleTitle(members) : rule.title;
    add(rule.id, name, members, rule.right);
  }
  const rest = [...left].sort();
  const prefixes = [...new Set(rest.map(prefix))].filter((p) => p !== "");
  for (const name of rest.filter((n) => prefix(n) === "")) {
    add(name, title(name), [name]);
  }
  for (const p of prefixes) {
    // The title says the group, so the lines need not.
    add(`group/${p}`, title(p), rest.filter((n) => prefix(n) === p), undefined, true);
  }
  for (const place of aside) place();
  return found;
}
