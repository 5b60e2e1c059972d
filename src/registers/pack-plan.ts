/**
 * Which packs a worker will probably read next: the main thread says so as it hands out work, and the worker reads it
 * when it has time to fetch ahead, though its tasks still wait to be read.
 */

/** Packs that are remembered; of more, the first are forgotten. */
const PACKS_MAX = 256;

/** A ring of ordinals behind the count of all that there were. */
export function newPackPlan(): Int32Array<SharedArrayBuffer> {
  return new Int32Array(new SharedArrayBuffer((1 + PACKS_MAX) * 4));
}

/** Adds a pack to what is planned, unless it was added last. */
export function planPack(plan: Int32Array<SharedArrayBuffer>, ordinal: number): void {
  const count = Atomics.load(plan, 0);
  if (count > 0 && plan[1 + ((count - 1) % PACKS_MAX)] === ordinal) return;
  plan[1 + (count % PACKS_MAX)] = ordinal;
  Atomics.store(plan, 0, count + 1);
}

/** Reads what is planned, in order, each once. */
export class PackPlan {
  readonly #plan: Int32Array<SharedArrayBuffer>;
  #read = 0;

  constructor(plan: Int32Array<SharedArrayBuffer>) {
    this.#plan = plan;
  }

  /** The next ordinal; undefined when no more is planned yet. */
  next(): number | undefined {
    const count = Atomics.load(this.#plan, 0);
    // One less than there is room for: the oldest may be written over while it is read.
    this.#read = Math.max(this.#read, count - PACKS_MAX + 1);
    if (this.#read >= count) return undefined;
    return this.#plan[1 + (this.#read++ % PACKS_MAX)];
  }
}
