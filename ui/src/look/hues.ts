/** Token colours as a canvas needs them: resolved for the present theme. */

let probe: HTMLElement | null = null;
const cache = new Map<string, string>();
const listeners = new Set<() => void>();

function forget(): void {
  cache.clear();
  for (const tell of listeners) tell();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", forget);

/** The value of the token `--name` as an rgb() colour. */
export function token(name: string): string {
  const known = cache.get(name);
  if (known !== undefined) return known;
  if (probe === null) {
    probe = document.createElement("span");
    probe.hidden = true;
    document.body.append(probe);
  }
  probe.style.color = `var(--${name})`;
  const resolved = getComputedStyle(probe).color;
  cache.set(name, resolved);
  return resolved;
}

/** `colour` (rgb(r, g, b)) at an opacity of 0…1. */
export function faded(colour: string, opacity: number): string {
  const parts = colour.match(/[\d.]+/g);
  if (parts === null) return colour;
  return `rgba(${parts.slice(0, 3).join(", ")}, ${opacity})`;
}

/** Calls `tell` whenever the theme changes; returns how to stop that. */
export function onThemeChange(tell: () => void): () => void {
  listeners.add(tell);
  return () => listeners.delete(tell);
}

export type Theme = "auto" | "light" | "dark";

/** Wears a theme and remembers it in this browser. */
export function wear(theme: Theme): void {
  document.documentElement.style.colorScheme = theme === "auto" ? "light dark" : theme;
  localStorage.setItem("grandstand.theme", theme);
  forget();
}

/** The theme chosen in this browser. */
export function remembered(): Theme {
  const said = localStorage.getItem("grandstand.theme");
  return said === "light" || said === "dark" ? said : "auto";
}
