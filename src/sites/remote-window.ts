/**
 * How many calls to a site run at once. Few are right for a disk next door, many for a site 80 ms away, and
 * nobody should have to say which it is. So it is found out, by hill climbing on what gets done:
 *
 *   - A round is as many calls as may run at once, ended while others were waiting for their turn.
 *   - Its speed is work by time: the bytes of its calls, and for each call as much as 16 KiB.
 *   - When the last step up made it faster by a tenth, or there was none yet, the window is doubled; when it did
 *     not, the step is taken back, and none is tried for the next 16 rounds.
 *   - A call that the site did not answer halves the window, and also none is tried for 16 rounds.
 *   - A few small calls go beside a window that is full: who reads a table waits for no megabytes before it.
 */
import { ExclaveError } from "../errors.ts";

const CALL_WORTH_BYTES = 16 * 1024;
const GAIN_LEAST = 1.1;
const ROUNDS_AT_REST = 16;
/** What moves no more may go beside, and so many of these at once. */
const SMALL_BYTES_MAX = 128 * 1024;
const BESIDE_MAX = 4;
/** A round of fewer calls says little. */
const ROUND_CALLS_MIN = 8;

export type WindowOptions = {
  /** The site's name, for errors. */
  readonly site: string;
  readonly callsAtFirst: number;
  readonly callsMax: number;
  /** Milliseconds that only grow. */
  readonly clock?: () => number;
};

export class CallWindow {
  readonly #options: WindowOptions;
  readonly #clock: () => number;
  readonly #waiting = new Set<() => void>();
  #size: number;
  #running = 0;
  #beside = 0;
  #round: { readonly began: number; calls: number; work: number } | undefined;
  /** The speed before the last step up, and the size that it was had with. */
  #before: { readonly speed: number; readonly size: number } | undefined;
  #restRounds = 0;

  constructor(options: WindowOptions) {
    this.#options = options;
    this.#clock = options.clock ?? (() => performance.now());
    this.#size = options.callsAtFirst;
  }

  /** Calls that may run at once now. */
  get size(): number {
    return this.#size;
  }

  /**
   * Makes the call when it is its turn. Rejects with `site-unavailable` when the signal says so before that.
   *
   * @param bytes of the bodies that it moves, at most
   */
  async run<T>(call: () => Promise<T>, bytes: number, signal?: AbortSignal): Promise<T> {
    if (this.#running >= this.#size) {
      if (bytes <= SMALL_BYTES_MAX && this.#beside < BESIDE_MAX) return this.#runBeside(call);
      await this.#turn(signal);
    } else this.#running++;
    try {
      return await call();
    } finally {
      this.#running--;
      this.#count(bytes);
      this.#admit();
    }
  }

  async #runBeside<T>(call: () => Promise<T>): Promise<T> {
    this.#beside++;
    try {
      return await call();
    } finally {
      this.#beside--;
    }
  }

  /** The site did not answer, or asked for patience. */
  trouble(): void {
    this.#size = Math.max(Math.min(this.#options.callsAtFirst, this.#size), this.#size >> 1);
    this.#before = undefined;
    this.#round = undefined;
    this.#restRounds = ROUNDS_AT_REST;
  }

  async #turn(signal: AbortSignal | undefined): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const leave = (): void => {
      this.#waiting.delete(resolve);
      const { site } = this.#options;
      reject(new ExclaveError("site-unavailable", `site ${site} was not waited for any longer`));
    };
    this.#waiting.add(resolve);
    signal?.addEventListener("abort", leave, { once: true });
    if (signal?.aborted) leave();
    try {
      await promise;
    } finally {
      signal?.removeEventListener("abort", leave);
    }
  }

  /** Lets in who waits, as far as there is room: each is counted from here on, so that nobody slips in between. */
  #admit(): void {
    for (const enter of this.#waiting) {
      if (this.#running >= this.#size) return;
      this.#waiting.delete(enter);
      this.#running++;
      enter();
    }
  }

  #count(bytes: number): void {
    // With nobody waiting, what gets done says nothing about what could be.
    if (this.#waiting.size === 0) {
      this.#round = undefined;
      return;
    }
    const round = this.#round;
    if (!round) {
      this.#round = { began: this.#clock(), calls: 0, work: 0 };
      return;
    }
    round.calls++;
    round.work += bytes + CALL_WORTH_BYTES;
    if (round.calls < Math.max(ROUND_CALLS_MIN, this.#size)) return;
    this.#round = undefined;
    this.#step(round.work / Math.max(this.#clock() - round.began, 0.001));
  }

  #step(speed: number): void {
    const before = this.#before;
    this.#before = undefined;
    if (before && speed < before.speed * GAIN_LEAST) {
      this.#size = before.size;
      this.#restRounds = ROUNDS_AT_REST;
      return;
    }
    if (this.#restRounds > 0) {
      this.#restRounds--;
      return;
    }
    if (this.#size >= this.#options.callsMax) return;
    this.#before = { speed, size: this.#size };
    this.#size = Math.min(this.#size * 2, this.#options.callsMax);
  }
}
