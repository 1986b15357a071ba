/**
 * Which token goes with which request. This page may hold several: that of who signed in, those of
 * rooms it opened (a host's), and that of a seat while it shows a room to its audience.
 */

/** Tokens of servers below other paths of the same origin are not ours. */
const WHERE = globalThis.document === undefined ? "/" : new URL(document.baseURI).pathname;
const ACCOUNT = `grandstand.token ${WHERE}`;
const HOSTS = `grandstand.hosts ${WHERE}`;
const SESSION = /^api\/training\/sessions\/([^/?]+)/;
const ROOM = /^api\/rooms\/([^/?]+)/;

/** What whoever opened a room keeps of it. */
export interface HostToken {
  readonly code: string;
  readonly token: string;
  readonly sessionId: string;
  readonly sessionName: string;
}

/** A seat in a room. */
export interface SeatToken {
  readonly token: string;
  readonly sessionId: string;
  readonly code: string;
}

/** Decides what becomes of requests that need a token they do not have. */
export interface Keeper {
  /** Resolves when a request without a token may go out: perhaps after somebody signed in. */
  before(path: string): Promise<void>;
  /** A token (or none) was refused; resolves to whether asking again makes sense. */
  refused(token: string | null, code: string): Promise<boolean>;
}

function read<T>(name: string, otherwise: T): T {
  try {
    return JSON.parse(globalThis.localStorage?.getItem(name) ?? "null") ?? otherwise;
  } catch {
    return otherwise; // written by somebody else
  }
}

class Credentials {
  keeper: Keeper | null = null;
  #account: string | null = read<string | null>(ACCOUNT, null);
  #hosts: readonly HostToken[] = read<HostToken[]>(HOSTS, []);
  #seat: SeatToken | null = null;
  readonly #told = new Set<() => void>();
  readonly #coming = new Map<string, Promise<unknown>>();

  constructor() {
    // Signed in or out in another tab.
    globalThis.addEventListener?.("storage", (event) => {
      if (event.key !== ACCOUNT && event.key !== HOSTS) return;
      this.#account = read(ACCOUNT, null);
      this.#hosts = read(HOSTS, []);
      this.#tell();
    });
  }

  /** The token of who signed in. */
  get account(): string | null {
    return this.#account;
  }
  set account(token: string | null) {
    this.#account = token;
    if (token === null) localStorage.removeItem(ACCOUNT);
    else localStorage.setItem(ACCOUNT, JSON.stringify(token));
    this.#tell();
  }

  /** Rooms opened in this browser. */
  get hosts(): readonly HostToken[] {
    return this.#hosts;
  }
  set hosts(hosts: readonly HostToken[]) {
    this.#hosts = hosts;
    if (hosts.length === 0) localStorage.removeItem(HOSTS);
    else localStorage.setItem(HOSTS, JSON.stringify(hosts));
    this.#tell();
  }

  /** The seat from which this page watches; while there is one, it goes with everything. */
  get seat(): SeatToken | null {
    return this.#seat;
  }
  set seat(seat: SeatToken | null) {
    this.#seat = seat;
    this.#tell();
  }

  /** The token that goes with a request; null for none. */
  tokenFor(path: string): string | null {
    if (this.#seat !== null) return this.#seat.token;
    if (this.#account !== null) return this.#account;
    const session = SESSION.exec(path)?.[1];
    const room = ROOM.exec(path)?.[1];
    return (
      this.#hosts.find(
        (one) => encodeURIComponent(one.sessionId) === session || one.code === room,
      )?.token ?? null
    );
  }

  /**
   * Notes that `order` may bring a token for a session. From the moment the server has obeyed until
   * its answer is here, the session is closed to whoever has none: to this page too.
   */
  expect(sessionId: string, order: Promise<unknown>): void {
    const id = encodeURIComponent(sessionId);
    const done = order
      .catch(() => undefined) // whoever gave the order says what went wrong
      .finally(() => {
        if (this.#coming.get(id) === done) this.#coming.delete(id);
      });
    this.#coming.set(id, done);
  }

  /** Resolves when no token is on its way that a request would need. */
  async settled(path: string): Promise<void> {
    await this.#coming.get(SESSION.exec(path)?.[1] ?? "");
  }

  /** The token for a session's socket. */
  forSession(id: string): string | null {
    return this.tokenFor(`api/training/sessions/${encodeURIComponent(id)}`);
  }

  /** Forgets a token that holds no more; false where it was none of ours. */
  forget(token: string): boolean {
    if (this.#account === token) this.account = null;
    else if (this.#hosts.some((one) => one.token === token)) {
      this.hosts = this.#hosts.filter((one) => one.token !== token);
    } else return false;
    return true;
  }

  /** Calls `tell` whenever other tokens are held; returns how to stop that. */
  onChange(tell: () => void): () => void {
    this.#told.add(tell);
    return () => this.#told.delete(tell);
  }

  #tell(): void {
    for (const tell of this.#told) tell();
  }
}

export const credentials = new Credentials();
