/** A seat in a room: taken, kept by renewing its token in time, given back. */

import { tick } from "svelte";
import { credentials } from "../api/credentials";
import { join, leave, renew, type JoinOrder, type Ticket } from "../api/rooms";
import { ApiError } from "../api/server";

/** How a seat ended, in a word. */
export type End = "left" | "removed" | "closed" | "expired";

const AGAIN_MS = 5_000;
const ENDS: Readonly<Record<string, End>> = {
  removed_from_room: "removed",
  room_closed: "closed",
  room_not_found: "closed",
};

interface Kept {
  readonly token: string;
  readonly name: string;
}

/** A code as it is written: case, spaces and dashes do not matter. */
export function codeFrom(told: string): string {
  return told.replace(/[^a-z0-9]/gi, "").toUpperCase();
}

export class RoomSeat {
  readonly code: string;
  /** The session to watch; null while there is no seat. */
  sessionId = $state<string | null>(null);
  ended = $state<End | null>(null);
  readonly #storage: string;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #token = "";
  /** What this seat was taken with, to take it again. */
  #order: JoinOrder | null = null;

  constructor(code: string) {
    this.code = code;
    this.#storage = `grandstand.seat ${new URL(document.baseURI).pathname}${code}`;
  }

  /** Takes the seat that this tab had before it was loaded again; false where it had none. */
  async takeAgain(): Promise<boolean> {
    const text = sessionStorage.getItem(this.#storage);
    if (text === null) return false;
    const kept = JSON.parse(text) as Kept;
    try {
      const ticket = await renew(this.code, kept.token);
      this.#order = { user_name: kept.name };
      this.#take(ticket);
      return true;
    } catch (problem) {
      if (!(problem instanceof ApiError) || problem.status === 0) throw problem;
      sessionStorage.removeItem(this.#storage);
      return false;
    }
  }

  /** Takes a seat. */
  async join(order: JoinOrder): Promise<void> {
    const ticket = await join(this.code, order);
    this.#order = order;
    this.#take(ticket);
  }

  /** Watches with a token that somebody made for it, renewed where it is one of a room. */
  use(token: string, sessionId: string): void {
    this.#hold(token, sessionId);
    if (!token.startsWith("gsk_")) this.#timer = setTimeout(() => void this.#renew(), AGAIN_MS);
  }

  /** Gives the seat back. */
  async leave(): Promise<void> {
    const token = this.#token;
    this.end("left");
    try {
      await leave(this.code, token);
    } catch (problem) {
      // Nobody sits there any more; the server frees it by itself.
      if (!(problem instanceof ApiError)) throw problem;
    }
  }

  /** What a closed socket means: the seat is lost, or its token was too old. */
  refused(code: number): void {
    if (code === 4410) this.end("closed");
    // Away for long, a seat is given free; whether it was that, joining again tells.
    else if (code === 4403) void this.#joinAgain();
    else if (code === 4401) void this.#renew();
  }

  async #joinAgain(): Promise<void> {
    clearTimeout(this.#timer);
    try {
      if (this.#order === null) this.end("expired");
      else this.#take(await join(this.code, this.#order));
    } catch (problem) {
      if (!(problem instanceof ApiError)) throw problem;
      if (problem.status === 0) this.#timer = setTimeout(() => void this.#joinAgain(), AGAIN_MS);
      else this.end(ENDS[problem.code] ?? "expired");
    }
  }

  end(how: End): void {
    this.close();
    this.ended = how;
    sessionStorage.removeItem(this.#storage);
  }

  /** Goes, as when the page is left; the seat stays for a while. */
  close(): void {
    clearTimeout(this.#timer);
    const token = this.#token;
    this.sessionId = null;
    // Once the page that watches has gone, which would else go on without a token.
    void tick().then(() => {
      if (credentials.seat?.token === token) credentials.seat = null;
    });
  }

  #take(ticket: Ticket): void {
    this.#hold(ticket.token, ticket.session_id);
    const kept: Kept = { token: ticket.token, name: this.#order?.user_name ?? "" };
    sessionStorage.setItem(this.#storage, JSON.stringify(kept));
    const ms = Math.max(AGAIN_MS, ticket.renew_after_seconds * 1000);
    this.#timer = setTimeout(() => void this.#renew(), Math.min(ms, 2 ** 31 - 1));
  }

  #hold(token: string, sessionId: string): void {
    clearTimeout(this.#timer);
    this.#token = token;
    this.ended = null;
    credentials.seat = { token, sessionId, code: this.code };
    this.sessionId = sessionId;
  }

  async #renew(): Promise<void> {
    clearTimeout(this.#timer);
    try {
      this.#take(await renew(this.code, this.#token));
    } catch (problem) {
      if (!(problem instanceof ApiError)) throw problem;
      if (problem.code === "other_room") return; // made elsewhere: it lasts as long as it lasts
      if (problem.status === 0 || problem.status === 429 || problem.status >= 500) {
        this.#timer = setTimeout(() => void this.#renew(), AGAIN_MS);
      } else if (ENDS[problem.code] !== undefined) this.end(ENDS[problem.code] ?? "closed");
      else void this.#joinAgain();
    }
  }
}
