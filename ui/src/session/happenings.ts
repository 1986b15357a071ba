/** What happened to a session, in a sentence each: the events list. */

import type { Session } from "../api/types";
import type { Envelope } from "../live";
import { plain, whole } from "../words/numbers";

export interface Happening {
  readonly key: string;
  readonly at: string;
  readonly what: string;
  readonly more: string;
  readonly grave: boolean;
}

const said = (value: unknown): string =>
  typeof value === "string" ? value : typeof value === "number" ? plain(value) : "";

function episode(data: Readonly<Record<string, unknown>>): string {
  const at = data.episode ?? data.current_episode ?? data.episodes_completed;
  return typeof at === "number" ? `at episode ${whole(at)}` : "";
}

const STATUS_WORDS: Readonly<Record<string, string>> = {
  queued: "Queued",
  starting: "Starting",
  running: "Running",
  pausing: "Pausing",
  paused: "Paused",
  stopping: "Stopping",
  stopped: "Stopped",
  completed: "Completed",
  failed: "Failed",
  lost: "Lost",
};

const ASKED: Readonly<Record<string, string>> = {
  checkpoint: "for a checkpoint",
  pause: "to pause",
  paused: "to pause",
  stop: "to stop",
  stopped: "to stop",
  resume: "to go on",
  running: "to go on",
};

/** A status message as a line of the list; null for what is not worth a line. */
export function eventFrom(message: Envelope): Happening | null {
  const data = message.data;
  const base = {
    key: `${message.seq ?? message.timestamp}-${said(data.event)}-${said(data.user_name)}`,
    at: message.timestamp,
    grave: false,
  };
  switch (data.event) {
    case "status": {
      const status = said(data.status);
      const reason = said(data.stop_reason ?? data.reason);
      return {
        ...base,
        what: STATUS_WORDS[status] ?? status,
        more: [episode(data), reason === status ? "" : reason].filter(Boolean).join(", "),
        grave: status === "failed" || status === "lost",
      };
    }
    case "checkpoint":
      return {
        ...base,
        what: "Checkpoint",
        more: [episode(data), data.score === undefined ? "" : `score ${said(data.score)}`]
          .filter(Boolean)
          .join(", "),
      };
    case "evaluation":
      return {
        ...base,
        what: "Evaluation",
        more: [
          typeof data.return_mean === "number" ? plain(data.return_mean) : "",
          typeof data.return_se === "number" ? `± ${plain(data.return_se)}` : "",
          typeof data.score === "number" ? `score ${data.score.toFixed(3)}` : "",
          episode(data),
        ]
          .filter(Boolean)
          .join(" "),
      };
    case "alert":
      return { ...base, what: said(data.title) || "Alert", more: said(data.message), grave: true };
    case "presence": {
      const who = said(data.user_name);
      if (!who || (data.action !== "joined" && data.action !== "left")) return null;
      return { ...base, what: who, more: data.action === "joined" ? "is watching" : "left" };
    }
    case "control":
      return {
        ...base,
        what: `Asked ${ASKED[said(data.asked ?? data.verb ?? data.wanted)] ?? "for something"}`,
        more: said(data.by) ? `by ${said(data.by)}` : "",
      };
    case "listens":
      return { ...base, what: "May be steered", more: listed(data.verbs) };
    case "room":
      return { ...base, what: "Watch room", more: said(data.action) };
    case "phase":
      return { ...base, what: said(data.phase ?? data.name) || "Phase", more: episode(data) };
    default:
      if (typeof data.event !== "string") return null;
      return {
        ...base,
        what: data.event.charAt(0).toUpperCase() + data.event.slice(1).replaceAll("_", " "),
        more: said(data.message) || facts(data),
      };
  }
}

/** What a script tells of an event of its own: its numbers and words by name. */
function facts(data: Readonly<Record<string, unknown>>): string {
  const found = Object.entries(data)
    .filter(([name]) => !["event", "timestamp", "type", "session_id", "seq", "episode"].includes(name))
    .map(([name, value]) => {
      const text = typeof value === "boolean" ? (value ? "yes" : "no") : said(value);
      return text && `${name.replaceAll("_", " ")} ${text}`;
    });
  return [episode(data), ...found].filter(Boolean).slice(0, 8).join(", ");
}

function listed(verbs: unknown): string {
  return Array.isArray(verbs) ? verbs.map(said).join(" and ") : "";
}

/** The list, newest first, completed by what the session itself tells of its start and end. */
export function completed(heard: readonly Happening[], session: Session): Happening[] {
  const said = new Set(heard.map((h) => h.what));
  const begun = said.has("Queued") || said.has("Starting") || said.has("Running");
  const own = fromSession(session).filter(
    (h) => !said.has(h.what) && !(begun && (h.what === "Started" || h.what === "Created")),
  );
  const all = [...heard, ...own].sort((a, b) => Date.parse(b.at) - Date.parse(a.at));
  return folded(all);
}

/** Checkpoints in a row are one line: the newest, and how many came before it. */
function folded(all: readonly Happening[]): Happening[] {
  const found: Happening[] = [];
  let run = 0;
  for (const one of all) {
    const last = found.at(-1);
    if (last !== undefined && one.what === "Checkpoint" && last.what === "Checkpoint") {
      run += 1;
      const newest = last.more.split(" · ")[0] ?? "";
      found[found.length - 1] = { ...last, more: `${newest} · ${run} before it` };
    } else {
      run = 0;
      found.push(one);
    }
  }
  return found;
}

function fromSession(session: Session): Happening[] {
  const found: Happening[] = [];
  const add = (at: string | null | undefined, what: string, more: string, grave = false): void => {
    if (at) found.push({ key: `own-${what}`, at, what, more, grave });
  };
  if (session.end_time !== null) {
    add(
      session.end_time,
      STATUS_WORDS[session.status] ?? session.status,
      [`at episode ${whole(session.current_episode)}`, session.stop_reason ?? ""].filter(Boolean).join(", "),
      session.status === "failed",
    );
  }
  add(session.start_time, "Started", session.algorithm);
  if (session.created_at !== session.start_time) add(session.created_at, "Created", "");
  return found;
}
