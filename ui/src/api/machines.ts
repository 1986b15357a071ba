/** Who takes trainings: the server's own machine and those that `grandstand supervise` runs on. */

import { ask, post } from "./server";

export interface Machine {
  readonly name: string;
  /** What it has, for trainings that need it. */
  readonly labels: readonly string[];
  readonly capacity: number;
  readonly running: number;
  /** It takes no more. */
  readonly draining: boolean;
  /** Part of a server, not on its own. */
  readonly here: boolean;
  readonly living: boolean;
  readonly version: string;
  readonly last_seen_at: string;
}

export async function listMachines(): Promise<readonly Machine[]> {
  return (await ask<{ supervisors: readonly Machine[] }>("api/supervisors")).supervisors;
}

export function drainMachine(name: string, draining: boolean): Promise<Machine> {
  return post(`api/supervisors/${encodeURIComponent(name)}`, { draining }, "PATCH");
}
