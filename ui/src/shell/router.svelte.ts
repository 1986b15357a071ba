/** Addresses: a handful of pages, the browser's own history, below wherever the page is mounted. */

import { KINDS, type Kind } from "../words/recipes";

/** What of a session is looked at; each has an address below the session's. */
export const VIEWS = ["curves", "episodes", "graphs", "config"] as const;
export type View = (typeof VIEWS)[number];

export type Place =
  /** `add`: over it stands how a run is reported from what one trains with. */
  | { readonly page: "sessions"; readonly add?: Kind }
  /** `episode`: the one that is replayed. */
  | { readonly page: "session"; readonly id: string; readonly view: View; readonly episode: number | null }
  | { readonly page: "train" }
  | { readonly page: "models" }
  | { readonly page: "compare" }
  /** Sessions laid over one another; which, says the part behind the question mark. */
  | { readonly page: "beside" }
  | { readonly page: "model"; readonly id: string }
  | { readonly page: "access" }
  /** The page of a room's audience; without a code it asks for one. */
  | { readonly page: "join"; readonly code: string }
  | { readonly page: "overlay"; readonly code: string }
  | { readonly page: "nowhere"; readonly path: string };

const base = new URL(document.baseURI).pathname.replace(/[^/]*$/, "");

function read(): Place {
  const path = location.pathname;
  const inside = path.startsWith(base) ? path.slice(base.length) : path.slice(1);
  const parts = inside.split("/").filter(Boolean);
  if (parts.length === 0 || (parts.length === 1 && parts[0] === "sessions")) {
    return { page: "sessions" };
  }
  if (parts[0] === "add" && parts.length <= 2) {
    const add = KINDS.find((kind) => kind === (parts[1] ?? KINDS[0]));
    if (add !== undefined) return { page: "sessions", add };
  }
  if (parts.length === 1 && (parts[0] === "train" || parts[0] === "models")) {
    return { page: parts[0] };
  }
  if (parts.length === 1 && parts[0] === "compare") return { page: "beside" };
  if (parts.length === 2 && parts[0] === "settings" && parts[1] === "access") {
    return { page: "access" };
  }
  const [first = "", rest = ""] = parts;
  // Codes are letters and digits; whatever else is written between them does not matter.
  const code = rest.replace(/%20/g, "");
  if (first === "overlay" && parts.length === 2) return { page: "overlay", code };
  if ((first === "join" || first === "rooms") && parts.length <= 2) return { page: "join", code };
  if (parts.length === 2 && parts[0] === "models" && parts[1] === "compare") {
    return { page: "compare" };
  }
  if (parts.length === 2 && (parts[0] === "sessions" || parts[0] === "models")) {
    try {
      const id = decodeURIComponent(parts[1] ?? "");
      return parts[0] === "models" ? { page: "model", id } : { page: "session", id, view: "curves", episode: null };
    } catch {
      return { page: "nowhere", path };
    }
  }
  if (parts[0] === "sessions") return inSession(parts.slice(1)) ?? { page: "nowhere", path };
  return { page: "nowhere", path };
}

/** A view of a session, or one of its episodes. */
function inSession([told = "", name, number, ...more]: readonly string[]): Place | null {
  const view = VIEWS.find((one) => one === name);
  if (view === undefined || more.length > 0) return null;
  if (number !== undefined && !(view === "episodes" && /^\d{1,15}$/.test(number))) return null;
  try {
    const episode = number === undefined ? null : Number(number);
    return { page: "session", id: decodeURIComponent(told), view, episode };
  } catch {
    return null;
  }
}

/** The address of the sessions page. */
export const sessionsHref = base;

function laysOver(before: Place, now: Place): boolean {
  return before.page === "sessions" && now.page === "sessions" && now.add !== undefined;
}

class Router {
  place = $state.raw<Place>(read());
  /** What follows the question mark, with it; empty where nothing does. */
  search = $state(location.search);
  /** The sessions page as it was last looked at, filters and all. */
  listHref = $state(sessionsHref);
  /** What lies over the list was opened from it. */
  #over = false;

