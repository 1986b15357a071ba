/** The one place that speaks HTTP with the server. Addresses are relative to where the page is mounted. */

import { credentials } from "./credentials";
import type {
  Axis,
  Decision,
  Evaluation,
  Model,
  Scenario,
  SeriesAnswer,
  ServerStatus,
  Session,
  SessionList,
  Verb,
} from "./types";

/** One field the server refused: its dotted name, and what it should be. */
export interface FieldProblem {
  readonly field: string;
  readonly bound: string;
}

/** A refusal or failure, in the server's own words where it gave some. */
export class ApiError extends Error {
  readonly code: string;
  readonly detail: string;
  /** HTTP status; 0 when the server could not be reached. */
  readonly status: number;
  /** What is wrong with which field, where the server says so. */
  readonly fields: readonly FieldProblem[];
  /** When to come back, in seconds; null where the server does not say. */
  readonly retryAfter: number | null;

  constructor(
    status: number,
    code: string,
    message: string,
    detail: string,
    fields: readonly FieldProblem[] = [],
    retryAfter: number | null = null,
  ) {
    super(message);
    this.status = status;
    this.code = code;
    this.detail = detail;
    this.fields = fields;
    this.retryAfter = retryAfter;
  }
}

/** `path` below the page's mount point, as an absolute address. */
export function address(path: string): string {
  return new URL(path, document.baseURI).href;
}

/** The socket of one session, without a query. */
export function socketAddress(sessionId: string): string {
  const url = new URL(`ws/${encodeURIComponent(sessionId)}`, document.baseURI);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

function unreachable(): ApiError {
  return new ApiError(
    0,
    "unreachable",
    "The server cannot be reached.",
    "Is it still running? This page tries again by itself.",
  );
}

/**
 * A good answer, asked for with the token that this page has for it; everything else is thrown as
 * what the server said of it. Where somebody must sign in first, it waits until they have.
 */
export async function send(path: string, init: RequestInit = {}): Promise<Response> {
  for (;;) {
    const own = new Headers({ accept: "application/json", ...(init.headers as Record<string, string>) });
    const told = own.has("authorization");
    if (!told && (init.method ?? "GET") === "GET") await credentials.settled(path);
    if (own.get("authorization") === "") own.delete("authorization"); // expressly without
    if (!told && credentials.tokenFor(path) === null) await credentials.keeper?.before(path);
    init.signal?.throwIfAborted();
    const token = told ? null : credentials.tokenFor(path);
    if (token !== null) own.set("authorization", `Bearer ${token}`);
    let response: Response;
    try {
      response = await fetch(address(path), { ...init, headers: own });
      if (response.ok) return response;
      throw failure(response, await response.text());
    } catch (problem) {
      if (problem instanceof DOMException && problem.name === "AbortError") throw problem;
      if (!(problem instanceof ApiError)) throw unreachable();
      if (told || (problem.status !== 401 && problem.status !== 410)) throw problem;
      if (token === null) await credentials.settled(path);
      const since = token === null && credentials.tokenFor(path) !== null;
      if (!since && !(await credentials.keeper?.refused(token, problem.code))) throw problem;
      init.signal?.throwIfAborted();
    }
  }
}

/** The text of a good answer. */
export async function reach(path: string, init: RequestInit): Promise<{ status: number; text: string }> {
  const response = await send(path, init);
  try {
    return { status: response.status, text: await response.text() };
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === "AbortError") throw cause;
    throw unreachable();
  }
}

function failure({ status, headers }: Response, text: string): ApiError {
  const said = parsed(status, text) as Record<string, unknown> | null;
  const words = (value: unknown): string => (typeof value === "string" ? value : "");
  const seconds = Number(headers.get("retry-after") ?? NaN);
  return new ApiError(
    status,
    words(said?.error) || "error",
    words(said?.message) || `The server answered ${status}.`,
    words(said?.detail),
    refused(said?.details),
    Number.isFinite(seconds) ? seconds : null,
  );
}

function refused(details: unknown): FieldProblem[] {
  const rows = (details as { errors?: unknown } | null)?.errors;
  if (!Array.isArray(rows)) return [];
  return rows.flatMap((row: Record<string, unknown>) =>
    typeof row.field === "string"
      ? [{ field: row.field, bound: typeof row.bound === "string" ? row.bound : "" }]
      : [],
  );
}

