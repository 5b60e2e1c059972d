/**
 * Memory for the bodies of requests: one block of fixed size, handed out in whole pages and taken back. Who finds
 * no room waits in line before a byte of the body is read, so however many send at once, the daemon grows
 * no further; and a body lies on a page boundary, as writing past the page cache wants it.
 */
import { ExclaveError, invariant } from "../errors.ts";

/** What WebAssembly counts memory in; pages of the system fit in it. */
const UNIT_BYTES = 64 * 1024;

export type Room = {
  /** Exactly as many bytes as were asked for; what is in them is another's old body. */
  readonly bytes: Uint8Array;
  /** Gives them back; again is no error. Nothing touches `bytes` after that. */
  release(): void;
};

type Waiter = {
  readonly owner: string;
  readonly units: number;
  readonly bytes: number;
  readonly resolve: (room: Room) => void;
};

export class BodyRoom {
  readonly #memory: WebAssembly.Memory;
  readonly #taken: Uint8Array;
  readonly #ownerUnitsMax: number;
  readonly #waitersMax: number;
  readonly #ofOwner = new Map<string, number>();
  #waiting: Waiter[] = [];
  #unitsTaken = 0;

  /** @param ownerBytesMax how much of it one owner has at once */
  constructor(bytes: number, ownerBytesMax: number, waitersMax: number) {
    const units = unitsOf(bytes);
    this.#memory = new WebAssembly.Memory({ initial: units, maximum: units, shared: true });
    this.#taken = new Uint8Array(units);
    this.#ownerUnitsMax = Math.min(units, unitsOf(ownerBytesMax));
    this.#waitersMax = waitersMax;
  }

  /** Bytes that are handed out, in whole units. */
  get bytesTaken(): number {
    return this.#unitsTaken * UNIT_BYTES;
  }

  /** Requests in line. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /**
   * Room for so many bytes, when there is some. Rejects with `site-unavailable` when too many wait already, or none is
   * found before `msMax` is over or the signal is given; with `malformed` for more than there ever is.
   *
   * @param owner whose share it counts to
   */
  async take(bytes: number, owner: string, msMax: number, signal: AbortSignal): Promise<Room> {
    const units = Math.max(1, unitsOf(bytes));
    if (units > this.#ownerUnitsMax) {
      throw new ExclaveError("malformed", `a body of ${bytes} bytes is longer than any object`);
    }
    if (this.#waiting.length === 0) {
      const room = this.#find(owner, units, bytes);
      if (room) return room;
    }
    if (this.#waiting.length >= this.#waitersMax) throw noRoom();
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        done();
        this.#waiting = this.#waiting.filter((one) => one !== waiter);
        reject(noRoom());
        this.#serve();
      };
      const timer = setTimeout(leave, msMax);
      signal.addEventListener("abort", leave, { once: true });
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", leave);
      };
      const waiter: Waiter = {
        owner,
        units,
        bytes,
        resolve: (room) => {
          done();
          resolve(room);
        },
      };
      this.#waiting.push(waiter);
      if (signal.aborted) leave();
      else this.#serve();
    });
  }

  /** In order; an owner who has its share is passed over, and who waits for a hole holds the others back. */
  #serve(): void {
    const still: Waiter[] = [];
    let blocked = false;
    for (const waiter of this.#waiting) {
      const { owner, units, bytes } = waiter;
      const room = blocked ? undefined : this.#find(owner, units, bytes);
      if (room) waiter.resolve(room);
      else {
        still.push(waiter);
        if (!this.#hasShare(owner, units)) continue;
        blocked = true;
      }
    }
    this.#waiting = still;
  }

  #hasShare(owner: string, units: number): boolean {
    return (this.#ofOwner.get(owner) ?? 0) + units <= this.#ownerUnitsMax;
  }

  /** The first hole that is large enough: low pages are used again before high ones are touched. */
  #find(owner: string, units: number, bytes: number): Room | undefined {
    if (!this.#hasShare(owner, units)) return undefined;
    let free = 0;
    for (let at = 0; at < this.#taken.length; at++) {
      free = this.#taken[at] === 0 ? free + 1 : 0;
      if (free === units) return this.#hand(owner, at - units + 1, units, bytes);
    }
    return undefined;
  }

  #hand(owner: string, first: number, units: number, bytes: number): Room {
    this.#taken.fill(1, first, first + units);
    this.#unitsTaken += units;
    this.#ofOwner.set(owner, (this.#ofOwner.get(owner) ?? 0) + units);
    let held = true;
    return {
      bytes: new Uint8Array(this.#memory.buffer, first * UNIT_BYTES, bytes),
      release: () => {
        if (!held) return;
        held = false;
        this.#taken.fill(0, first, first + units);
        this.#unitsTaken -= units;
        const left = (this.#ofOwner.get(owner) ?? 0) - units;
        invariant(left >= 0, "an owner gives back what it has");
        if (left === 0) this.#ofOwner.delete(owner);
        else this.#ofOwner.set(owner, left);
        this.#serve();
      },
    };
  }
}

function unitsOf(bytes: number): number {
  return Math.ceil(bytes / UNIT_BYTES);
}

function noRoom(): ExclaveError {
  return new ExclaveError(
    "site-unavailable",
    "the site has its hands full with other requests. Nothing was stored; send it again later",
  );
}
