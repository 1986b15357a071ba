/** One redraw per animation frame: everything that is due is drawn together, once. */

const due = new Set<() => void>();
let asked = false;

function flush(): void {
  asked = false;
  const work = [...due];
  due.clear();
  for (const draw of work) draw();
}

/** Asks for `draw` at the next animation frame. Asking again before then changes nothing. */
export function onNextFrame(draw: () => void): void {
  due.add(draw);
  if (!asked) {
    asked = true;
    requestAnimationFrame(flush);
  }
}

/** Takes back what {@link onNextFrame} asked for, as when its owner leaves the page. */
export function forgetFrame(draw: () => void): void {
  due.delete(draw);
}