  constructor() {
    this.#take();
    // Pages fill themselves after they are shown; the browser would scroll before that.
    history.scrollRestoration = "manual";
    addEventListener("popstate", (event) => {
      this.#take();
      const state = event.state as { scroll?: number } | null;
      requestAnimationFrame(() => scrollTo(0, state?.scroll ?? 0));
    });
    // Links inside the page do not load it again; modified clicks keep their meaning.
    document.addEventListener("click", (event) => {
      if (event.defaultPrevented || event.button !== 0) return;
      if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
      const link = (event.target as Element).closest?.("a[href]");
      if (!(link instanceof HTMLAnchorElement) || link.target || link.dataset.outside !== undefined) {
        return;
      }
      if (link.origin !== location.origin || !link.pathname.startsWith(base)) return;
      event.preventDefault();
      this.go(link.href);
    });
  }

  go(href: string): void {
    if (href !== location.href) {
      history.replaceState({ scroll: scrollY }, "");
      history.pushState(null, "", href);
    }
    const before = this.place;
    this.#take();
    this.#over = laysOver(before, this.place);
    if (!this.#over) scrollTo(0, 0);
  }

  /** Leaves what lies over the list: a step back where it was opened from there. */
  uncover(): void {
    if (this.#over) history.back();
    else this.rename(sessionsHref + this.search);
    this.#over = false;
  }

  /** Changes what follows the question mark; `replace` leaves no step back to what was there. */
  ask(search: string, replace: boolean): void {
    if (search === location.search) return;
    if (!replace) history.replaceState({ scroll: scrollY }, "");
    history[replace ? "replaceState" : "pushState"](null, "", location.pathname + search);
    this.#take();
    if (!replace) scrollTo(0, 0);
  }

  /** Another address for what is shown already: no step back, no scrolling. */
  rename(href: string): void {
    history.replaceState(history.state, "", href);
    this.#take();
  }

  #take(): void {
    this.place = read();
    this.search = location.search;
    if (this.place.page === "sessions" && this.place.add === undefined) this.listHref = location.pathname + location.search;
  }
}

export const router = new Router();

/** The address of one session's page, or of a view of it. */
export function sessionHref(id: string, view: View = "curves"): string {
  return `${base}sessions/${encodeURIComponent(id)}${view === "curves" ? "" : `/${view}`}`;
}

/** The address of the replay of an episode. */
export function episodeHref(id: string, episode: number): string {
  return `${sessionHref(id, "episodes")}/${episode}`;
}

/** The address of how to report from what one trains with, over the list. */
export function addHref(kind: Kind = KINDS[0]): string {
  return kind === KINDS[0] ? `${base}add` : `${base}add/${kind}`;
}

/** The address of the page where trainings are started. */
export const trainHref = `${base}train`;

/** The address of the list of models. */
export const modelsHref = `${base}models`;

/** The address of one model's page. */
export function modelHref(id: string): string {
  return `${base}models/${encodeURIComponent(id)}`;
}

/** The address of the page that lays sessions over one another. */
export function besideHref(ids: readonly string[] = []): string {
  return `${base}compare${ids.length > 0 ? `?ids=${ids.map(encodeURIComponent).join(",")}` : ""}`;
}

/** The address of the page that sets models beside one another. */
export function compareHref(ids: readonly string[]): string {
  return `${base}models/compare?ids=${ids.map(encodeURIComponent).join(",")}`;
}

/** The address of users, keys and the audit log. */
export const accessHref = `${base}settings/access`;

/** The address of a room for its audience; without a code, where one is asked for. */
export function joinHref(code = ""): string {
  return `${base}join${code === "" ? "" : `/${encodeURIComponent(code)}`}`;
}

/** The address of a room's picture for a stream. */
export function overlayHref(code: string): string {
  return `${base}overlay/${encodeURIComponent(code)}`;
}
