/** What each scope lets somebody do, in a sentence. */

import type { Scope } from "../api/access";

export const SCOPES: readonly { readonly scope: Scope; readonly what: string; readonly implies: readonly Scope[] }[] = [
  { scope: "watch", what: "See sessions and models, and follow them live.", implies: [] },
  { scope: "report", what: "Open sessions of their own scripts and send records.", implies: [] },
  { scope: "operate", what: "Start, steer, change and delete; open rooms.", implies: ["watch"] },
  { scope: "supervise", what: "Run this server’s trainings on another machine.", implies: [] },
  { scope: "metrics", what: "Read the server’s own figures, for Prometheus.", implies: [] },
  { scope: "admin", what: "Users, everybody’s keys, the audit log. And everything else.", implies: ["watch", "report", "operate", "supervise", "metrics"] },
];

/** Scopes that others imply already. */
export function implied(chosen: readonly Scope[]): ReadonlySet<Scope> {
  return new Set(SCOPES.filter((one) => chosen.includes(one.scope)).flatMap((one) => one.implies));
}
