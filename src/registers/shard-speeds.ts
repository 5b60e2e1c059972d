/**
 * How fast shards come, by index: each index is at one site. The main thread measures; workers go by it when they
 * choose which k of the n to read, and who takes much longer than is usual is given up where others can be asked.
 *
 * A fetch is expected to take latency + bytes / throughput, each a moving average: latency over small fetches,
 * throughput over what the larger ones took beyond it. What is under way of the same index already is before it.
 */
import { FETCH_DONE, FETCH_LATE } from "./read-messages.ts";

/** Weight of the newest measurement. */
const ALPHA = 0.2;
/** Larger fetches say something about throughput, smaller ones about latency. */
const SMALL_BYTES = 64 * 1024;
/** What indices are compared by: about what is fetched of one shard at once. */
const USUAL_BYTES = 256 * 1024;
/** Below this all are alike: there is more to lose by rebuilding pieces than by waiting. */
const ALIKE_MS = 10;
/** What was measured so long ago says nothing; the site is tried like a new one. */
const FORGOTTEN_AFTER_MS = 60_000;
/** A fetch is late after so many times what is usual, and not before `LATE_MS_MIN`. */
const LATE_FACTOR = 4;
const LATE_MS_MIN = 1000;
/** While it is not known how fast anything comes: so long, and for as many bytes as at this rate. */
const LATE_MS_AT_FIRST = 3000;
const BYTES_PER_MS_AT_FIRST = 512;

type Speed = {
  latencyMs: number | undefined;
  bytesPerMs: number | undefined;
  measuredAt: number;
  /** Of fetches under way. */
  bytesUnderWay: number;
};

export type ShardSpeedsOptions = {
  /** Milliseconds that only grow. */
  readonly clock?: () => number;
  /** Calls back after so many ms; gives what takes that back. */
  readonly after?: (ms: number, callback: () => void) => () => void;
};

export class ShardSpeeds {
  /** For each index what `USUAL_BYTES` are expected to take, in microseconds; 0 while it is not known. */
  readonly shared: Int32Array<SharedArrayBuffer>;
  readonly #speeds: readonly Speed[];
  readonly #clock: () => number;
  readonly #after: (ms: number, callback: () => void) => () => void;

  constructor(indices: number, options: ShardSpeedsOptions = {}) {
    const { clock = () => performance.now(), after = afterMs } = options;
    this.#clock = clock;
    this.#after = after;
    this.shared = new Int32Array(new SharedArrayBuffer(Math.max(indices, 1) * 4));
    this.#speeds = Array.from({ length: indices }, () => ({
      latencyMs: undefined,
      bytesPerMs: undefined,
      measuredAt: 0,
      bytesUnderWay: 0,
    }));
  }

  /**
   * Runs a fetch of the shard of an index, and learns from how long it takes.
   *
   * @param mayBeLate whether the signal tells it to stop when it takes unusually long
   * @param fetch gives a `FETCH_*`
   */
  async timed(
    index: number,
    bytes: number,
    mayBeLate: boolean,
    fetch: (signal: AbortSignal | undefined) => Promise<number>,
  ): Promise<number> {
    const began = this.#clock();
    const late = mayBeLate ? new AbortController() : undefined;
    const speed = this.#speeds[index];
    const withThoseBefore = bytes + (speed?.bytesUnderWay ?? 0);
    if (speed) speed.bytesUnderWay += bytes;
    const cancel = late && this.#after(this.lateMs(index, withThoseBefore), () => late.abort());
    try {
      const status = await fetch(late?.signal);
      const ms = this.#clock() - began;
      // What was given up would have taken longer still, so it counts whole.
      if (status === FETCH_LATE) this.#measure(index, bytes, ms, 1);
      if (status === FETCH_DONE) this.#measure(index, bytes, ms, ALPHA);
      return status;
    } finally {
      if (speed) speed.bytesUnderWay -= bytes;
      cancel?.();
    }
  }

  /**
   * Calls back when who waits for what was asked of an index ahead waits unusually long: for all that is under way
   * there, and as much again, since other indices have their share of the line. Gives what takes that back.
   */
  whenLate(index: number, callback: () => void): () => void {
    const bytes = this.#speeds[index]?.bytesUnderWay ?? 0;
    return this.#after(this.lateMs(index, 2 * bytes), callback);
  }

  /** After how long a fetch is late: some times as long as this index, or most of them, usually take. */
  lateMs(index: number, bytes: number): number {
    // Round trips say nothing about what takes longer.
    const isKnown = ({ bytesPerMs }: Speed): boolean =>
      bytes <= SMALL_BYTES || bytesPerMs !== undefined;
    const all = this.#speeds
      .flatMap((speed) => (isKnown(speed) ? (expectedMs(speed, bytes) ?? []) : []))
      .sort((a, b) => a - b);
    const median = all[all.length >> 1];
    if (median === undefined) return LATE_MS_AT_FIRST + bytes / BYTES_PER_MS_AT_FIRST;
    const speed = this.#speeds[index];
    const own = (speed && isKnown(speed) && expectedMs(speed, bytes)) || 0;
    return Math.max(LATE_MS_MIN, LATE_FACTOR * Math.max(median, own));
  }

  #measure(index: number, bytes: number, ms: number, weight: number): void {
    const speed = this.#speeds[index];
    if (!speed) return;
    if (bytes <= SMALL_BYTES) speed.latencyMs = average(speed.latencyMs, ms, weight);
    else {
      const beyond = Math.max(ms - (speed.latencyMs ?? 0), ms / 8, 0.001);
      speed.bytesPerMs = average(speed.bytesPerMs, bytes / beyond, weight);
    }
    speed.measuredAt = this.#clock();
    for (const [i, one] of this.#speeds.entries()) {
      if (speed.measuredAt - one.measuredAt > FORGOTTEN_AFTER_MS) {
        one.latencyMs = undefined;
        one.bytesPerMs = undefined;
      }
      const micros = Math.min(Math.ceil((expectedMs(one, USUAL_BYTES) ?? 0) * 1000), 2 ** 31 - 1);
      Atomics.store(this.shared, i, micros);
    }
  }
}

function expectedMs({ latencyMs, bytesPerMs }: Speed, bytes: number): number | undefined {
  if (latencyMs === undefined && bytesPerMs === undefined) return undefined;
  return (latencyMs ?? 0) + (bytesPerMs === undefined ? 0 : bytes / bytesPerMs);
}

function average(before: number | undefined, latest: number, weight: number): number {
  return before === undefined ? latest : before + weight * (latest - before);
}

function afterMs(ms: number, callback: () => void): () => void {
  const timer = setTimeout(callback, ms);
  return () => clearTimeout(timer);
}

/**
 * For each of n indices how much slower it is than the fastest, in powers of two, so that what is about as fast ranks
 * the same and choices do not flicker. 0 for those that are not known.
 */
export function slownessOf(shared: Int32Array<SharedArrayBuffer>, n: number): readonly number[] {
  const expected = Array.from({ length: n }, (_, i) =>
    i < shared.length ? Atomics.load(shared, i) / 1000 : 0,
  );
  const known = expected.filter((ms) => ms > 0);
  const fastest = Math.max(ALIKE_MS, Math.min(...known));
  return expected.map((ms) => Math.max(0, Math.floor(Math.log2(Math.max(ms, 0.001) / fastest))));
}
