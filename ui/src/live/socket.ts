/**
 * A live connection to one session that survives networks.
 *
 * It connects to `ws(s)://…/ws/{session}?user_name=`, remembers the highest `seq` it has handed
 * out, and comes back with `?since=` so that nothing is missed and nothing comes twice. What the
 * server says on closing decides whether it comes back at all.
 */

export interface Envelope {
  readonly type: string;
  readonly session_id: string;
  /** The session's counter; null for messages about the connection itself. */
  readonly seq: number | null;
  readonly timestamp: string;
  readonly data: Record<string, unknown>;
}

export type Link =
  | { readonly kind: "connecting" }
  /** `behind`: messages that were missed and are on their way. */
  | { readonly kind: "live"; readonly latencyMs: number | null; readonly behind: number }
  /** Away for now; tries again by itself at `retryAt` (milliseconds of Date.now()). */
  | {
      readonly kind: "away";
      readonly attempt: number;
      readonly retryAt: number;
      readonly why: string;
    }
  /** The server said not to come back. */
  | { readonly kind: "refused"; readonly code: number; readonly reason: string }
  | { readonly kind: "closed" };

/** How a connection came back. */
export interface Back {
  /** Nothing is missing: everything was handed out, in order and once. */
  readonly whole: boolean;
  /** How many messages were missed meanwhile. */
  readonly messages: number;
}

export interface LiveSocketOptions {
  /** Address without a query, as `wss://example.org/ws/my_run`. */
  readonly url: string;
  readonly userName: string;
  readonly onMessage: (message: Envelope) => void;
  readonly onLink: (link: Link) => void;
  /** Takes binary messages: frames of the agent at play, where they were subscribed to. */
  readonly onBinary?: (data: ArrayBuffer) => void;
  /** Told once after every return, when what was missed is here or is known to be lost. */
  readonly onBack?: (back: Back) => void;
  /** Start after this sequence number instead of with a snapshot only. */
  readonly since?: number;
  /** The token to come with, asked for at every coming; null where none is needed. */
  readonly token?: () => string | null;
  /** For tests: how sockets are made. */
  readonly makeSocket?: (url: string, protocols: string[]) => WebSocket;
}

/** Close codes after which coming back would only be refused again. */
const FINAL_CODES = new Set([1002, 1003, 1007, 4400, 4401, 4403, 4404, 4409, 4410]);
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
/** A connection that lasts so long was a good one; the waits begin anew after it. */
const LASTING_MS = 5_000;
const PING_EVERY_MS = 10_000;
const SILENCE_MS = 25_000;

const WHY: Readonly<Record<number, string>> = {
  1012: "the server is restarting",
  4429: "too many watchers just now",
  4508: "this connection was too slow",
};

/**
 * How long to wait before attempt `attempt` (1, 2, …), in milliseconds: doubling, bounded, and
 * spread by `random` (0…1) so that a thousand watchers do not return in the same instant.
 */
export function waitBefore(attempt: number, random: number): number {
  const whole = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (attempt - 1));
  return whole / 2 + (whole / 2) * random;
}

/** Whether a socket closed with `code` should come back. */
export function comesBack(code: number): boolean {
  return !FINAL_CODES.has(code);
}

export class LiveSocket {
  readonly #options: LiveSocketOptions;
  #socket: WebSocket | null = null;
  #since: number | null;
  #attempt = 0;
  #link: Link = { kind: "connecting" };
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #pingTimer: ReturnType<typeof setInterval> | undefined;
  #heardAt = 0;
  #liveAt = 0;
  /** The server asked not to come before; in milliseconds of Date.now(). */
  #notBefore = 0;
  #behind = 0;
  #target: number | null = null;
  #pingSentAt = 0;
  #pingId = 0;
  /** The token that this connection has come with. */
  #shown: string | null = null;
  /** The token that the connection was opened with. */
  #opened: string | null = null;
  /** The network is back, or somebody looks again: no reason to wait any longer. */
  readonly #hurry = (): void => {
    const hidden = globalThis.document?.hidden ?? false;
    if (this.#link.kind === "away" && !hidden && Date.now() >= this.#notBefore) this.#open();
  };

