/**
 * A fixed number of live points in typed arrays: the newest stay, the oldest make room.
 *
 * Nothing is allocated after construction, so a fast stream costs no garbage.
 */
export class PointRing {
  readonly capacity: number;
  readonly #seq: Float64Array;
  readonly #x: Float64Array;
  readonly #value: Float64Array;
  #start = 0;
  #length = 0;
  /** Sequence number of the newest point that had to make room; -1 while all are here. */
  lostThrough = -1;

  /** @param capacity how many points stay; at least 1. */
  constructor(capacity: number) {
    if (!Number.isInteger(capacity) || capacity < 1) {
      throw new RangeError(`A ring holds at least one point, not ${capacity}.`);
    }
    this.capacity = capacity;
    this.#seq = new Float64Array(capacity);
    this.#x = new Float64Array(capacity);
    this.#value = new Float64Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  push(seq: number, x: number, value: number): void {
    let at = this.#start + this.#length;
    if (at >= this.capacity) at -= this.capacity;
    if (this.#length === this.capacity) {
      this.lostThrough = this.#seq[at] ?? -1;
      this.#start = at + 1 === this.capacity ? 0 : at + 1;
    } else {
      this.#length += 1;
    }
    this.#seq[at] = seq;
    this.#x[at] = x;
    this.#value[at] = value;
  }

  /** Forgets every point whose sequence number is at most `seq`: the store has them now. */
  dropThrough(seq: number): void {
    while (this.#length > 0 && (this.#seq[this.#start] ?? 0) <= seq) {
      this.#start = this.#start + 1 === this.capacity ? 0 : this.#start + 1;
      this.#length -= 1;
    }
    if (this.lostThrough <= seq) this.lostThrough = -1;
  }

  clear(): void {
    this.#start = 0;
    this.#length = 0;
    this.lostThrough = -1;
  }

  /** Calls `visit(x, value, seq)` from the oldest point to the newest. */
  each(visit: (x: number, value: number, seq: number) => void): void {
    for (let i = 0; i < this.#length; i += 1) {
      let at = this.#start + i;
      if (at >= this.capacity) at -= this.capacity;
      visit(this.#x[at] ?? NaN, this.#value[at] ?? NaN, this.#seq[at] ?? 0);
    }
  }
}
