/** How the curves of a session are looked at: in the address, so that a link shows the same. */

import type { Axis } from "../api/types";
import { router } from "../shell/router.svelte";
import type { Range } from "./curves";

const SMOOTHING = "grandstand.smoothing";
const PINS = "grandstand.pins";
const USUAL_SMOOTHING = 0.6;
/** After the last change; hands change a range many times a second. */
const WRITE_AFTER_MS = 300;
const MOST_PINS = 12;

/** A number of the address; null for what is none. */
function number(text: string | null): number | null {
  const value = text === null || text.trim() === "" ? NaN : Number(text);
  return Number.isFinite(value) ? value : null;
}

function rememberedPins(): string[] {
  try {
    const told: unknown = JSON.parse(localStorage.getItem(PINS) ?? "[]");
    return Array.isArray(told) ? told.filter((id) => typeof id === "string") : [];
  } catch (problem) {
    if (!(problem instanceof SyntaxError)) throw problem;
    return []; // written by somebody else; the next pin replaces it
  }
}

export class View {
  smoothing = $state(USUAL_SMOOTHING);
  log = $state(false);
  /** Whether flags tell of checkpoints and the like. */
  events = $state(true);
  /** Ids of the cards that stand first, in this order. */
  pins = $state.raw<readonly string[]>([]);
  /** As the address had it when the page was opened. */
  readonly axis: Axis;
  /** The stretch of the address, until it is looked at: its end is null where it goes on with the
   * newest point. Whoever comes back from another view finds what they left. */
  from: number | null;
  to: number | null;
  /** How wide a stretch was that follows the newest point. */
  last: number | null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    const asked = new URLSearchParams(location.search);
    const axis = asked.get("x");
    this.axis = axis === "step" || axis === "time" ? axis : "episode";
    this.events = asked.get("events") !== "off";
    this.log = asked.get("scale") === "log";
    const smoothing = number(asked.get("smoothing")) ?? number(localStorage.getItem(SMOOTHING));
    this.smoothing = Math.min(0.98, Math.max(0, smoothing ?? USUAL_SMOOTHING));
    this.pins = (asked.has("pin") ? asked.getAll("pin") : rememberedPins()).slice(0, MOST_PINS);
    this.from = number(asked.get("from"));
    this.to = number(asked.get("to"));
    this.last = number(asked.get("last"));
  }

  /** Puts a card first, or back to its place; remembered in this browser. */
  pin(id: string): void {
    const without = this.pins.filter((one) => one !== id);
    this.pins = without.length < this.pins.length ? without : [...this.pins, id].slice(-MOST_PINS);
    localStorage.setItem(PINS, JSON.stringify(this.pins));
  }

  /** Says in the address, soon, what is looked at; what is usual is left out of it. */
  tell(axis: Axis, range: Range | null): void {
    this.from = this.to = this.last = null;
    const asked = new URLSearchParams(location.search);
    const set = (name: string, value: string | null): void => {
      if (value === null) asked.delete(name);
      else asked.set(name, value);
    };
    set("x", axis === "episode" ? null : axis);
    set("scale", this.log ? "log" : null);
    set("events", this.events ? null : "off");
    set("smoothing", this.smoothing === USUAL_SMOOTHING ? null : String(this.smoothing));
    const fixed = range !== null && !range.live;
    set("from", fixed ? String(range.from) : null);
    set("to", fixed ? String(range.to) : null);
    set("last", range?.live ? Number((range.to - range.from).toPrecision(9)).toString() : null);
    asked.delete("pin");
    for (const id of this.pins) asked.append("pin", id);
    localStorage.setItem(SMOOTHING, String(this.smoothing));
    clearTimeout(this.#timer);
    const here = location.pathname;
    this.#timer = setTimeout(() => {
      const search = asked.size > 0 ? `?${asked}` : "";
      if (location.pathname === here && search !== location.search) router.rename(here + search + location.hash);
    }, WRITE_AFTER_MS);
  }

  close(): void {
    clearTimeout(this.#timer);
  }
}
