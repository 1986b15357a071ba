/** Commands a person can copy: the same things this page does, from a terminal or a script. */

import { address } from "../api/server";

function post(path: string, body: Readonly<Record<string, unknown>>): string {
  return `curl -X POST ${address(path)} \\
  -H 'content-type: application/json' \\
  -d '${JSON.stringify(body)}'`;
}

/** Starts a training of a scenario. */
export function startCommand(scenario: string): string {
  return post("api/training/start", { scenario_name: scenario });
}

/** Opens a session for a loop of one's own. */
export function createCommand(id: string): string {
  return post("api/training/sessions", { training_session_id: id, algorithm: "DQN" });
}

/** Reports one episode to a session. */
export function metricCommand(id: string): string {
  return post(`api/training/sessions/${encodeURIComponent(id)}/metrics`, {
    episode: 1,
    current_reward: 12.5,
  });
}

/** The same from Python. */
export function pythonLoop(id: string): string {
  return `import grandstand

session = grandstand.open_session(
    "${id}",
    algorithm="DQN",
    total_episodes=1000,
    url="${address("").replace(/\/$/, "")}",
)
for episode in range(1, 1001):
    session.log({
        "episode": episode,
        "current_reward": play(),
    })
session.finish()`;
}
