/**
 * An exponential moving average that looks the same however finely the curve is sampled.
 *
 * The weight of the past falls with the distance in x, not with the number of points: `amount`
 * (0…1) is what remains after 1/200 of the width, so 600 buckets and 40 buckets of one run give
 * the same line. Debiased at the start as in Adam (Kingma and Ba 2015, section 3), so the first
 * value does not drag.
 */
const STEPS_A_WIDTH = 200;

/** @returns one value per point; NaN and infinite values are passed through and not averaged. */
export function smoothed(
  x: readonly number[],
  y: readonly number[],
  amount: number,
  width: number,
): number[] {
  if (amount <= 0 || x.length < 3 || !(width > 0)) return y as number[];
  const out = new Array<number>(y.length);
  let mean = 0;
  let weight = 0;
  let before = x[0] ?? 0;
  // Buckets lie at even distances, mostly: the power is reckoned once for all of them.
  let apart = NaN;
  let keep = 0;
  for (let i = 0; i < y.length; i += 1) {
    const value = y[i] ?? NaN;
    const here = x[i] ?? before;
    if (!Number.isFinite(value)) {
      out[i] = value;
      continue;
    }
    const distance = Math.max(0, here - before) * (STEPS_A_WIDTH / width);
    before = here;
    // Points closer than a step share it, so dense data does not escape the average.
    if (distance !== apart) {
      apart = distance;
      keep = amount ** Math.max(distance, 1e-6);
    }
    mean = keep * mean + (1 - keep) * value;
    weight = keep * weight + (1 - keep);
    out[i] = weight > 0 ? mean / weight : value;
  }
  return out;
}
