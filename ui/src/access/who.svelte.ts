/** Who sits before this page, what they may do, and whether they must sign in first. */

import { getAuth, getMe, type AuthState, type Me, type Scope } from "../api/access";
import { credentials, type Keeper } from "../api/credentials";
import { ApiError } from "../api/server";
import { router } from "../shell/router.svelte";

/** Asked without a token, whoever it is. */
const FREE = /^(health|api\/auth|api\/auth\/login)$/;
const ENDED: Readonly<Record<string, string>> = {
  token_expired: "Your sign-in has expired. Sign in again to go on where you were.",
  token_revoked: "You were signed out. Sign in again to go on where you were.",
};

/** What the server wrote into the page about signing in; null where it wrote nothing. */
function written(): AuthState | null {
  const text = document.querySelector<HTMLMetaElement>('meta[name="grandstand-auth"]')?.content;
  return text ? (JSON.parse(text) as AuthState) : null;
}

class Who implements Keeper {
  /** Null before the server's first answer. */
  auth = $state.raw<AuthState | null>(null);
  me = $state.raw<Me | null>(null);
  /** The sign-in form lies over the page. */
  asking = $state(false);
  /** Why it does, where that is news. */
  why = $state("");
  /** Rooms opened in this browser. */
  hosts = $state.raw(credentials.hosts);
  #learning: Promise<AuthState | null> | null = null;
  #waiting: (() => void)[] = [];

  constructor() {
    credentials.keeper = this;
    let held = credentials.account;
    credentials.onChange(() => {
      this.hosts = credentials.hosts;
      if (credentials.account === held) return;
      held = credentials.account;
      if (held === null) this.me = null;
      else this.#go();
    });
    const told = written();
    if (told !== null) {
      this.auth = told;
      this.#learning = Promise.resolve(told);
    } else if (!this.guest) void this.#learn();
    if (held !== null && !this.guest) void this.#look();
  }

  /** Whether this is a page for an audience, who need no account. */
  get guest(): boolean {
    return router.place.page === "join" || router.place.page === "overlay";
  }

  /** Whether requests of this scope make sense here. */
  may(scope: Scope): boolean {
    if (this.guest || this.auth === null) return false;
    return this.me === null ? !this.auth.enabled : this.me.scopes.includes(scope);
  }

  async before(path: string): Promise<void> {
    if (FREE.test(path) || this.guest || path.startsWith("api/rooms/")) return;
    const auth = await this.#learn();
    // Rather than a request that is known to be refused.
    if (auth?.enabled && credentials.tokenFor(path) === null) await this.#ask("");
  }

  async refused(token: string | null, code: string): Promise<boolean> {
    if (token !== null && token === credentials.seat?.token) return false;
    // What is wrong may as well be a password, or the room that a session is watched in.
    const lacking = token === null ? code === "unauthenticated" : code.startsWith("token_") || code === "room_closed";
    if (!lacking) return false;
    // Another request may have been refused before this one, and somebody signed in since.
    const old = token !== null && token !== credentials.account && !credentials.hosts.some((h) => h.token === token);
    if (old) return true;
    if (token !== null) credentials.forget(token);
    if (this.guest) return token !== null;
    const auth = await this.#learn();
    if (!auth?.enabled) return token !== null;
    await this.#ask(ENDED[code] ?? "");
    return true;
  }

  /** Looks at the server anew: whether there is somebody who could sign in by now. */
  async lookAgain(): Promise<void> {
    this.#learning = null;
    await this.#learn();
  }

  /** Goes back to nobody, on a page that remembers nothing. */
  leave(): void {
    credentials.hosts = [];
    credentials.account = null;
    location.assign(document.baseURI);
  }

  /** Shows the form until somebody has signed in. */
  #ask(why: string): Promise<void> {
    if (!this.asking) this.why = why;
    this.asking = true;
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #go(): void {
    this.asking = false;
    for (const resolve of this.#waiting.splice(0)) resolve();
    void this.#look();
  }

  #learn(): Promise<AuthState | null> {
    this.#learning ??= getAuth().then(
      (auth) => (this.auth = auth),
      (problem: unknown) => {
        if (!(problem instanceof ApiError)) throw problem;
        this.#learning = null; // the server is away; the next request asks again
        return null;
      },
    );
    return this.#learning;
  }

  async #look(): Promise<void> {
    try {
      this.me = await getMe();
    } catch (problem) {
      // Whatever else this page asks for says so where it can be seen.
      if (!(problem instanceof ApiError)) throw problem;
    }
  }
}

export const who = new Who();
