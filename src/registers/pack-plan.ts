/**
 * What a worker will probably read next: the main thread says so as it hands out work, and the worker looks when it has
 * time to fetch ahead, though its tasks still wait to be read.
 *
 * It is told in visits: what is read of a pack with little of others in between. A pack that a writer had open for long
 * is visited again much later, and what is fetched for later is gone by then.
 */

/** Visits that are remembered; of more, the first are forgotten. */
const VISITS_MAX = 256;
/** Of a visit: the pack's ordinal, and from where to where it goes in the pack, in `PLAN_UNIT`ths. */
const VISIT_WORDS = 3;
export const PLAN_UNIT = 65_536;
/** A visit that is shorter is not worth to be planned. */
const VISIT_BYTES_MIN = 1024 * 1024;
/** Bytes of others, after which it is another visit: a worker keeps few packs open. */
const GAP_BYTES_MAX = 24 * 1024 * 1024;

/** The shared memory of a plan: a ring of visits behind the count of all that there were. */
export function newPackPlan(): Int32Array<SharedArrayBuffer> {
  return new Int32Array(new SharedArrayBuffer((1 + VISITS_MAX * VISIT_WORDS) * 4));
}

function placeOf(visit: number): number {
  return 1 + (visit % VISITS_MAX) * VISIT_WORDS;
}

/** Content that lies in the pack of that ordinal: its bytes, and from where to where in the pack, of `PLAN_UNIT`. */
export type PackStretch = {
  readonly pack: number;
  readonly bytes: number;
  readonly start: number;
  readonly end: number;
};

type Visit = {
  number: number | undefined;
  bytes: number;
  start: number;
  end: number;
  readTo: number;
};

/** The main thread's side, of one worker. */
export class PackPlanner {
  readonly #plan: Int32Array<SharedArrayBuffer>;
  /** By ordinal, the one that was added to last of all in the end. */
  readonly #visits = new Map<number, Visit>();
  #bytes = 0;

  constructor(plan: Int32Array<SharedArrayBuffer>) {
    this.#plan = plan;
  }

  /** The worker will read this, after what was added before. */
  add({ pack, bytes, start, end }: PackStretch): void {
    const before = this.#visits.get(pack);
    const goesOn = before && this.#bytes - before.readTo <= GAP_BYTES_MAX;
    const visit = goesOn ? before : { number: undefined, bytes: 0, start, end, readTo: 0 };
    this.#bytes += bytes;
    visit.bytes += bytes;
    visit.start = Math.min(visit.start, start);
    visit.end = Math.max(visit.end, end);
    visit.readTo = this.#bytes;
    this.#visits.delete(pack);
    this.#visits.set(pack, visit);
    const [oldest] = this.#visits.keys();
    if (this.#visits.size > VISITS_MAX && oldest !== undefined) this.#visits.delete(oldest);
    if (visit.bytes >= VISIT_BYTES_MIN) this.#write(pack, visit);
  }

  #write(ordinal: number, visit: Visit): void {
    const count = Atomics.load(this.#plan, 0);
    visit.number ??= count;
    if (visit.number < count - VISITS_MAX) return;
    const place = placeOf(visit.number);
    Atomics.store(this.#plan, place, ordinal);
    Atomics.store(this.#plan, place + 1, visit.end);
    Atomics.store(this.#plan, place + 2, visit.start);
    if (visit.number === count) Atomics.store(this.#plan, 0, count + 1);
  }
}

/** How far it goes, of `PLAN_UNIT`, is asked as late as it may be: it grows while more is handed out. */
export type PlannedVisit = {
  readonly ordinal: number;
  readonly start: number;
  readonly end: () => number;
};

/** The worker's side: reads what is planned, in order, each visit once. */
export class PackPlan {
  readonly #plan: Int32Array<SharedArrayBuffer>;
  #read = 0;

  constructor(plan: Int32Array<SharedArrayBuffer>) {
    this.#plan = plan;
  }

  /** The next visit; undefined when no more is planned yet. */
  next(): PlannedVisit | undefined {
    const count = Atomics.load(this.#plan, 0);
    // One less than there is room for: the oldest may be written over while it is read.
    this.#read = Math.max(this.#read, count - VISITS_MAX + 1);
    if (this.#read >= count) return undefined;
    const place = placeOf(this.#read++);
    const ordinal = Atomics.load(this.#plan, place);
    let end = Atomics.load(this.#plan, place + 1);
    return {
      ordinal,
      start: Atomics.load(this.#plan, place + 2),
      end: () => {
        if (this.#plan[place] === ordinal) end = Math.max(end, this.#plan[place + 1] ?? 0);
        return end;
      },
    };
  }
}