function parsed(status: number, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new ApiError(
      status,
      "not_json",
      `The server answered ${status} with something that is not JSON.`,
      "A proxy in between may have answered instead.",
    );
  }
}

/** One request; the decoded answer, undefined where it has no body. */
export async function ask<T>(path: string, init: RequestInit = {}): Promise<T> {
  const { status, text } = await reach(path, init);
  return (text === "" ? undefined : parsed(status, text)) as T;
}

/** One request with a JSON body. */
export function post<T>(path: string, body: unknown = {}, method = "POST"): Promise<T> {
  return ask<T>(path, {
    method,
    headers: { accept: "application/json", "content-type": "application/json" },
    body: JSON.stringify(body),
  });
}

const sessionPath = (id: string): string => `api/training/sessions/${encodeURIComponent(id)}`;

export interface SessionQuery {
  readonly status: string;
  readonly q: string;
  readonly algorithm: string;
  readonly tag: string;
  /** "true": archived ones alone; left out: none of them. */
  readonly archived?: string;
  readonly sort: string;
  /** What groups are told by: scenario, algorithm, status or tag. */
  readonly group?: string;
  /** One group alone: `tag:NAME`, or `tag` for those without any. */
  readonly within?: string;
  readonly limit: number;
  readonly cursor: string | null;
}

export function listSessions(query: SessionQuery, signal?: AbortSignal): Promise<SessionList> {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== "" && value !== null) params.set(name, String(value));
  }
  return ask(`api/training/sessions?${params}`, signal ? { signal } : {});
}

export function getSession(id: string): Promise<Session> {
  return ask(sessionPath(id));
}

/** What people write of a session. */
export type Words = Partial<Pick<Session, "name" | "notes" | "tags">>;

/** Gives a session another name, notes or tags. */
export function describe(id: string, words: Words): Promise<Session> {
  return post(sessionPath(id), words, "PATCH");
}

export interface SeriesQuery {
  readonly metrics?: readonly string[];
  readonly x: Axis;
  readonly from?: number | null;
  readonly to?: number | null;
  readonly maxPoints: number;
  /** What all metrics share, where their number is not known. */
  readonly maxTotal?: number;
}

export function getSeries(
  id: string,
  query: SeriesQuery,
  signal?: AbortSignal,
): Promise<SeriesAnswer> {
  const params = new URLSearchParams({ x: query.x, max_points: String(query.maxPoints) });
  if (query.metrics) params.set("metrics", query.metrics.join(","));
  if (query.maxTotal !== undefined) params.set("max_total", String(query.maxTotal));
  if (query.from != null) params.set("from", String(query.from));
  if (query.to != null) params.set("to", String(query.to));
  return ask(`${sessionPath(id)}/series?${params}`, signal ? { signal } : {});
}

export type ExportFormat = "csv" | "ndjson" | "parquet";

/** Part of a run, on an axis along which a file can be cut. */
export interface Stretch {
  readonly axis: "episode" | "time";
  readonly from: number;
  readonly to: number;
}

/** Where a file of everything reported, or of a stretch of it, is to be had. */
export function exportAddress(id: string, format: ExportFormat, stretch: Stretch | null): string {
  const params = new URLSearchParams({ format });
  if (stretch?.axis === "episode") {
    params.set("episode_from", String(Math.max(0, Math.ceil(stretch.from))));
    params.set("episode_to", String(Math.max(0, Math.floor(stretch.to))));
  } else if (stretch?.axis === "time") {
    params.set("after", new Date(Math.floor(stretch.from * 1000)).toISOString());
    params.set("before", new Date(Math.ceil(stretch.to * 1000)).toISOString());
  }
  return address(`${sessionPath(id)}/export?${params}`);
}

/** Asks for a file with nothing in it; an ApiError where files of this kind cannot be had. */
export async function probeExport(id: string, format: ExportFormat, lastSeq: number): Promise<void> {
  const params = new URLSearchParams({ format, since_seq: String(lastSeq) });
  await reach(`${sessionPath(id)}/export?${params}`, { headers: { accept: "*/*" } });
}

