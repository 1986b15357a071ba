/** Shapes of the answers this page reads; `GET /openapi.json` has them all. */

export type Status =
  | "queued"
  | "starting"
  | "running"
  | "pausing"
  | "paused"
  | "stopping"
  | "stopped"
  | "completed"
  | "failed"
  | "lost";

export type Verb = "pause" | "resume" | "stop" | "checkpoint";

/** A metrics record: the documented fields plus `extra` with everything else. */
export type Metrics = Readonly<Record<string, unknown>>;

export interface Session {
  readonly session_id: string;
  readonly kind: "managed" | "external";
  readonly name: string;
  readonly algorithm: string;
  readonly scenario_name: string | null;
  readonly status: Status;
  readonly wanted: "running" | "paused" | "stopped";
  readonly verbs?: readonly Verb[];
  readonly stop_reason: string | null;
  readonly error: Readonly<Record<string, unknown>> | null;
  readonly start_time: string | null;
  readonly end_time: string | null;
  readonly last_seen_at: string | null;
  readonly created_at?: string;
  /** The one from whose checkpoint it goes on. */
  readonly parent_session_id?: string | null;
  readonly current_episode: number;
  readonly total_episodes: number | null;
  readonly eta_seconds: number | null;
  /** Environment steps, or else episodes, a second. */
  readonly speed: number | null;
  readonly tags: readonly string[];
  readonly config?: Readonly<Record<string, unknown>> & { readonly scenario?: Scenario };
  readonly notes?: string;
  readonly latest: Metrics | null;
  readonly last_seq: number;
  readonly spectator_count: number;
  readonly room_code?: string | null;
}

export interface SessionList {
  readonly sessions: readonly Session[];
  readonly total: number;
  /** How many of each status the other filters leave; those with none are left out. */
  readonly counts: Readonly<Partial<Record<Status, number>>>;
  /** Where they were asked for: null is the value of those that have none. */
  readonly groups?: readonly { readonly value: string | null; readonly count: number }[];
  readonly next_cursor: string | null;
}

export interface Scenario {
  readonly name: string;
  readonly description: string;
  readonly environment: Readonly<Record<string, unknown>>;
  readonly training?: Readonly<Record<string, unknown>>;
  readonly reward?: Readonly<Record<string, unknown>>;
  /** It came with Grandstand and stays as it is. */
  readonly shipped?: boolean;
}

export type Axis = "episode" | "step" | "time";

export interface SeriesAnswer {
  readonly session_id: string;
  readonly x: string;
  readonly last_seq: number;
  /** Every metric name the session has. */
  readonly metrics: readonly string[];
  readonly series: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

export interface Setup {
  readonly state: "ready" | "missing" | "installing" | "failed";
  readonly message?: string;
  readonly size_mb?: number | null;
  readonly command?: string | null;
}

export interface ServerStatus {
  readonly status: string;
  readonly version?: string;
  readonly setup?: Setup;
}

/** A trained model on the server's disk. */
export interface Model {
  /** The session it came from. */
  readonly id: string;
  /** Its scenario. */
  readonly name: string;
  readonly size_bytes: number;
  readonly saved_at: string;
  /** The newest of its scenario, shown under that one's name. */
  readonly current: boolean;
  readonly session_name: string | null;
  readonly algorithm: string | null;
  readonly status: Status | null;
  readonly episodes: number | null;
  readonly tags: readonly string[];
  readonly evaluation: Evaluation | null;
}

/** A model with all that is known of it. */
export interface ModelDetail extends Model {
  readonly scenario: Scenario;
  readonly config: Readonly<Record<string, unknown>>;
  readonly evaluations: readonly Evaluation[];
}

/** One lived episode, month by month. */
export type Trajectory = Readonly<Record<string, readonly (number | null)[]>>;

/** How well a model plays; the last three are returns of reference policies. */
export interface Evaluation {
  readonly evaluation_id: string;
  readonly status: "queued" | "running" | "completed" | "failed";
  readonly error?: Readonly<Record<string, unknown>> | null;
  readonly return_mean?: number;
  readonly return_se?: number;
  readonly months_mean?: number;
  /** Steps an episode lasted; of a household they are its months. */
  readonly length_mean?: number;
  readonly score?: number;
  readonly optimum?: number;
  readonly uniform?: number;
  readonly best_constant?: number;
  readonly model?: string;
  readonly scenario_name?: string | null;
  readonly episodes?: number;
  readonly created_at?: string;
  readonly trajectories?: readonly Trajectory[];
}

/** What one training decided at one moment. */
export interface Decision {
  /** The session's counter; null for what never had one. */
  readonly seq?: number | null;
  readonly timestamp?: string;
  readonly action_probabilities?: Readonly<Record<string, number>> | null;
  readonly state_values?: number | readonly number[] | null;
  readonly q_values?: readonly number[] | null;
  readonly selected_action?: string | number | null;
  readonly confidence_score?: number | null;
  readonly episode?: number | null;
  readonly step?: number | null;
  readonly extra?: Readonly<Record<string, unknown>> | null;
}
