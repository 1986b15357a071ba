/** Graphs that a session built up beside its metrics. */

import { ask } from "./server";

export interface GraphPoint {
  readonly timestamp: string;
  /** A number, or the name of one that JSON has none for. */
  readonly value: unknown;
}

/** A graph as it stands: the newest `max_points` of each metric. */
export interface Graph {
  readonly graph_id: string;
  readonly title?: string | null;
  readonly y_label?: string | null;
  readonly metrics?: readonly string[];
  readonly max_points?: number;
  readonly data_points?: Readonly<Record<string, readonly GraphPoint[]>>;
}

/** Every graph of a session; `lastSeq` is its newest record, before which nothing is searched. */
export async function getGraphs(id: string, lastSeq: number, signal?: AbortSignal): Promise<readonly Graph[]> {
  const params = new URLSearchParams({ type: "graph_update", since_seq: String(Math.max(0, lastSeq)), limit: "1" });
  const path = `api/training/sessions/${encodeURIComponent(id)}/history?${params}`;
  return (await ask<{ graph_data?: readonly Graph[] }>(path, signal ? { signal } : {})).graph_data ?? [];
}
