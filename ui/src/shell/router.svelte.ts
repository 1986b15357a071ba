/** Addresses: a handful of pages, the browser's own history, below wherever the page is mounted. */

export type Place =
  | { readonly page: "sessions" }
  | { readonly page: "session"; readonly id: string }
  | { readonly page: "nowhere"; readonly path: string };

const base = new URL(document.baseURI).pathname.replace(/[^/]*$/, "");

function read(): Place {
  const path = location.pathname;
  const inside = path.startsWith(base) ? path.slice(base.length) : path.slice(1);
  const parts = inside.split("/").filter(Boolean);
  if (parts.length === 0 || (parts.length === 1 && parts[0] === "sessions")) {
    return { page: "sessions" };
  }
  if (parts.length === 2 && parts[0] === "sessions") {
    try {
      return { page: "session", id: decodeURIComponent(parts[1] ?? "") };
    } catch {
      return { page: "nowhere", path };
    }
  }
  return { page: "nowhere", path };
}

class Router {
  place = $state.raw<Place>(read());

  constructor() {
    addEventListener("popstate", () => (this.place = read()));
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
    if (href !== location.href) history.pushState(null, "", href);
    this.place = read();
    scrollTo(0, 0);
  }
}

export const router = new Router();

/** The address of the sessions page. */
export const sessionsHref = base;

/** The address of one session's page. */
export function sessionHref(id: string): string {
  return `${base}sessions/${encodeURIComponent(id)}`;
}
