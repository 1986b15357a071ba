/** Files of one card: its numbers as CSV, its picture as PNG. */

import { getSeries } from "../api/server";
import type { Axis } from "../api/types";
import { token } from "../look/hues";
import type { Range } from "./curves";
import type { Group } from "./grouping";

/** Points of a curve that a file holds singly; of longer stretches it holds this many buckets. */
const MOST_POINTS = 100_000;
const COLUMNS = ["mean", "min", "max", "last", "count"] as const;

/** A field of a CSV file (RFC 4180). */
function field(value: unknown): string {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/**
 * The card's curves in the stretch looked at, from the server and with all their digits: one line
 * for each point, `metric, x, mean, min, max, last, count`.
 *
 * @throws ApiError what the server said instead.
 */
export async function csvOf(sessionId: string, group: Group, axis: Axis, range: Range | null): Promise<Blob> {
  const answer = await getSeries(sessionId, {
    x: axis,
    from: range?.from ?? null,
    to: range?.to ?? null,
    metrics: [...new Set(group.lines.flatMap((line) => [line.name, line.backdrop]))],
    maxPoints: MOST_POINTS,
  });
  const lines = [`metric,${axis},${COLUMNS.join()}`];
  for (const [name, wire] of Object.entries(answer.series)) {
    const x = Array.isArray(wire.x) ? (wire.x as unknown[]) : [];
    const columns = COLUMNS.map((column) => (Array.isArray(wire[column]) ? (wire[column] as unknown[]) : []));
    x.forEach((at, i) => lines.push([name, at, ...columns.map((c) => c[i])].map(field).join()));
  }
  return new Blob([lines.join("\r\n"), "\r\n"], { type: "text/csv;charset=utf-8" });
}

const EDGE = 16;
const HEAD = 54;

/** The card as it stands there: title, legend and curves, in the present theme. */
export function pngOf(canvas: HTMLCanvasElement, group: Group, subtitle: string): Promise<Blob> {
  const ratio = devicePixelRatio;
  const picture = document.createElement("canvas");
  picture.width = canvas.width + 2 * EDGE * ratio;
  picture.height = canvas.height + (HEAD + EDGE) * ratio;
  const ctx = picture.getContext("2d");
  if (ctx === null) throw new Error("This browser draws no pictures.");
  const family = getComputedStyle(document.body).fontFamily;
  ctx.fillStyle = token("surface");
  ctx.fillRect(0, 0, picture.width, picture.height);
  ctx.drawImage(canvas, EDGE * ratio, HEAD * ratio);
  ctx.scale(ratio, ratio);
  ctx.textBaseline = "middle";
  ctx.fillStyle = token("ink");
  ctx.font = `560 14px ${family}`;
  ctx.fillText(group.title, EDGE, 20);
  ctx.font = `12px ${family}`;
  ctx.fillStyle = token("ink-3");
  ctx.textAlign = "right";
  ctx.fillText(subtitle, picture.width / ratio - EDGE, 20);
  ctx.textAlign = "left";
  let left = EDGE;
  for (const line of group.lines) {
    ctx.strokeStyle = token(`s${line.hue}`);
    ctx.lineWidth = 2;
    ctx.setLineDash(line.dash ? [4, 2] : []);
    ctx.beginPath();
    ctx.moveTo(left, 42);
    ctx.lineTo(left + 12, 42);
    ctx.stroke();
    ctx.fillStyle = token("ink-2");
    ctx.fillText(line.label, left + 17, 42);
    left += 17 + ctx.measureText(line.label).width + 14;
  }
  return new Promise((resolve, reject) => {
    picture.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("The picture is empty."))), "image/png");
  });
}

/** Has the browser save it. */
export function save(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.dataset.outside = "";
  document.body.append(link);
  link.click();
  link.remove();
  // Saving has begun by the next turn of the loop, and holds the data itself.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** A card's name as a file's. */
export function fileName(sessionId: string, group: Group, ending: string): string {
  return `${sessionId}-${group.id}`.replaceAll(/[^\w.-]+/g, "-") + `.${ending}`;
}
