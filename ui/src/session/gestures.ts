/**
 * What hands do on a chart besides dragging to zoom: pan with shift or a sideways wheel, zoom with
 * ctrl and the wheel (which is also how a touchpad's pinch comes), pinch and drag with fingers.
 */

export interface Surface {
  /** What is in view now, on the x axis; null where nothing is drawn. */
  readonly view: () => readonly [from: number, to: number] | null;
  /** Whether that is less than everything. */
  readonly zoomed: () => boolean;
  /** Wants to look at another stretch; `moving` while the hand goes on. */
  readonly onLook: (from: number, to: number, moving: boolean) => void;
  /** One finger lies here: show the values, null when it has left. */
  readonly onPoint: (left: number | null) => void;
}

const WHEEL_STEP = 1.0015;
const LINE_PX = 16;

/** Binds them to `over`, the drawn area; returns how to unbind. */
export function bindGestures(over: HTMLElement, surface: Surface): () => void {
  const fingers = new Map<number, number>();
  let held: readonly [number, number] | null = null;
  /** Where fingers or mouse were when `held` was in view: middle and distance, in pixels. */
  let start = { middle: 0, apart: 0 };
  let mouse: number | null = null;

  const width = (): number => over.clientWidth || 1;
  const left = (event: MouseEvent): number => event.clientX - over.getBoundingClientRect().left;

  function pan(view: readonly [number, number], pixels: number, moving: boolean): void {
    const on = (pixels / width()) * (view[1] - view[0]);
    surface.onLook(view[0] + on, view[1] + on, moving);
  }
  function scale(view: readonly [number, number], at: number, by: number, moving: boolean): void {
    const middle = view[0] + (at / width()) * (view[1] - view[0]);
    surface.onLook(middle - (middle - view[0]) * by, middle + (view[1] - middle) * by, moving);
  }

  function wheel(event: WheelEvent): void {
    const view = surface.view();
    if (view === null) return;
    const unit = event.deltaMode === 1 ? LINE_PX : event.deltaMode === 2 ? width() : 1;
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      // A wheel's click is some hundred pixels, a pinch's step a few: those count for more.
      const pinched = Math.abs(event.deltaY) < 20 ? 6 : 1;
      scale(view, left(event), WHEEL_STEP ** (event.deltaY * unit * pinched), true);
      return;
    }
    const sideways = event.shiftKey && event.deltaX === 0 ? event.deltaY : event.deltaX;
    if (!surface.zoomed() || Math.abs(sideways) < (event.shiftKey ? 1 : Math.abs(event.deltaY))) return;
    event.preventDefault();
    pan(view, sideways * unit, true);
  }

  function mouseMoved(event: MouseEvent): void {
    if (held !== null && mouse !== null) pan(held, mouse - left(event), true);
  }
  function mouseUp(event: MouseEvent): void {
    if (held !== null && mouse !== null) pan(held, mouse - left(event), false);
    mouse = held = null;
    over.style.cursor = "";
    removeEventListener("mousemove", mouseMoved);
    removeEventListener("mouseup", mouseUp);
  }
  function mouseDown(event: MouseEvent): void {
    if (!event.shiftKey || event.button !== 0 || !surface.zoomed()) return;
    event.preventDefault();
    held = surface.view();
    mouse = left(event);
    over.style.cursor = "grabbing";
    addEventListener("mousemove", mouseMoved);
    addEventListener("mouseup", mouseUp);
  }

  function grip(): { middle: number; apart: number } {
    const at = [...fingers.values()];
    const low = Math.min(...at);
    const high = Math.max(...at);
    return { middle: (low + high) / 2, apart: at.length > 1 ? Math.max(24, high - low) : 0 };
  }
  function hold(): void {
    held = fingers.size > 0 ? surface.view() : null;
    if (fingers.size > 0) start = grip();
  }
  function fingerDown(event: PointerEvent): void {
    if (event.pointerType !== "touch") return;
    fingers.set(event.pointerId, left(event));
    over.setPointerCapture(event.pointerId);
    hold();
    if (fingers.size > 1) surface.onPoint(null);
  }
  function follow(moving: boolean): void {
    if (held === null) return;
    const now = grip();
    if (fingers.size > 1) {
      const by = start.apart / now.apart;
      const span = held[1] - held[0];
      // What lay between the fingers stays between them.
      const middle = held[0] + (start.middle / width()) * span;
      const from = middle - (now.middle / width()) * span * by;
      surface.onLook(from, from + span * by, moving);
    } else if (surface.zoomed()) {
      pan(held, start.middle - now.middle, moving);
    } else if (moving) {
      surface.onPoint(now.middle);
    }
  }
  function fingerMoved(event: PointerEvent): void {
    if (!fingers.has(event.pointerId)) return;
    fingers.set(event.pointerId, left(event));
    follow(true);
  }
  function fingerUp(event: PointerEvent): void {
    if (!fingers.has(event.pointerId)) return;
    if (fingers.size > 1 || surface.zoomed()) follow(false);
    fingers.delete(event.pointerId);
    hold();
    if (fingers.size === 0) surface.onPoint(null);
  }

  // Up and down the page scrolls, everything else is ours.
  over.style.touchAction = "pan-y";
  over.addEventListener("wheel", wheel, { passive: false });
  over.addEventListener("mousedown", mouseDown);
  over.addEventListener("pointerdown", fingerDown);
  over.addEventListener("pointermove", fingerMoved);
  over.addEventListener("pointerup", fingerUp);
  over.addEventListener("pointercancel", fingerUp);
  return () => {
    removeEventListener("mousemove", mouseMoved);
    removeEventListener("mouseup", mouseUp);
    over.removeEventListener("wheel", wheel);
    over.removeEventListener("mousedown", mouseDown);
    over.removeEventListener("pointerdown", fingerDown);
    over.removeEventListener("pointermove", fingerMoved);
    over.removeEventListener("pointerup", fingerUp);
    over.removeEventListener("pointercancel", fingerUp);
  };
}
