/** Addresses: a handful of pages, the browser's own history, below wherever the page is mounted. */

export type Place =
  | { readonly page: "sessions" }
  | { readonly page: "session"; readonly id: string }
  | { readonly page: "train" }
  | { readonly page: "models" }
  | { readonly page: "compare" }
  | { readonly page: "model"; readonly id: string }
  | { readonly page: "nowhere"; readonly path: string };

const base = new URL(document.baseURI).pathname.replace(/[^/]*$/, "");

function read(): Place {
  const path = location.pathname;
  const inside = path.startsWith(base) ? path.slice(base.length) : path.slice(1);
  const parts = inside.split("/").filter(Boolean);
  if (parts.length === 0 || (parts.length === 1 && parts[0] === "sessions")) {
    return { page: "sessions" };
  }
  if (parts.length === 1 && (parts[0] === "train" || parts[0] === "models")) {
    return { page: parts[0] };
  }
  if (parts.length === 2 && parts[0] === "models" && parts[1] === "compare") {
    return { page: "compare" };
  }
  if (parts.length === 2 && (parts[0] === "sessions" || parts[0] === "models")) {
    try {
      const id = decodeURIComponent(parts[1] ?? "");
      return { page: parts[0] === "models" ? "model" : "session", id };
    } catch {
      return { page: "nowhere", path };
    }
  }
  return { page: "nowhere", path };
}

/** The address of the sessions page. */
export const sessionsHref = base;

class Router {
  place = $state.raw<Place>(read());
  /** What follows the question mark, with it; empty where nothing does. */
  search = $state(location.search);
  /** The sessions page as it was last looked at, filters and all. */
  listHref = $state(sessionsHref);

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
    this.#take();
    scrollTo(0, 0);
  }

  /** Changes what follows the question mark; `replace` leaves no step back to what was there. */
  ask(search: string, replace: boolean): void {
    if (search === location.search) return;
    if (!replace) history.replaceState({ scroll: scrollY }, "");
    history[replace ? "replaceState" : "pushState"](null, "", location.pathname + search);
    this.#take();
    scrollTo(0, 0);
  }

  #take(): void {
    this.place = read();
    this.search = location.search;
    if (this.place.page === "sessions") this.listHref = location.pathname + location.search;
  }
}

export const router = new Router();

/** The address of one session's page. */
export function sessionHref(id: string): string {
  return `${base}sessions/${encodeURIComponent(id)}`;
}

/** The address of the page where trainings are started. */
export const trainHref = `${base}train`;

/** The address of the list of models. */
export const modelsHref = `${base}models`;

/** The address of one model's page. */
export function modelHref(id: string): string {
  return `${base}models/${encodeURIComponent(id)}`;
}

/** The address of the page that sets models beside one another. */
export function compareHref(ids: readonly string[]): string {
  return `${base}models/compare?ids=${ids.map(encodeURIComponent).join(",")}`;
}
