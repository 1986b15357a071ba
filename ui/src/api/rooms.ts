/** Rooms: opened, looked at, joined, left. */

import type { Scope } from "./access";
import { credentials } from "./credentials";
import { ApiError, ask, post } from "./server";

export type RoomAccess = "public" | "password" | "private";

/** A room as whoever asks may see it. */
export interface Room {
  readonly room_code: string;
  readonly name: string;
  readonly access: RoomAccess;
  readonly max_spectators: number;
  readonly seats_taken: number;
  readonly created_at: string;
  readonly expires_at: string | null;
  readonly session_id: string | null;
  readonly session_name: string | null;
}

export interface Seat {
  readonly seat_id: string;
  readonly name: string;
  readonly joined_at: string;
  /** Connected now. */
  readonly watching: boolean;
  readonly removed_at: string | null;
}

/** What lets somebody in. */
export interface Ticket {
  readonly token: string;
  readonly expires_at: string;
  readonly renew_after_seconds: number;
  readonly session_id: string;
  readonly seat_id: string | null;
}

export interface Opened {
  readonly room: Room;
  readonly host_token: string;
  /** Told this once. */
  readonly room_password: string | null;
}

export interface RoomOrder {
  readonly access: RoomAccess;
  readonly password?: string;
  readonly name?: string;
  readonly max_spectators: number;
  readonly expires_at?: string;
}

const name = encodeURIComponent;
const sessionRoom = (id: string): string => `api/training/sessions/${name(id)}/room`;
const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` });

/** Opens a session's room, and keeps what its host needs in this browser. */
export function openRoom(sessionId: string, sessionName: string, order: RoomOrder): Promise<Opened> {
  const opening = post<Opened>(sessionRoom(sessionId), order).then((opened) => {
    const { room_code: code } = opened.room;
    credentials.hosts = [
      ...credentials.hosts.filter((one) => one.sessionId !== sessionId),
      { code, token: opened.host_token, sessionId, sessionName },
    ];
    return opened;
  });
  credentials.expect(sessionId, opening);
  return opening;
}

export function getSessionRoom(sessionId: string): Promise<Room> {
  return ask(sessionRoom(sessionId));
}

export async function listRooms(): Promise<readonly Room[]> {
  return (await ask<{ rooms: readonly Room[] }>("api/rooms")).rooms;
}

export function getRoom(code: string): Promise<Room> {
  return ask(`api/rooms/${name(code)}`);
}

export async function getSeats(code: string): Promise<readonly Seat[]> {
  return (await ask<{ seats: readonly Seat[] }>(`api/rooms/${name(code)}/seats`)).seats;
}

export function kick(code: string, seatId: string): Promise<void> {
  return ask(`api/rooms/${name(code)}/seats/${name(seatId)}`, { method: "DELETE" });
}

export async function closeRoom(code: string): Promise<void> {
  await ask(`api/rooms/${name(code)}`, { method: "DELETE" });
  credentials.hosts = credentials.hosts.filter((one) => one.code !== code);
}

export function invite(code: string): Promise<{ invitation: string; expires_at: string }> {
  return post(`api/rooms/${name(code)}/invitations`, {});
}

export interface JoinOrder {
  readonly user_name: string;
  readonly password?: string;
  readonly invitation?: string;
}

/** Takes a seat: that of who signed in, or else that of the name. */
export async function join(code: string, order: JoinOrder): Promise<Ticket & { readonly room: Room }> {
  const { account } = credentials;
  try {
    return await ask(`api/rooms/${name(code)}/join`, {
      method: "POST",
      headers: { "content-type": "application/json", ...(account === null ? { authorization: "" } : bearer(account)) },
      body: JSON.stringify(order),
    });
  } catch (why) {
    if (account === null || !(why instanceof ApiError) || !why.code.startsWith("token_")) throw why;
    credentials.forget(account); // of long ago; a room wants none
    return join(code, order);
  }
}

/** The next token for the one given. */
export function renew(code: string, token: string): Promise<Ticket> {
  return ask(`api/rooms/${name(code)}/renew`, { method: "POST", headers: bearer(token) });
}

export function leave(code: string, token: string): Promise<void> {
  return ask(`api/rooms/${name(code)}/leave`, { method: "POST", headers: bearer(token) });
}

/** What a token that came in an address may do. */
export function whose(token: string): Promise<{
  readonly scopes: readonly Scope[];
  readonly session_id: string | null;
  readonly room_code: string | null;
}> {
  return ask("api/auth/me", { headers: bearer(token) });
}
