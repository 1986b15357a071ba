/** Everything one session page knows, kept current by the socket and redrawn once a frame. */

import { credentials } from "../api/credentials";
import {
  ApiError,
  getDecisions,
  getEvents,
  getSession,
  listScenarios,
  order,
  socketAddress,
} from "../api/server";
import type { Axis, Decision, Metrics, Scenario, Session, Verb } from "../api/types";
import {
  forgetFrame,
  LiveSocket,
  onNextFrame,
  SeriesSet,
  type Back,
  type Drawable,
  type Envelope,
  type Link,
} from "../live";
import { Curves, type Range } from "./curves";
import { flagFrom, type Flag } from "./flags";
import { eventFrom, type Happening } from "./happenings";
import { View } from "./view.svelte";
import { Media } from "./media.svelte";

const KEEP_DECISIONS = 500;
const KEEP_HAPPENINGS = 200;
const KEEP_FLAGS = 1000;
/** How many records back the page looks for decisions and for events when it opens. */
export const DECISION_SPAN = 2000;
const EVENT_SPAN = 100_000;
const ASK_AGAIN_MS = 10_000;
/** What streams in is shown at once after a pause, and this often while it goes on: figures that
 * change faster cannot be read, and the frames between belong to hands. */
const SHOW_EVERY_MS = 100;
/** How long the page says that it has caught up. */
const SAY_BACK_MS = 5_000;
/** Codes after which the session is not there any more. */
const GONE = new Set([4404, 4410]);

/** Whether a decision is of a whole episode played to be looked at, and not of the training. */
function shown(decision: Readonly<Record<string, unknown>> | Decision): boolean {
  return (decision.extra as Decision["extra"])?.played !== undefined;
}

export class SessionFeed {
  readonly id: string;
  session = $state.raw<Session | null>(null);
  latest = $state.raw<Metrics | null>(null);
  link = $state.raw<Link>({ kind: "connecting" });
  /** How the connection came back, while that is news. */
  back = $state.raw<Back | null>(null);
  problem = $state.raw<ApiError | null>(null);
  curvesProblem = $state.raw<ApiError | null>(null);
  scenario = $state.raw<Scenario | null>(null);
  names = $state.raw<readonly string[]>([]);
  /** The whole run, always current. */
  overview = $state.raw<SeriesSet>(new SeriesSet());
  /** What the charts draw: the whole run, or the stretch looked at. */
  shown = $state.raw<Drawable>(new SeriesSet());
  loaded = $state(false);
  axis = $state<Axis>("episode");
  range = $state.raw<Range | null>(null);
  /** A finer picture of the range is on its way. */
  refining = $state(false);
  /** Points behind each one drawn; 1 where every point is shown. */
  grain = $state(1);
  /** Grows by one whenever the curves changed, at most once a frame. */
  version = $state(0);
  decisions = $state.raw<readonly Decision[]>([]);
  happenings = $state.raw<readonly Happening[]>([]);
  /** What of it is marked on the charts. */
  flags = $state.raw<readonly Flag[]>([]);
  marked = $state<number | null>(null);
  /** Grows whenever a graph was told of. */
  graphs = $state(0);
  /** Names of those who watch, as far as they have one; null before anybody came or went. */
  spectators = $state.raw<readonly string[] | null>(null);
  watching = $state<number | null>(null);
  /** When this page last heard something from the training, in milliseconds of Date.now(). */
  heardAt = $state(0);
  /** The verb just ordered and not yet answered. */
  asking = $state<Verb | null>(null);

  readonly curves: Curves;
  readonly media: Media;
  readonly view = new View();
  #socket: LiveSocket | null = null;
  #nextLatest: Metrics | null = null;
  #nextDecisions: Decision[] = [];
  #nextHappenings: Happening[] = [];
  #nextGraphs = 0;
  #askTimer: ReturnType<typeof setTimeout> | undefined;
  #everyTimer: ReturnType<typeof setInterval> | undefined;
  #backTimer: ReturnType<typeof setTimeout> | undefined;
  #onFrame: ((message: ArrayBuffer) => void) | null = null;
  #shownAt = -Infinity;
  #showTimer: ReturnType<typeof setTimeout> | undefined;
  #heard = 0;
  #closed = false;
  readonly #forgetToken: () => void;
  readonly #draw = (): void => this.#take();

