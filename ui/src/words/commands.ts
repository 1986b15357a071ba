/** Commands a person can copy: the same things this page does, from a terminal or a script. */

import { who } from "../access/who.svelte";
import { address } from "../api/server";

/** This server's address as scripts are told it: no slash at the end. */
export function serverUrl(): string {
  return address("").replace(/\/$/, "");
}

/** What a loop asks in every episode, to have Pause and Stop on its page. */
export const LISTENING = `if not session.wait_if_paused():
    break`;

/** Reports one episode to a session. */
export function metricCommand(id: string): string {
  const path = `api/training/sessions/${encodeURIComponent(id)}/metrics`;
  const body = JSON.stringify({ episode: 1, current_reward: 12.5 });
  const token = who.auth?.enabled ? "  -H \"authorization: Bearer $GRANDSTAND_TOKEN\" \\\n" : "";
  return `curl -X POST ${address(path)} \\
${token}  -H 'content-type: application/json' \\
  -d '${body}'`;
}
