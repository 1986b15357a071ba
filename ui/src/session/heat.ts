/** Histograms beside one another as a strip: a column each, as dark as values are dense. */

export interface Bins {
  readonly counts: readonly number[];
  readonly edges: readonly number[];
}

/** The least and greatest edge of all; null where there is no bin. */
export function reach(histograms: readonly Bins[]): [number, number] | null {
  let low = Infinity;
  let high = -Infinity;
  for (const { edges } of histograms) {
    low = Math.min(low, edges[0] ?? Infinity);
    high = Math.max(high, edges.at(-1) ?? -Infinity);
  }
  return low < high ? [low, high] : null;
}

/** The share of values in each of `rows` equal parts of [low, high], the lowest first; 0…1. */
export function shares({ counts, edges }: Bins, low: number, high: number, rows: number): Float64Array {
  const found = new Float64Array(rows);
  let total = 0;
  for (const count of counts) total += count;
  if (total === 0) return found;
  const scale = rows / (high - low);
  counts.forEach((count, i) => {
    const from = ((edges[i] ?? 0) - low) * scale;
    const to = ((edges[i + 1] ?? 0) - low) * scale;
    const last = Math.min(rows - 1, Math.floor(to));
    for (let row = Math.max(0, Math.floor(from)); row <= last; row += 1) {
      const part = (Math.min(to, row + 1) - Math.max(from, row)) / (to - from);
      found[row] = (found[row] ?? 0) + (count / total) * Math.max(0, part);
    }
  });
  return found;
}

/** Draws the strip over the whole canvas, in device pixels; `shade` gives the colour of a density of 0…1. */
export function drawHeat(
  canvas: HTMLCanvasElement,
  histograms: readonly Bins[],
  shade: (density: number) => string,
  rows: number,
): void {
  const context = canvas.getContext("2d");
  const range = reach(histograms);
  if (context === null) return;
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (range === null) return;
  const wide = canvas.width / histograms.length;
  const tall = canvas.height / rows;
  histograms.forEach((one, column) => {
    const dense = shares(one, range[0], range[1], rows);
    const most = Math.max(...dense);
    const left = Math.round(column * wide);
    const width = Math.max(1, Math.round((column + 1) * wide) - left);
    dense.forEach((share, row) => {
      if (share === 0) return;
      context.fillStyle = shade(share / most);
      const top = Math.round((rows - 1 - row) * tall);
      context.fillRect(left, top, width, Math.round((rows - row) * tall) - top);
    });
  });
}