  constructor(id: string, userName: string) {
    this.id = id;
    this.media = new Media(id);
    this.curves = new Curves(id, (problem) => {
      this.curvesProblem = problem?.status === 0 && this.curves.loaded ? null : problem;
      onNextFrame(this.#draw);
    });
    this.curves.axis = this.view.axis;
    this.#forgetToken = credentials.onChange(() => this.#socket?.authorize());
    void this.#start(userName);
  }

  async #start(userName: string): Promise<void> {
    // Both at once: most addresses are of sessions that are there.
    const drawn = this.curves.load();
    await this.refresh();
    if (this.#closed) return;
    const session = this.session;
    if (session === null) {
      // Not there (yet) or not reachable: look again; a missing session may be created any moment.
      this.#askTimer = setTimeout(() => void this.#start(userName), 3000);
      return;
    }
    this.heardAt = Date.parse(session.last_seen_at ?? session.end_time ?? "") || Date.now();
    this.#socket = new LiveSocket({
      url: socketAddress(this.id),
      userName,
      token: () => credentials.forSession(this.id),
      onMessage: (message) => this.#receive(message),
      onLink: (link) => {
        this.link = link;
        if (link.kind === "refused") this.#refused(link.code);
      },
      onBack: (back) => this.#cameBack(back),
      onBinary: (data) => this.#onFrame?.(data),
    });
    this.#everyTimer = setInterval(() => void this.refresh(), ASK_AGAIN_MS);
    // The store has enough to do with the curves, and they are what one came for.
    await drawn;
    void this.#past(session);
  }

  #refused(code: number): void {
    const token = credentials.forSession(this.id);
    // Where another token is held after this, the socket hears of it by itself.
    if (code === 4401) void credentials.keeper?.refused(token, "token_expired");
    else if (code === 4410 && credentials.hosts.some((one) => one.token === token)) {
      credentials.forget(token ?? ""); // the room is closed, its session is open to all again
    } else if (GONE.has(code)) clearInterval(this.#everyTimer);
  }

  /** What happened before this page was opened. */
  async #past(session: Session): Promise<void> {
    try {
      const read = await getDecisions(this.id, session.last_seq, DECISION_SPAN);
      const decisions = read.filter((one) => !shown(one));
      const through = decisions.at(-1)?.seq ?? -1;
      const heard = this.decisions.filter((one) => (one.seq ?? 0) > through);
      this.decisions = [...decisions, ...heard].slice(-KEEP_DECISIONS);
      const events = await getEvents(this.id, session.last_seq, EVENT_SPAN);
      const here = new Set(this.happenings.map((h) => h.key));
      const told = events.map(
        ({ seq, timestamp, ...data }): Envelope => ({ type: "training_status", session_id: this.id, seq, timestamp, data }),
      );
      this.#flag(told.map((message) => flagFrom(message, null)));
      const before = told
        .map(eventFrom)
        .filter((h) => h !== null && !here.has(h.key)) as Happening[];
      this.happenings = [...this.happenings, ...before]
        .sort((a, b) => Date.parse(b.at) - Date.parse(a.at))
        .slice(0, KEEP_HAPPENINGS);
      await this.media.load(session.last_seq);
      if (session.config?.scenario) {
        // As it was when the training began, whatever has become of it since.
        this.scenario = session.config.scenario;
      } else if (session.scenario_name !== null && credentials.seat === null) {
        const all = await listScenarios();
        this.scenario = all.find((s) => s.name === session.scenario_name) ?? null;
      }
    } catch (problem) {
      // The page lives without; anything but a refusal is our own mistake and must be seen.
      if (!(problem instanceof ApiError)) throw problem;
    }
  }

  /** Asks for the session's own words: status, verbs, progress. */
  async refresh(): Promise<void> {
    try {
      this.session = await getSession(this.id);
      this.latest ??= this.session.latest;
      this.problem = null;
    } catch (problem) {
      if (!(problem instanceof ApiError)) throw problem;
      // A server that is away for a moment is said quietly, by the state of the live connection.
      if (problem.status !== 0 || this.session === null) this.problem = problem;
    }
  }

  #refreshSoon(): void {
    clearTimeout(this.#askTimer);
    this.#askTimer = setTimeout(() => void this.refresh(), 250);
  }

  #receive(message: Envelope): void {
    const data = message.data;
    switch (message.type) {
      case "connection_status":
        if (data.event === "snapshot") this.#snapshot(data);
        return;
      case "training_metrics":
        this.#heard = Date.now();
        this.#nextLatest = data;
        if (message.seq !== null) {
          this.curves.append(message.seq, { timestamp: message.timestamp, ...data });
        }
        break;
      case "bot_decision":
        this.#heard = Date.now();
        if (shown(data)) break;
        this.#nextDecisions.push({ ...data, seq: message.seq } as Decision);
        break;
      case "graph_update":
        this.#heard = Date.now();
        this.#nextGraphs += 1;
        break;
      case "training_status": {
        if (message.seq !== null && this.media.take(message.seq, message.timestamp, data)) {
          this.#heard = Date.now();
          break;
        }
        const happening = eventFrom(message);
        if (happening !== null) this.#nextHappenings.push(happening);
        this.#flag([flagFrom(message, this.#nextLatest ?? this.latest)]);
        if (data.event !== "presence") this.#refreshSoon();
        else this.#present(data);
        break;
      }
    }
    const wait = this.#shownAt + SHOW_EVERY_MS - performance.now();
    if (wait <= 0) onNextFrame(this.#draw);
    else this.#showTimer ??= setTimeout(() => onNextFrame(this.#draw), wait);
  }

  #flag(flags: readonly (Flag | null)[]): void {
    const here = new Set(this.flags.map((flag) => flag.key));
    const fresh = flags.filter((flag) => flag !== null && !here.has(flag.key)) as Flag[];
    if (fresh.length > 0) this.flags = [...this.flags, ...fresh].slice(-KEEP_FLAGS);
  }

  #present(data: Readonly<Record<string, unknown>>): void {
    if (Array.isArray(data.spectators)) this.spectators = data.spectators.filter((n) => typeof n === "string");
    if (typeof data.spectator_count === "number") this.watching = data.spectator_count;
  }

  #snapshot(data: Readonly<Record<string, unknown>>): void {
    if (typeof data.session === "object" && data.session !== null) {
      this.session = { ...this.session, ...(data.session as Session) };
    }
    if (typeof data.latest === "object" && data.latest !== null) {
      this.latest = data.latest as Metrics;
    }
    if (this.#onFrame !== null) this.#askForFrames();
    if (typeof data.last_seq === "number") this.curves.tell(data.last_seq);
    // It may have been the server that was away when the page was opened.
    if (!this.curves.loaded && this.curvesProblem !== null) void this.curves.load();
  }

  #cameBack(back: Back): void {
    if (back.whole) {
      // Live messages may have been thinned out; the store closes what they left exactly.
      this.curves.repairSoon();
    } else {
      void this.curves.load();
      if (this.session !== null) void this.#past(this.session);
    }
    this.#refreshSoon();
    if (back.whole && back.messages === 0) return;
    this.back = back;
    clearTimeout(this.#backTimer);
    this.#backTimer = setTimeout(() => (this.back = null), SAY_BACK_MS);
  }

  #take(): void {
    this.#shownAt = performance.now();
    clearTimeout(this.#showTimer);
    this.#showTimer = undefined;
    if (this.#nextLatest !== null) {
      const before = this.latest;
      const now = this.#nextLatest;
      // A record may hold only what changed; what it leaves out is still the newest known.
      this.latest = {
        ...before,
        ...now,
        extra: { ...(before?.extra as object), ...(now.extra as object) },
      };
      this.#nextLatest = null;
    }
    if (this.#nextDecisions.length > 0) {
      this.decisions = [...this.decisions, ...this.#nextDecisions.splice(0)].slice(-KEEP_DECISIONS);
    }
    if (this.#nextHappenings.length > 0) {
      const fresh = this.#nextHappenings.splice(0).reverse();
      this.happenings = [...fresh, ...this.happenings].slice(0, KEEP_HAPPENINGS);
    }
    if (this.#nextGraphs > this.graphs) this.graphs = this.#nextGraphs;
    if (this.#heard > this.heardAt) this.heardAt = this.#heard;
    this.loaded = this.curves.loaded;
    this.axis = this.curves.axis;
    this.range = this.curves.range;
    this.marked = this.curves.marked;
    this.overview = this.curves.overview;
    this.shown = this.curves.shown;
    this.refining = this.curves.refining;
    this.grain = this.curves.grain;
    if (this.names.length !== this.curves.names.length) this.names = this.curves.names;
    this.version += 1;
  }

  /** Has frames of the agent at play given to `take`, as they come; null: no more of them. */
  frames(take: ((message: ArrayBuffer) => void) | null): void {
    this.#onFrame = take;
    this.#askForFrames();
  }

  #askForFrames(): void {
    const type = this.#onFrame === null ? "unsubscribe" : "subscribe";
    this.#socket?.send({ type, message_types: ["frame"] });
  }

  /** Orders pause, resume, stop or a checkpoint. */
  async order(verb: Verb): Promise<void> {
    this.asking = verb;
    try {
      const answer = await order(this.id, verb);
      if (this.session !== null) this.session = { ...this.session, ...answer } as Session;
      this.problem = null;
    } catch (problem) {
      if (!(problem instanceof ApiError)) throw problem;
      this.problem = problem;
    } finally {
      this.asking = null;
    }
    this.#refreshSoon();
  }

  /** Leaves: closes the socket and forgets what is under way. */
  close(): void {
    this.#closed = true;
    this.#forgetToken();
    clearTimeout(this.#askTimer);
    clearInterval(this.#everyTimer);
    clearTimeout(this.#backTimer);
    clearTimeout(this.#showTimer);
    forgetFrame(this.#draw);
    this.#socket?.close();
    this.curves.close();
    this.view.close();
    this.media.close();
  }
}
