/** A small library of its own: a socket that survives, series that grow, one draw per frame. */
export { forgetFrame, onNextFrame } from "./frame";
export { clipped, Lens, nearest } from "./lens";
export { PointRing } from "./ring";
export { columnsFrom, numberFrom, Series, SeriesSet, type Columns, type Drawable, type Drawn } from "./series";
export { comesBack, LiveSocket, waitBefore, type Back, type Envelope, type Link } from "./socket";
