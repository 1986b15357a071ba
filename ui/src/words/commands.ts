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

/** Records one decision of an agent, so that its episode can be replayed. */
export function decisionLines(): string {
  return `session.decision(
    {"left": 0.2, "right": 0.8},
    selected_action="right",
    q_values=[1.3, 2.1],
    episode=episode,
    step=step,
    extra={"reward": reward},
)`;
}

/** Appends points to a graph of a script's own. */
export function graphLines(): string {
  return `session.graph(
    "q",
    {"left": [1.3], "right": [2.1]},
    title="Q-values",
)`;
}
