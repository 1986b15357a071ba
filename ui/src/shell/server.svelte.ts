/** What the whole page knows of the server: reachable or not, and how its training part is doing. */

import { who } from "../access/who.svelte";
import { ApiError, serverHealth, serverStatus } from "../api/server";
import type { Setup } from "../api/types";
import type { Back, Link } from "../live";

const CALM_MS = 30_000;
const KEEN_MS = 3_000;

class ServerState {
  setup = $state.raw<Setup | null>(null);
  version = $state("");
  reachable = $state<boolean | null>(null);
  /** The live connection of the page in view, null where it has none. */
  link = $state.raw<Link | null>(null);
  /** How that connection came back, while that is news. */
  back = $state.raw<Back | null>(null);
  /** Now, in milliseconds, once a second: what ages are reckoned from. */
  now = $state(Date.now());
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    setInterval(() => (this.now = Date.now()), 1000);
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) void this.look();
    });
    void this.look();
  }

  /** Looks now, and again by itself. */
  async look(): Promise<void> {
    clearTimeout(this.#timer);
    try {
      // An audience may not know what else the server does.
      const said = await (who.guest ? serverHealth() : serverStatus());
      this.reachable = true;
      this.setup = said.setup ?? null;
      this.version = said.version ?? "";
    } catch (problem) {
      if (!(problem instanceof ApiError)) throw problem;
      this.reachable = problem.status !== 0;
    }
    const calm = this.reachable === true && (this.setup?.state ?? "ready") === "ready";
    this.#timer = setTimeout(() => void this.look(), calm ? CALM_MS : KEEN_MS);
  }

  /** Whether a training can be started here now. */
  get canTrain(): boolean {
    return (this.setup?.state ?? "ready") === "ready";
  }
}

export const server = new ServerState();

/** The name this watcher shows to others, made once per browser. */
export function watcherName(): string {
  const known = localStorage.getItem("grandstand.name");
  if (known) return known;
  const fresh = `Guest ${Math.floor(1000 + Math.random() * 9000)}`;
  localStorage.setItem("grandstand.name", fresh);
  return fresh;
}