/** A thing that happened, as the log has it. */
export type LoggedEvent = Readonly<Record<string, unknown>> & {
  readonly seq: number;
  readonly timestamp: string;
};

interface History {
  readonly bot_decisions?: readonly Decision[];
  readonly events?: readonly LoggedEvent[];
  readonly texts?: readonly LoggedEvent[];
  readonly histograms?: readonly LoggedEvent[];
  readonly images?: readonly LoggedEvent[];
  readonly next_cursor: string | null;
}

function history(id: string, type: string, since: number, limit: number): Promise<History> {
  const since_seq = String(Math.max(0, since));
  const params = new URLSearchParams({ type, since_seq, limit: String(limit) });
  return ask(`${sessionPath(id)}/history?${params}`);
}

/** The decisions among the last `span` records, oldest first. */
export async function getDecisions(
  id: string,
  lastSeq: number,
  span: number,
): Promise<readonly Decision[]> {
  return (await history(id, "bot_decision", lastSeq - span, span)).bot_decisions ?? [];
}

/** The events among the last `span` records, oldest first. */
export async function getEvents(
  id: string,
  lastSeq: number,
  span: number,
): Promise<readonly LoggedEvent[]> {
  return (await history(id, "training_status", lastSeq - span, 1000)).events ?? [];
}

/** A page of texts, histograms and images after a seq, oldest first; `next`: where more begin. */
export async function getMedia(
  id: string,
  since: number,
): Promise<{ records: readonly LoggedEvent[]; next: number | null }> {
  const page = await history(id, "text,histogram,image", since, 1000);
  const told = (event: string, list: readonly LoggedEvent[] = []): LoggedEvent[] =>
    list.map((one) => ({ ...one, event }));
  const records = [
    ...told("text", page.texts),
    ...told("histogram", page.histograms),
    ...told("image", page.images),
  ].sort((a, b) => a.seq - b.seq);
  return { records, next: page.next_cursor === null ? null : Number(page.next_cursor) };
}

/** Where an image that was reported is to be had. */
export function imageAddress(id: string, seq: number, digest: string): string {
  return address(`${sessionPath(id)}/media/${seq}?v=${encodeURIComponent(digest)}`);
}

/** Asks a session to do something; asking twice is harmless. */
export function order(id: string, verb: Verb): Promise<{ status: string; wanted: string }> {
  return post(`${sessionPath(id)}/${verb}`);
}

export async function listScenarios(): Promise<readonly Scenario[]> {
  const answer = await ask<{ scenarios: Scenario[] }>("api/scenarios?limit=200");
  return answer.scenarios;
}

export interface StartOrder {
  readonly scenario_name: string;
  readonly num_episodes?: number;
  readonly pace?: number;
  readonly seed?: number;
  readonly name?: string;
  readonly tags?: readonly string[];
  readonly priority?: number;
  readonly save_interval?: number;
  readonly eval_episodes?: number;
  readonly early_stopping?: Readonly<Record<string, unknown>>;
  readonly overrides?: Readonly<Record<string, unknown>>;
  readonly resume_from?: { readonly session_id: string; readonly checkpoint?: number };
}

export function startTraining(
  wanted: StartOrder,
): Promise<{ session_id: string; message: string; status: string }> {
  return post("api/training/start", { queue: true, ...wanted });
}

/** The model a session saved; an ApiError 404 where it saved none. */
export function getModel(sessionId: string): Promise<Model> {
  return ask(`api/models/${encodeURIComponent(sessionId)}`);
}

/** Has a worker play a model. */
export function evaluate(modelId: string, episodes: number): Promise<{ evaluation_id: string }> {
  return post(`api/models/${encodeURIComponent(modelId)}/evaluate`, { episodes });
}

export function getEvaluation(id: string): Promise<Evaluation> {
  return ask(`api/evaluations/${encodeURIComponent(id)}`);
}

export function serverStatus(): Promise<ServerStatus> {
  return ask("status");
}

/** Whether it is up; needs no token. */
export function serverHealth(): Promise<ServerStatus> {
  return ask("health");
}
