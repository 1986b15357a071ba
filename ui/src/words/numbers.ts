/** Numbers and times as people read them: tabular, with a space between thousands. */

const SPACE = "\u00a0";

function grouped(text: string): string {
  const [whole = "", fraction] = text.split(".");
  const spaced = whole.replace(/\B(?=(\d{3})+$)/g, SPACE);
  return fraction === undefined ? spaced : `${spaced}.${fraction}`;
}

/** Any finite or special number in at most about eight characters. */
export function plain(value: number, digits?: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (value === Infinity) return "∞";
  if (value === -Infinity) return "−∞";
  const sign = value < 0 ? "−" : "";
  const size = Math.abs(value);
  if (digits !== undefined) return sign + grouped(size.toFixed(digits));
  if (size === 0) return "0";
  if (size >= 1e13) return sign + size.toExponential(2).replace("e+", "e");
  if (size >= 1e9) return `${sign}${(size / 1e9).toFixed(2)}${SPACE}G`;
  if (size >= 1e6) return `${sign}${(size / 1e6).toFixed(2)}${SPACE}M`;
  if (Number.isInteger(value)) return sign + grouped(size.toFixed(0));
  if (size >= 1e5) return sign + grouped(size.toFixed(0));
  if (size >= 100) return sign + grouped(size.toFixed(1));
  if (size >= 1) return sign + size.toFixed(2);
  if (size >= 0.01) return sign + size.toFixed(3);
  if (size >= 0.001) return sign + size.toFixed(4);
  return sign + size.toExponential(1).replace("e-", "e−");
}

/** A number with all that is known of it, up to seven digits. */
export function exact(value: number): string {
  const size = Math.abs(value);
  if (!Number.isFinite(value) || size === 0 || size < 1e-4 || size >= 1e9) return plain(value);
  return (value < 0 ? "−" : "") + grouped(String(Number(size.toPrecision(7))));
}

/** A whole number with spaces between thousands. */
export function whole(value: number): string {
  return plain(Math.round(value), 0);
}

/** A whole number where there is little room: `999 999`, `1.2M`. */
export function many(value: number): string {
  return Math.abs(value) < 1e6 ? whole(value) : short(value);
}

/** Short for axes and speeds: 1.2 k, 33 k, 2.5 M. */
export function short(value: number): string {
  const size = Math.abs(value);
  const sign = value < 0 ? "−" : "";
  const trimmed = (n: number): string => (n < 100 ? n.toFixed(1).replace(/\.0$/, "") : n.toFixed(0));
  if (size >= 1e13) return sign + size.toExponential(1).replace("e+", "e").replace(".0e", "e");
  if (size >= 1e9) return `${sign}${trimmed(size / 1e9)}G`;
  if (size >= 1e6) return `${sign}${trimmed(size / 1e6)}M`;
  if (size >= 1e4) return `${sign}${trimmed(size / 1e3)}k`;
  if (size >= 1e3) return `${sign}${trimmed(size / 1e3)}k`;
  if (size >= 10 || Number.isInteger(value)) return sign + size.toFixed(0);
  const text = size >= 1 ? size.toFixed(2).replace(/0+$/, "") : size.toPrecision(3).replace(/0+$/, "");
  return sign + (text.length > 6 ? size.toExponential(1).replace(".0e", "e") : text);
}

/** A stretch of time: `0:41`, `12:08`, `3 h 05`, `2 d 4 h`. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "–";
  const s = Math.max(0, Math.round(seconds));
  if (s < 3600) return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`;
  if (s < 86_400) {
    return `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, "0")}`;
  }
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

/** How long ago, in one word: `now`, `41 s`, `12 min`, `3 h`, `5 d`. */
export function age(seconds: number): string {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 5) return "now";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129_600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** A size on disk: `812 B`, `4.1 MB`, `2.0 GB`. */
export function bytes(count: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let [value, unit] = [count, 0];
  while (value >= 1000 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)}\u00a0${units[unit]}`;
}

/** The watcher's own time of day of a UTC time. */
export function timeOfDay(iso: string): string {
  return new Date(iso).toLocaleTimeString("en-GB");
}