  constructor(options: LiveSocketOptions) {
    this.#options = options;
    this.#since = options.since ?? null;
    globalThis.addEventListener?.("online", this.#hurry);
    globalThis.document?.addEventListener("visibilitychange", this.#hurry);
    this.#open();
  }

  /** The highest sequence number handed out so far, null before the first. */
  get since(): number | null {
    return this.#since;
  }

  /** Sends one client message (`subscribe`, `set_rate`, …); false while there is no connection. */
  send(message: Readonly<Record<string, unknown>>): boolean {
    if (this.#socket?.readyState !== 1) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  /**
   * Shows the token as it is now: goes on with it, or comes again where the one before was refused.
   * A token that the connection has come with already is not shown again.
   */
  authorize(): void {
    const token = this.#options.token?.() ?? null;
    if (token === this.#shown) return;
    if (this.#link.kind === "refused") {
      const { code } = this.#link;
      if (code === 4401 || code === 4403 || code === 4410) this.#open();
    } else if (token !== null && this.send({ type: "authorize", token })) this.#shown = token;
  }

  /** Leaves for good. */
  close(): void {
    globalThis.removeEventListener?.("online", this.#hurry);
    globalThis.document?.removeEventListener("visibilitychange", this.#hurry);
    clearTimeout(this.#retryTimer);
    this.#drop();
    this.#say({ kind: "closed" });
  }

  #open(): void {
    clearTimeout(this.#retryTimer);
    this.#drop();
    const query = new URLSearchParams({ user_name: this.#options.userName });
    if (this.#since !== null) query.set("since", String(this.#since));
    const url = `${this.#options.url}?${query}`;
    // A browser can give a socket no header; what it offers as protocols is in no log.
    this.#shown = this.#options.token?.() ?? null;
    this.#opened = this.#shown;
    const protocols = this.#shown === null ? [] : ["grandstand", `token.${this.#shown}`];
    const socket = this.#options.makeSocket?.(url, protocols) ?? new WebSocket(url, protocols);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    if (this.#attempt === 0) this.#say({ kind: "connecting" });
    socket.onopen = () => {
      this.#heardAt = performance.now();
      this.#pingTimer = setInterval(() => this.#ping(), PING_EVERY_MS);
      this.#ping();
    };
    socket.onmessage = (event: MessageEvent) => this.#receive(event.data);
    socket.onclose = (event: CloseEvent) => this.#closed(event.code, event.reason);
  }

  #receive(raw: unknown): void {
    this.#heardAt = performance.now();
    if (raw instanceof ArrayBuffer) this.#options.onBinary?.(raw);
    if (typeof raw !== "string") return;
    const message = JSON.parse(raw) as Envelope;
    if (message.type === "connection_status") this.#status(message.data);
    if (message.type === "connection_status" && message.data.event === "pong") return;
    if (message.seq !== null && this.#since !== null && message.seq <= this.#since) return;
    if (message.seq !== null) this.#since = message.seq;
    this.#options.onMessage(message);
    if (this.#target !== null && message.seq !== null) {
      if (message.seq >= this.#target) this.#back({ whole: true, messages: this.#behind });
    }
  }

  #status(data: Readonly<Record<string, unknown>>): void {
    const last = typeof data.last_seq === "number" ? data.last_seq : null;
    switch (data.event) {
      case "pong":
        this.#live(performance.now() - this.#pingSentAt);
        return;
      case "snapshot":
        this.#liveAt = performance.now();
        if (this.#link.kind !== "live") this.#live(null);
        this.#since ??= last;
        return;
      case "recovered": {
        const missed = Math.max(0, (last ?? 0) - (this.#since ?? 0));
        if (data.recovered === false) {
          // What is known ends here; a store of another life may well have fewer.
          this.#since = last;
          this.#back({ whole: false, messages: missed });
        } else if (missed === 0) {
          this.#back({ whole: true, messages: 0 });
        } else {
          this.#behind = missed;
          this.#target = last;
          this.#live(null);
        }
      }
    }
  }

  #back(back: Back): void {
    this.#behind = 0;
    this.#target = null;
    this.#live(null);
    this.#options.onBack?.(back);
  }

  #live(latencyMs: number | null): void {
    const known = this.#link.kind === "live" ? this.#link.latencyMs : null;
    this.#say({ kind: "live", latencyMs: latencyMs ?? known, behind: this.#behind });
  }

  #ping(): void {
    if (performance.now() - this.#heardAt > SILENCE_MS) {
      // A half-open connection (a laptop woken elsewhere) never closes by itself.
      this.#drop();
      this.#comeBack(0, "the connection went silent");
      return;
    }
    this.#pingSentAt = performance.now();
    this.#pingId += 1;
    this.send({ type: "ping", id: this.#pingId });
  }

  #closed(code: number, reason: string): void {
    this.#drop();
    // Refused for a token that has been replaced meanwhile: by one of a room just opened, say.
    if (code === 4401 && (this.#options.token?.() ?? null) !== this.#opened) {
      this.#open();
      return;
    }
    if (!comesBack(code)) {
      this.#say({ kind: "refused", code, reason });
      return;
    }
    const seconds = code === 4429 ? Number(/\d+(\.\d+)?/.exec(reason)?.[0] ?? 0) : 0;
    this.#comeBack(seconds * 1000, WHY[code] ?? "the connection was lost");
  }

  #comeBack(atLeastMs: number, why: string): void {
    if (this.#liveAt > 0 && performance.now() - this.#liveAt >= LASTING_MS) this.#attempt = 0;
    this.#liveAt = 0;
    this.#attempt += 1;
    const wait = atLeastMs + waitBefore(this.#attempt, Math.random());
    this.#notBefore = Date.now() + atLeastMs;
    this.#say({ kind: "away", attempt: this.#attempt, retryAt: Date.now() + wait, why });
    this.#retryTimer = setTimeout(() => this.#open(), wait);
  }

  #drop(): void {
    clearInterval(this.#pingTimer);
    this.#behind = 0;
    this.#target = null;
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    if (socket.readyState < 2) socket.close(1000);
  }

  #say(link: Link): void {
    this.#link = link;
    this.#options.onLink(link);
  }
}
