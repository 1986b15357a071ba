/**
 * One redraw per animation frame: everything that is due is drawn together, once. What takes too
 * long for one frame goes on in the next, in the order in which it was asked for, so that the page
 * stays smooth under the hand however much comes in.
 */

/** Milliseconds of a frame that drawing may begin in; the browser paints in the rest of its 16. */
const BUDGET_MS = 5;

const due = new Set<() => void>();
let asked = false;

function flush(): void {
  asked = false;
  const end = performance.now() + BUDGET_MS;
  for (const draw of [...due]) {
    due.delete(draw);
    draw();
    if (performance.now() >= end) break;
  }
  if (due.size > 0) ask();
}

function ask(): void {
  if (asked) return;
  asked = true;
  requestAnimationFrame(flush);
}

/** Asks for `draw` at the next animation frame. Asking again before then changes nothing. */
export function onNextFrame(draw: () => void): void {
  due.add(draw);
  ask();
}

/** Takes back what {@link onNextFrame} asked for, as when its owner leaves the page. */
export function forgetFrame(draw: () => void): void {
  due.delete(draw);
}
