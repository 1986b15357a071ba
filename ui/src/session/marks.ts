/** What is marked on a chart beside its lines: spikes, and values that are no numbers. */

import type uPlot from "uplot";
import { faded, token } from "../look/hues";
import type { Axis } from "../api/types";
import type { Flag } from "./flags";
import type { Line } from "./grouping";

/** A bucket whose extreme lies far outside what the rest of its curve does. */
export interface Spike {
  readonly x: number;
  readonly mean: number;
  readonly extreme: number;
  readonly line: Line;
}

const MARK_PX = 4;

/** Spikes: a line out to the extreme, and a mark at the edge where that lies beyond it. */
export function markSpikes(u: uPlot, spikes: readonly Spike[]): void {
  if (spikes.length === 0) return;
  const { ctx, bbox } = u;
  const size = MARK_PX * devicePixelRatio;
  const bottom = bbox.top + bbox.height;
  ctx.save();
  ctx.lineWidth = devicePixelRatio;
  for (const { x, mean, extreme, line } of spikes) {
    const px = Math.round(u.valToPos(x, "x", true)) + 0.5;
    if (px < bbox.left || px > bbox.left + bbox.width) continue;
    const scale = line.right ? "right" : "y";
    const y = (value: number): number => {
      const at = u.valToPos(value, scale, true);
      return Number.isFinite(at) ? at : extreme > mean ? bbox.top : bottom;
    };
    const end = y(extreme);
    const hue = token(`s${line.hue}`);
    ctx.strokeStyle = faded(hue, 0.45);
    ctx.fillStyle = hue;
    ctx.beginPath();
    ctx.moveTo(px, Math.min(bottom, Math.max(bbox.top, y(mean))));
    ctx.lineTo(px, Math.min(bottom, Math.max(bbox.top, end)));
    ctx.stroke();
    if (end >= bbox.top && end <= bottom) continue;
    const edge = end < bbox.top ? bbox.top : bottom;
    const inwards = end < bbox.top ? size : -size;
    ctx.beginPath();
    ctx.moveTo(px, edge);
    ctx.lineTo(px - size * 0.8, edge + inwards * 1.4);
    ctx.lineTo(px + size * 0.8, edge + inwards * 1.4);
    ctx.fill();
  }
  ctx.restore();
}

/** NaN and infinite values: a mark on the floor where the line is missing. */
export function markBroken(u: uPlot, at: readonly number[]): void {
  if (at.length === 0) return;
  const { ctx, bbox } = u;
  ctx.save();
  ctx.fillStyle = token("bad");
  for (const x of at) {
    const px = u.valToPos(x, "x", true);
    if (px < bbox.left || px > bbox.left + bbox.width) continue;
    ctx.fillRect(px - 1, bbox.top + bbox.height - 6, 2, 6);
  }
  ctx.restore();
}

const FLAG_PX = 6;
/** So near the pointer must be for a flag to be told. */
export const NEAR_PX = 6;

/**
 * Flags: small marks hanging from the upper edge, where checkpoints and the like were.
 *
 * @param marked an x that somebody points at elsewhere, drawn as a line; null for none.
 */
export function markFlags(u: uPlot, flags: readonly Flag[], axis: Axis, marked: number | null): void {
  const { ctx, bbox } = u;
  const size = FLAG_PX * devicePixelRatio;
  const place = (x: number): number => Math.round(u.valToPos(x, "x", true)) + 0.5;
  const seen = (px: number): boolean => px >= bbox.left && px <= bbox.left + bbox.width;
  ctx.save();
  for (const { at, grave } of flags) {
    const px = place(at[axis]);
    if (!seen(px)) continue;
    ctx.fillStyle = token(grave ? "bad" : "ink-3");
    ctx.beginPath();
    ctx.moveTo(px - size * 0.6, bbox.top);
    ctx.lineTo(px + size * 0.6, bbox.top);
    ctx.lineTo(px, bbox.top + size);
    ctx.fill();
  }
  if (marked !== null && seen(place(marked))) {
    ctx.strokeStyle = token("accent");
    ctx.lineWidth = devicePixelRatio;
    ctx.beginPath();
    ctx.moveTo(place(marked), bbox.top);
    ctx.lineTo(place(marked), bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}
