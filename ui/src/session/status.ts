/** What a session's status and wish together say to a person. */

import type { Session } from "../api/types";

/** Nothing runs and nothing will by itself. */
export function ended(session: Session): boolean {
  return ["stopped", "completed", "failed"].includes(session.status);
}

/** Reports are expected now. */
export function reporting(session: Session): boolean {
  return ["running", "pausing", "stopping"].includes(session.status);
}

/** The status in words; an order not yet followed shows as "…ing". */
export function said(session: Session): string {
  if (!ended(session)) {
    if (session.status === "stopping" || session.wanted === "stopped") return "stopping…";
    if (session.status === "pausing") return "pausing…";
    if (session.wanted === "paused" && session.status !== "paused") return "pausing…";
    if (session.wanted === "running" && session.status === "paused") return "resuming…";
    if (session.status === "starting") return "starting…";
  }
  return session.status;
}

/** Why it ended, where the status does not say it already: a plateau, a target, a limit, a wish. */
export function why(session: Session): string {
  const reason = session.stop_reason ?? "";
  const usual = [session.status, "all episodes done"].includes(reason);
  return ended(session) && session.status !== "failed" && !usual ? reason : "";
}

export type Tone = "run" | "wait" | "bad" | "done" | "idle";

/** Which of the status colours it wears. */
export function tone(session: Session): Tone {
  switch (session.status) {
    case "running":
      return session.wanted === "running" ? "run" : "wait";
    case "completed":
      return "done";
    case "failed":
    case "lost":
      return "bad";
    case "stopped":
    case "queued":
      return "idle";
    default:
      return "wait";
  }
}
