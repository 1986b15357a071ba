/** A small library of its own: a socket that survives, series that grow, one draw per frame. */
export { forgetFrame, onNextFrame } from "./frame";
export { PointRing } from "./ring";
export { columnsFrom, numberFrom, Series, SeriesSet, type Columns, type Drawn } from "./series";
export { comesBack, LiveSocket, waitBefore, type Envelope, type Link } from "./socket";
