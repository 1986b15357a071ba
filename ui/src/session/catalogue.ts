/** What is known about metrics by name: words, unit, hue. Unknown ones get words from their name. */

export type Unit = "plain" | "euro" | "share" | "percent" | "months" | "rate" | "megabyte";

export interface Known {
  readonly label: string;
  readonly unit?: Unit;
  /** Series hue 1…8: the same metric has the same one wherever it is drawn. */
  readonly hue?: number;
  /** A schedule or a record, not a noisy measure: drawn as it is, never smoothed. */
  readonly exact?: boolean;
}

/** Fields of a metrics record that are not curves: counters, identity, clocks. */
export const NOT_CURVES: ReadonlySet<string> = new Set([
  "episode",
  "total_episodes",
  "step",
  "timestamp",
  "algorithm",
  "model_generation",
  "training_time_elapsed",
  "elapsed_time",
  "skipped_from",
  "skipped_to",
  "extra",
]);

/**
 * Others' names that the SDK's integrations also store under a documented one, with the same value:
 * where both are there, one is shown.
 */
const TWINS: Readonly<Record<string, string>> = {
  "charts/episodic_return": "current_reward",
  "charts/episodic_length": "episode_length",
  "charts/learning_rate": "learning_rate",
  "train/learning_rate": "learning_rate",
  "train/loss": "loss_value",
  "rollout/ep_rew_mean": "average_reward",
  "rollout/ep_len_mean": "average_length",
  "rollout/exploration_rate": "epsilon",
  "time/fps": "actions_per_second",
};

/** Whether the same numbers stand among `all` under another name. */
export function twin(name: string, all: { has(name: string): boolean }): boolean {
  const other = TWINS[name];
  return other !== undefined && all.has(other);
}

const KNOWN: Readonly<Record<string, Known>> = {
  average_reward: { label: "average", hue: 1 },
  avg_reward: { label: "average", hue: 1 },
  best_reward: { label: "best", hue: 3, exact: true },
  current_reward: { label: "each episode", hue: 1 },
  episode_length: { label: "episode length", hue: 3 },
  avg_duration: { label: "average", unit: "months", hue: 3 },
  avg_cash: { label: "cash", unit: "euro", hue: 5 },
  avg_invested: { label: "invested", unit: "euro", hue: 1 },
  cash: { label: "cash", unit: "euro", hue: 5 },
  portfolio: { label: "portfolio", unit: "euro", hue: 6 },
  wealth: { label: "wealth", unit: "euro", hue: 8 },
  consumption: { label: "consumed", unit: "euro", hue: 2 },
  stability: { label: "stability", unit: "share", hue: 3 },
  goal_adherence: { label: "goal adherence", hue: 4 },
  win_rate: { label: "win rate", unit: "percent", hue: 3 },
  loss_value: { label: "loss", hue: 4 },
  value_loss: { label: "value", hue: 4 },
  policy_loss: { label: "policy", hue: 6 },
  learning_rate: { label: "learning rate", hue: 8, exact: true },
  entropy: { label: "entropy", hue: 7 },
  epsilon: { label: "epsilon", hue: 7, exact: true },
  actions_per_second: { label: "actions", unit: "rate", hue: 8 },
  SPS: { label: "steps", unit: "rate", hue: 8 },
  clipfrac: { label: "clip fraction", hue: 5 },
  frames_per_second: { label: "frames", unit: "rate", hue: 2 },
  steps_per_second: { label: "steps", unit: "rate", hue: 8 },
  memory_usage_mb: { label: "memory", unit: "megabyte", hue: 5 },
  cpu_percent: { label: "all cores", unit: "percent", hue: 8 },
  process_cpu_percent: { label: "this worker", unit: "percent", hue: 1 },
  memory_percent: { label: "memory", unit: "percent", hue: 5 },
  gpu_percent: { label: "GPU", unit: "percent", hue: 4 },
  process_memory_mb: { label: "this worker", unit: "megabyte", hue: 1 },
  gpu_memory_mb: { label: "GPU", unit: "megabyte", hue: 4 },
  kl: { label: "KL", hue: 2 },
  approx_kl: { label: "KL", hue: 2 },
  clip_fraction: { label: "clip fraction", hue: 5 },
  explained_variance: { label: "explained variance", hue: 3 },
  sharpe: { label: "Sharpe ratio", hue: 6 },
  return_per_month: { label: "return per month", hue: 2 },
};

/** `system/…` is said by its card's title. */
const LEVELS: Readonly<Record<string, string>> = { low: "executor", high: "strategist", system: "" };

/** A prefix in words: of our own trainers' two levels, or as it is. */
export function level(name: string): string {
  return LEVELS[name] ?? words(name);
}

/** Last part of a `group/name`. */
export function leaf(name: string): string {
  return name.slice(name.lastIndexOf("/") + 1);
}

/** First part of a `group/name`, empty without one. */
export function prefix(name: string): string {
  const cut = name.indexOf("/");
  return cut < 0 ? "" : name.slice(0, cut);
}

/** A name in words: `n_updates` → `n updates`. */
export function words(name: string): string {
  return name.replaceAll(/[_.]+/g, " ").trim();
}

/** Label, unit and hue of any metric. */
export function about(name: string): Required<Known> {
  const own = KNOWN[name];
  const byLeaf = KNOWN[leaf(name)];
  const group = prefix(name);
  const spoken = byLeaf?.label ?? words(leaf(name));
  let hash = 0;
  for (const char of name) hash = (hash * 31 + char.charCodeAt(0)) | 0;
  return {
    label: own?.label ?? `${level(group)} ${spoken}`.trim(),
    unit: own?.unit ?? byLeaf?.unit ?? "plain",
    exact: own?.exact ?? byLeaf?.exact ?? false,
    // The Strategist's curves move four hues on, away from the Executor's.
    hue:
      own?.hue ??
      (byLeaf?.hue === undefined
        ? (Math.abs(hash) % 8) + 1
        : ((byLeaf.hue - 1 + (group === "high" ? 4 : 0)) % 8) + 1),
  };
}

/** A metric's name as a title: `avg_cash` → `Avg cash`. */
export function title(name: string): string {
  const said = words(name.replaceAll("/", " / "));
  return said.charAt(0).toUpperCase() + said.slice(1);
}
