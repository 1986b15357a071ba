/**
 * How to report from what one trains with already: the one home of these snippets.
 *
 * Each is whole: pasted as it stands, with this server's address in it, it makes a session. None
 * names an id, so that pasting it twice makes two. `tests/browser/test_add_run.py` runs them.
 */

export const KINDS = ["python", "sb3", "gymnasium", "tensorboard", "wandb", "curl", "javascript"] as const;
export type Kind = (typeof KINDS)[number];

export interface Recipe {
  readonly label: string;
  /** What is to be had first; null for nothing. */
  readonly install: string | null;
  /** Where the code goes: a file, a terminal. */
  readonly where: string;
  readonly code: string;
  /** One sentence on what arrives, or what to change. */
  readonly note: string;
}

/** What the snippets are filled in with. */
export interface Here {
  /** The server, without a slash at the end. */
  readonly url: string;
  /** It wants a token. */
  readonly token: boolean;
  /** A session to watch, where one is known. */
  readonly session: string | null;
}

const WATCHED = "SESSION_ID";

/** The line that hands a token to the SDK, `grandstand tail` and curl alike. */
export const TOKEN_LINE = "export GRANDSTAND_TOKEN=PASTE_YOUR_TOKEN";

/** One integration's snippet, filled in. */
export function recipe(kind: Kind, { url, token, session }: Here): Recipe {
  switch (kind) {
    case "python":
      return {
        label: "Python",
        install: "pip install grandstand",
        where: "my_run.py",
        note: "Any name is a curve, group/name a group. Stop appears on the session's page because the loop looks at should_stop.",
        code: `import random

import grandstand

with grandstand.open_session(
    algorithm="PPO", name="My run", total_episodes=200, url="${url}"
) as session:
    for episode in range(1, 201):
        reward = episode / 10 + random.gauss(0, 3)  # your training
        session.log({"current_reward": reward, "loss/policy": 1 / episode}, episode=episode)
        if session.should_stop():
            break`,
      };
    case "sb3":
      return {
        label: "Stable-Baselines3",
        install: "pip install 'grandstand[sb3]'",
        where: "my_ppo.py",
        note: "Every episode, the logger's scalars and the agent's decisions; pause and stop reach learn.",
        code: `from stable_baselines3 import PPO

from grandstand.callbacks.sb3 import GrandstandCallback

model = PPO("MlpPolicy", "CartPole-v1")
with GrandstandCallback(name="CartPole", url="${url}") as callback:
    model.learn(5_000, callback=callback)`,
      };
    case "gymnasium":
      return {
        label: "Gymnasium",
        install: "pip install grandstand gymnasium",
        where: "my_loop.py",
        note: "Returns, lengths and how episodes ended. GrandstandVectorWrapper does the same for many environments at once.",
        code: `import gymnasium as gym

import grandstand
from grandstand.callbacks.gymnasium import GrandstandWrapper

with grandstand.open_session(
    algorithm="random", name="CartPole by hand", url="${url}"
) as session:
    env = GrandstandWrapper(gym.make("CartPole-v1"), session)
    for episode in range(100):
        env.reset(seed=episode)
        over = False
        while not over and not env.should_stop():
            action = env.action_space.sample()  # your policy
            _, _, terminated, truncated, _ = env.step(action)
            over = terminated or truncated`,
      };
    case "tensorboard":
      return {
        label: "CleanRL, TensorBoard",
        install: "pip install grandstand",
        where: "beside your training, in the folder where it runs",
        note: "runs/ is where CleanRL and most scripts write; each run below it becomes a session, live, and the script stays as it is. --once imports old ones and ends.",
        code: `grandstand tail runs/ --server ${url}`,
      };
    case "wandb":
      return {
        label: "wandb",
        install: "pip install grandstand",
        where: "your script, one import changed",
        note: "log, config, summary and finish do what they did; url= stands in init, or once in GRANDSTAND_URL.",
        code: `from grandstand.compat import wandb  # was: import wandb

wandb.init(project="cartpole", config={"lr": 3e-4, "algorithm": "PPO"}, url="${url}")
for episode in range(1, 101):
    wandb.log({"episode": episode, "current_reward": episode / 10, "loss/policy": 1 / episode})
wandb.finish()`,
      };
    case "curl": {
      const auth = token ? `\n  -H "authorization: Bearer $GRANDSTAND_TOKEN" \\` : "";
      const post = (path: string, body: string): string =>
        `curl -fsS ${path} \\${auth}\n  -H 'content-type: application/json' \\\n  -d ${body}`;
      return {
        label: "curl",
        install: null,
        where: "a terminal",
        note: "Any language that speaks HTTP does the same: open, report as often as you like, finish.",
        code: `RUN=run-$(date +%s)
API=${url}/api/training/sessions
${post("$API", `"{\\"training_session_id\\": \\"$RUN\\", \\"algorithm\\": \\"PPO\\"}"`)}
${post("$API/$RUN/metrics", `'{"episode": 1, "current_reward": 12.5, "extra": {"loss/policy": 0.3}}'`)}
${post("$API/$RUN/finish", `'{"status": "completed"}'`)}`,
      };
    }
    case "javascript": {
      const query = `user_name=me${token ? "&token=PASTE_YOUR_TOKEN" : ""}`;
      return {
        label: "JavaScript",
        install: null,
        where: "watch.mjs, with node 22 or later; or in a page",
        note: "This one watches instead of reporting. A page of another origin has to be among the server's security.cors_origins.",
        code: `const ws = new WebSocket(
  "${url.replace(/^http/, "ws")}/ws/${encodeURIComponent(session ?? WATCHED)}?${query}",
);
ws.onmessage = (event) => {
  const { type, seq, data } = JSON.parse(event.data);
  console.log(type, seq, data);
};`,
      };
    }
  }
}
