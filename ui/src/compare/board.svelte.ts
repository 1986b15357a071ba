/**
 * The sessions of a comparison with their curves, those still running asked again and again.
 *
 * They are asked over HTTP, not watched over sockets: a comparison has up to fifty, and a second's
 * delay is nothing to curves that lie beside one another. Only what has new records is asked for.
 */

import { ApiError, getSeries, getSession } from "../api/server";
import type { Axis, Session } from "../api/types";
import { columnsFrom, Lens, Series, type Drawable, type Drawn } from "../live";
import { groups } from "../session/grouping";
import { ended } from "../session/status";
import { MOST, type Across } from "./address";
import { together } from "./statistics";

const EVERY_MS = 1500;
const BUCKETS = 600;
/** Requests under way at once. */
const AT_ONCE = 4;
/** Between a metric and the sessions in a line's name; ids hold no spaces. */
const OF = " · ";

interface Curves {
  readonly series: Map<string, Series>;
  lastSeq: number;
  /** What was asked for, so that it is known whether it is still what is wanted. */
  asked: string;
}

/** A chart's line: one session, or several as one. */
export interface Runner {
  readonly key: string;
  readonly label: string;
  readonly ids: readonly string[];
  /** Whether it stands for all that are alike, even where that is one. */
  readonly pooled: boolean;
  /** Its place among all, which gives its hue. */
  readonly place: number;
}

/** How a line is drawn, and what stands for it beside its name. */
export interface Colour {
  /** 1…8. */
  readonly hue: number;
  readonly dash: boolean;
}

export class Board {
  sessions = $state.raw<ReadonlyMap<string, Session>>(new Map());
  /** Why a session is not here, by id. */
  missing = $state.raw<ReadonlyMap<string, string>>(new Map());
  /** Every metric that one of them has, the most telling first. */
  names = $state.raw<readonly string[]>([]);
  problem = $state.raw<ApiError | null>(null);
  /** Grows whenever curves changed. */
  version = $state(0);
  loaded = $state(false);

  #ids: readonly string[] = [];
  #metrics: readonly string[] = [];
  #across: Across = "episode";
  #range: readonly [number, number] | null = null;
  readonly #whole = new Map<string, Curves>();
  readonly #fine = new Map<string, Curves>();
  readonly #known = new Map<string, ReadonlySet<string>>();
  readonly #pooled = new Map<string, { version: number; drawn: Drawn }>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #turn = 0;
  #closed = false;

