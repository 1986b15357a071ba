/** The training plane over HTTP: scenarios, queue, models, checkpoints. */

import { address, ask, post, reach } from "./server";
import type { Evaluation, Model, ModelDetail, Scenario, Session, Status } from "./types";

const name = encodeURIComponent;

/** A JSON schema, as far as this page reads it. */
export interface Schema {
  readonly description?: string;
  readonly type?: string;
  readonly default?: unknown;
  readonly enum?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
  readonly anyOf?: readonly Schema[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly $defs?: Readonly<Record<string, Schema>>;
}

export interface Template {
  readonly scenario: Scenario;
  readonly yaml: string;
  readonly schema: Schema;
}

export function getTemplate(): Promise<Template> {
  return ask("api/scenarios/template");
}

/** A scenario as YAML text. */
export async function scenarioText(of: string): Promise<string> {
  const headers = { accept: "application/yaml" };
  return (await reach(`api/scenarios/${name(of)}`, { headers })).text;
}

/** The scenario that YAML text or plain data says; an ApiError with its fields where it says none. */
export function checkScenario(told: string | Scenario): Promise<{ scenario: Scenario; yaml: string }> {
  return post("api/scenarios/validate", typeof told === "string" ? { yaml: told } : told);
}

export function createScenario(scenario: Scenario): Promise<Scenario> {
  return post("api/scenarios", scenario);
}

export function replaceScenario(of: string, scenario: Scenario): Promise<Scenario> {
  return post(`api/scenarios/${name(of)}`, scenario, "PUT");
}

export function deleteScenario(of: string): Promise<void> {
  return ask(`api/scenarios/${name(of)}`, { method: "DELETE" });
}

/** One training that waits for a free place. */
export interface Waiting {
  readonly position: number;
  readonly priority: number;
  readonly session: Session;
}

/** One training that a worker is at. */
export interface AtWork {
  readonly session_id: string;
  readonly name: string;
  readonly status: Status;
  readonly current_episode: number;
  readonly total_episodes: number | null;
}

export function getAtWork(): Promise<{ readonly active: readonly AtWork[]; readonly queue_length: number }> {
  return ask("api/training/status");
}

interface Queue {
  readonly queue: readonly Waiting[];
}

export async function getQueue(): Promise<readonly Waiting[]> {
  return (await ask<Queue>("api/training/queue")).queue;
}

export type Move = { readonly before: string } | { readonly after: string } | { readonly priority: number };

export async function moveInQueue(id: string, move: Move): Promise<readonly Waiting[]> {
  return (await post<Queue>(`api/training/queue/${name(id)}`, move, "PATCH")).queue;
}

export function leaveQueue(id: string): Promise<Session> {
  return ask(`api/training/queue/${name(id)}`, { method: "DELETE" });
}

export async function listModels(): Promise<readonly Model[]> {
  return (await ask<{ models: readonly Model[] }>("api/models")).models;
}

export function getModelDetail(id: string): Promise<ModelDetail> {
  return ask(`api/models/${name(id)}`);
}

export function deleteModel(id: string): Promise<void> {
  return ask(`api/models/${name(id)}`, { method: "DELETE" });
}

export function modelDownload(id: string): string {
  return address(`api/models/${name(id)}/download`);
}

export interface EvaluationOrder {
  readonly scenario_name?: string;
  readonly episodes: number;
  readonly seed: number;
  /** The policy's mean action instead of a drawn one. */
  readonly greedy: boolean;
  readonly market_noise: boolean;
  readonly trajectories: number;
}

export function evaluateModel(
  id: string,
  order: EvaluationOrder,
): Promise<{ evaluation_id: string }> {
  return post(`api/models/${name(id)}/evaluate`, order);
}

export interface Action {
  readonly action: readonly number[];
  readonly names: readonly string[];
}

export function actWith(id: string, observation: readonly number[]): Promise<Action> {
  return post(`api/models/${name(id)}/act`, { observation });
}

/** Models beside one another. */
export interface Comparison {
  readonly models: readonly {
    readonly id: string;
    readonly name: string;
    readonly session_name: string | null;
    readonly algorithm: string | null;
    readonly evaluation: Evaluation | null;
    readonly episodes: number | null;
  }[];
  readonly pairs: readonly {
    readonly a: string;
    readonly b: string;
    readonly difference: number | null;
    readonly interval: readonly [number, number] | null;
    readonly why_not?: string;
  }[];
  readonly differences: readonly {
    readonly path: string;
    readonly values: Readonly<Record<string, unknown>>;
  }[];
}

export function compareModels(models: readonly string[]): Promise<Comparison> {
  return post("api/models/compare", { models });
}

export interface Checkpoint {
  readonly name: string;
  readonly episode: number;
  readonly step: number | null;
  readonly size_bytes: number;
  readonly saved_at: string;
  /** What is wrong with it; null when it is whole. */
  readonly damage: string | null;
  readonly best: boolean;
}

export async function getCheckpoints(sessionId: string): Promise<readonly Checkpoint[]> {
  const path = `api/training/sessions/${name(sessionId)}/checkpoints`;
  return (await ask<{ checkpoints: readonly Checkpoint[] }>(path)).checkpoints;
}

export function checkpointDownload(sessionId: string, episode: number): string {
  return address(`api/training/sessions/${name(sessionId)}/checkpoints/${episode}`);
}
