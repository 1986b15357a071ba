/** Signing in, users, API keys, and who did what. */

import { ask, post } from "./server";

export type Scope = "watch" | "report" | "operate" | "supervise" | "metrics" | "admin";

export interface AuthState {
  readonly enabled: boolean;
  /** Authentication is on, and nobody could sign in yet. */
  readonly first_admin_needed: boolean;
}

/** What the token that goes along may do. */
export interface Me {
  readonly subject: string;
  readonly user_id: string | null;
  readonly scopes: readonly Scope[];
  readonly session_id: string | null;
  readonly expires_at: string | null;
}

export interface User {
  readonly user_id: string;
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly disabled: boolean;
  readonly created_at: string;
}

export interface SignedIn {
  readonly token: string;
  readonly expires_at: string;
  readonly user: User;
}

export interface ApiKey {
  readonly key_id: string;
  readonly name: string;
  readonly user_id: string | null;
  readonly scopes: readonly Scope[];
  readonly session_id: string | null;
  readonly created_at: string;
  readonly expires_at: string | null;
  readonly last_used_at: string | null;
  readonly revoked_at: string | null;
}

export interface AuditEntry {
  readonly id: number;
  readonly at: string;
  readonly subject: string;
  readonly address: string;
  readonly action: string;
  readonly target: string | null;
  readonly status: number;
  readonly error: string | null;
}

const name = encodeURIComponent;

export function getAuth(): Promise<AuthState> {
  return ask("api/auth");
}

/** @param token another than the one this page holds. */
export function getMe(token?: string): Promise<Me> {
  return ask("api/auth/me", token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } });
}

export function signIn(user: string, password: string): Promise<SignedIn> {
  return post("api/auth/login", { name: user, password });
}

export function signOut(): Promise<void> {
  return ask("api/auth/logout", { method: "POST" });
}

export function changePassword(password: string, fresh: string): Promise<SignedIn> {
  return post("api/auth/password", { password, new_password: fresh });
}

export async function listUsers(): Promise<readonly User[]> {
  return (await ask<{ users: readonly User[] }>("api/auth/users")).users;
}

export function addUser(user: { name: string; password: string; scopes: readonly Scope[] }): Promise<User> {
  return post("api/auth/users", user);
}

export interface UserChange {
  readonly password?: string;
  readonly scopes?: readonly Scope[];
  readonly disabled?: boolean;
}

export function changeUser(id: string, change: UserChange): Promise<User> {
  return post(`api/auth/users/${name(id)}`, change, "PATCH");
}

export function removeUser(id: string): Promise<void> {
  return ask(`api/auth/users/${name(id)}`, { method: "DELETE" });
}

export async function listKeys(): Promise<readonly ApiKey[]> {
  return (await ask<{ keys: readonly ApiKey[] }>("api/auth/keys")).keys;
}

export interface KeyOrder {
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly session_id?: string;
  readonly expires_at?: string;
}

/** Its `key` is told this once. */
export function addKey(order: KeyOrder): Promise<ApiKey & { readonly key: string }> {
  return post("api/auth/keys", order);
}

export function revokeKey(id: string): Promise<ApiKey> {
  return ask(`api/auth/keys/${name(id)}`, { method: "DELETE" });
}

export interface AuditPage {
  readonly entries: readonly AuditEntry[];
  readonly next_cursor: string | null;
}

/** Newest first. */
export function getAudit(target: string, cursor: string | null): Promise<AuditPage> {
  const query = new URLSearchParams({ limit: "50" });
  if (target !== "") query.set("target", target);
  if (cursor !== null) query.set("cursor", cursor);
  return ask(`api/audit?${query}`);
}
