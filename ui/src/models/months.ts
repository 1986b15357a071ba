/** One month pointed at in all charts of an evaluation at once. */

/** Where a pointer stands, as a month from 0. */
export function monthAt(event: PointerEvent, months: number, left: number, right: number): number {
  const box = (event.currentTarget as Element).getBoundingClientRect();
  const share = (event.clientX - box.left - left) / Math.max(1, box.width - left - right);
  return Math.round(Math.min(1, Math.max(0, share)) * (months - 1));
}

/** The month a key leads to from another; null leaves, undefined where the key means nothing here. */
export function monthBy(key: string, month: number | null, months: number): number | null | undefined {
  const last = months - 1;
  const from = month ?? last;
  switch (key) {
    case "ArrowLeft":
    case "ArrowDown":
      return Math.max(0, from - 1);
    case "ArrowRight":
    case "ArrowUp":
      return Math.min(last, from + 1);
    case "PageDown":
      return Math.max(0, from - 12);
    case "PageUp":
      return Math.min(last, from + 12);
    case "Home":
      return 0;
    case "End":
      return last;
    case "Escape":
      return null;
    default:
      return undefined;
  }
}