  /** What to show from now on. */
  use(
    ids: readonly string[],
    metrics: readonly string[],
    across: Across,
    range: readonly [number, number] | null,
  ): void {
    const same = (a: readonly unknown[], b: readonly unknown[]): boolean => JSON.stringify(a) === JSON.stringify(b);
    if (
      this.#turn > 0 && across === this.#across && same(ids, this.#ids) && same(metrics, this.#metrics) &&
      same(range ?? [], this.#range ?? [])
    ) return;
    if (across !== this.#across) {
      this.#whole.clear();
      this.#fine.clear();
      this.version += 1;
    }
    this.#ids = ids.slice(0, MOST);
    [this.#metrics, this.#across, this.#range] = [metrics, across, range];
    void this.#look();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  /** Asks anew for whatever is not as it should be, and again in a moment where something runs. */
  async #look(): Promise<void> {
    clearTimeout(this.#timer);
    this.#turn += 1;
    const mine = this.#turn;
    const waiting = [...this.#ids];
    const work = async (): Promise<void> => {
      for (let id = waiting.shift(); id !== undefined; id = waiting.shift()) {
        if (this.#closed || mine !== this.#turn) return;
        await this.#ask(id);
      }
    };
    try {
      await Promise.all(Array.from({ length: AT_ONCE }, work));
      this.problem = null;
    } catch (why) {
      if (!(why instanceof ApiError)) throw why;
      this.problem = why;
    }
    if (this.#closed || mine !== this.#turn) return;
    this.loaded = true;
    const runs = this.#ids.some((id) => {
      const session = this.sessions.get(id);
      return session !== undefined && !ended(session);
    });
    if (runs || this.problem !== null) {
      this.#timer = setTimeout(() => void (document.hidden ? this.#rest() : this.#look()), EVERY_MS);
    }
  }

  #rest(): void {
    document.addEventListener("visibilitychange", () => void this.#look(), { once: true });
  }

  async #ask(id: string): Promise<void> {
    let session = this.sessions.get(id);
    if (session === undefined || !ended(session)) {
      try {
        session = await getSession(id);
      } catch (why) {
        if (!(why instanceof ApiError) || (why.status !== 404 && why.status !== 401 && why.status !== 403)) throw why;
        this.missing = new Map(this.missing).set(id, why.message);
        return;
      }
      this.sessions = new Map(this.sessions).set(id, session);
    }
    if (this.#metrics.length === 0 && this.#known.has(id)) return;
    await this.#curves(session, this.#whole, null);
    if (this.#range !== null) await this.#curves(session, this.#fine, this.#range);
  }

  async #curves(
    session: Session,
    into: Map<string, Curves>,
    range: readonly [number, number] | null,
  ): Promise<void> {
    const id = session.session_id;
    const known = this.#known.get(id);
    const metrics = this.#metrics.filter((name) => known === undefined || known.has(name));
    const asked = JSON.stringify([metrics, this.#across, range]);
    const have = into.get(id);
    if (have?.asked === asked && have.lastSeq >= session.last_seq) return;
    const across = this.#across;
    const x: Axis = across === "seconds" ? "time" : across;
    const began = Date.parse(session.start_time ?? session.created_at ?? "") / 1000 || 0;
    const shift = across === "seconds" ? began : 0;
    const answer = await getSeries(id, {
      // No metrics at all: it then tells which there are, with as little as can be.
      ...(metrics.length > 0 ? { metrics } : { metrics: ["average_reward"] }),
      x,
      from: range === null ? null : range[0] + shift,
      to: range === null ? null : range[1] + shift,
      maxPoints: BUCKETS,
    });
    // Meanwhile something else may be wanted, and be there already.
    const still = JSON.stringify([this.#metrics.filter((name) => known === undefined || known.has(name)), this.#across, into === this.#fine ? this.#range : null]);
    if (still !== asked || this.#closed) return;
    const series = new Map<string, Series>();
    for (const [name, wire] of Object.entries(answer.series)) {
      const columns = columnsFrom(wire);
      if (shift !== 0) for (let i = 0; i < columns.x.length; i += 1) columns.x[i] = (columns.x[i] ?? NaN) - shift;
      const one = new Series();
      one.replace(columns, answer.last_seq);
      series.set(name, one);
    }
    into.set(id, { series, lastSeq: answer.last_seq, asked });
    this.#known.set(id, new Set(answer.metrics));
    this.#name();
    this.version += 1;
  }

  /** Metrics by how many sessions have them, then in the order of a session's page. */
  #name(): void {
    const counts = new Map<string, number>();
    for (const id of this.#ids) {
      for (const name of this.#known.get(id) ?? []) counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    const order = groups([...counts.keys()]).flatMap((group) => group.lines.map((line) => line.name));
    const place = (name: string): number => {
      const at = order.indexOf(name);
      return at < 0 ? order.length : at;
    };
    const sorted = [...counts].sort(([a, n], [b, m]) => m - n || place(a) - place(b)).map(([name]) => name);
    if (sorted.join("\n") !== this.names.join("\n")) this.names = sorted;
  }

  /** How many of the sessions have a metric. */
  count(name: string): number {
    return this.#ids.filter((id) => this.#known.get(id)?.has(name)).length;
  }

  /** Whether a session has a metric, as far as is known. */
  has(id: string, metric: string): boolean {
    return this.#whole.get(id)?.series.has(metric) ?? false;
  }

  /** A runner's name; of several sessions with how many of them have the metric. */
  labelOf(runner: Runner, metric: string): string {
    if (!runner.pooled) return runner.label;
    const n = runner.ids.filter((id) => this.has(id, metric)).length;
    return `${runner.label} (n\u00a0=\u00a0${n})`;
  }

  /** One session's curve. */
  curve(id: string, metric: string): Drawn {
    return this.#lens(id).get(metric).drawn();
  }

  /** Its newest value, NaN where there is none. */
  last(id: string, metric: string): number {
    return this.#lens(id).get(metric).lastValue;
  }

  /** The name under which a chart finds a runner's curve of a metric. */
  static line(runner: Runner, metric: string): string {
    return metric + OF + runner.ids.join(" ");
  }

  /** All curves, by `Board.line`. */
  readonly drawable: Drawable = {
    get: (name: string) => {
      const cut = name.lastIndexOf(OF);
      const metric = name.slice(0, cut);
      const ids = name.slice(cut + OF.length).split(" ");
      const [only = ""] = ids;
      if (ids.length === 1) return this.#lens(only).get(metric);
      const drawn = (): Drawn => this.#pool(name, metric, ids);
      return {
        drawn,
        get lastValue() {
          return drawn().mean.at(-1) ?? NaN;
        },
      };
    },
  };

  #pool(name: string, metric: string, ids: readonly string[]): Drawn {
    const known = this.#pooled.get(name);
    if (known?.version === this.version) return known.drawn;
    const drawn = together(ids.map((id) => this.curve(id, metric)));
    this.#pooled.set(name, { version: this.version, drawn });
    return drawn;
  }

  #lens(id: string): Drawable {
    const of = (curves: Curves | undefined): Drawable => ({
      get: (name) => curves?.series.get(name) ?? EMPTY,
    });
    const whole = of(this.#whole.get(id));
    const fine = this.#fine.get(id);
    if (this.#range === null || fine === undefined) return whole;
    const there = JSON.parse(fine.asked) as [unknown, Across, readonly [number, number]];
    if (there[1] !== this.#across) return whole;
    return new Lens(whole, of(fine), there[2][0], there[2][1]);
  }
}

const EMPTY = new Series();
