/** What the Compare page shows, as its address says it: a link reproduces the view. */

export type Across = "episode" | "step" | "seconds";

export interface View {
  readonly ids: readonly string[];
  /** Names of metrics, in the order of their charts; null until somebody chose. */
  readonly metrics: readonly string[] | null;
  readonly across: Across;
  /** 0…0.98, see `smoothed`. */
  readonly smoothing: number;
  readonly log: boolean;
  /** Sessions with the same value there are one line with a band; null for a line each. */
  readonly by: string | null;
  readonly hidden: ReadonlySet<string>;
  readonly from: number | null;
  readonly to: number | null;
}

export const PLAIN: View = {
  ids: [],
  metrics: null,
  across: "episode",
  smoothing: 0.6,
  log: false,
  by: null,
  hidden: new Set(),
  from: null,
  to: null,
};

/** More are not drawn: fifty lines in a chart are more than anybody tells apart. */
export const MOST = 50;

/** Text as it was before it was escaped; as it is where it never was. */
function plainly(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function list(text: string | null): string[] {
  return [...new Set((text ?? "").split(",").filter(Boolean).map(plainly))];
}

/** Ids hold no commas, so here one may be escaped or not. */
function listOfIds(text: string | null): string[] {
  return [...new Set(list(text).flatMap((part) => part.split(",")).filter(Boolean))];
}

function number(text: string | null): number | null {
  const value = Number(text ?? NaN);
  return text !== null && text !== "" && Number.isFinite(value) ? value : null;
}

/** Reads what follows the question mark; what cannot be is left out. */
export function viewFrom(search: string): View {
  // Names are escaped once more within their list: they may hold commas.
  const raw = new Map(
    search
      .replace(/^\?/, "")
      .split("&")
      .map((part) => [part.split("=")[0] ?? "", part.slice(part.indexOf("=") + 1)] as const),
  );
  const said = (name: string): string | null => raw.get(name) ?? null;
  const across = said("x");
  const smoothing = number(said("smooth"));
  const [from, to] = [number(said("from")), number(said("to"))];
  const by = said("by");
  return {
    ids: listOfIds(said("ids")).slice(0, MOST),
    metrics: said("metrics") === null ? null : list(said("metrics")),
    across: across === "step" || across === "seconds" ? across : "episode",
    smoothing: smoothing === null ? PLAIN.smoothing : Math.min(0.98, Math.max(0, smoothing)),
    log: said("log") === "1",
    by: by ? plainly(by) : null,
    hidden: new Set(listOfIds(said("hide"))),
    from: from !== null && to !== null && from < to ? from : null,
    to: from !== null && to !== null && from < to ? to : null,
  };
}

/** Writes it again, with its question mark; what is as usual is left out. */
export function searchOf(view: View): string {
  const parts: string[] = [];
  const put = (name: string, value: string): void => void parts.push(`${name}=${value}`);
  const names = (values: Iterable<string>): string => [...values].map(encodeURIComponent).join(",");
  if (view.ids.length > 0) put("ids", names(view.ids));
  if (view.metrics !== null) put("metrics", names(view.metrics));
  if (view.across !== PLAIN.across) put("x", view.across);
  if (view.smoothing !== PLAIN.smoothing) put("smooth", String(view.smoothing));
  if (view.log) put("log", "1");
  if (view.by !== null) put("by", encodeURIComponent(view.by));
  if (view.hidden.size > 0) put("hide", names(view.hidden));
  if (view.from !== null && view.to !== null) {
    put("from", String(view.from));
    put("to", String(view.to));
  }
  return parts.length === 0 ? "" : `?${parts.join("&")}`;
}
