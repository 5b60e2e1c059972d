/** Which of the workers that restore writes which file. */
import { contentItems } from "../../vault/entries.ts";

/** The ordinal of the pack that holds a chunk; undefined when no index lists it. */
export type PackOf = (id: Uint8Array) => number | undefined;

/** Bytes that one worker may have to write more than another before it is relieved of a pack: that is fetched twice then. */
const LOAD_DIFFERENCE_MAX = 64 * 1024 * 1024;
/** Packs of which is remembered who reads them: more than lie beside each other in the order of files. */
const PACKS_REMEMBERED_MAX = 256;

/**
 * Who writes what: what lies in one pack goes through one worker, so that no pack is fetched, verified and
 * opened twice; but a new pack, and one whose worker has far more to do, to whoever has the least.
 */
export class Assignment {
  readonly #packOf: PackOf;
  readonly #plan: (worker: number, pack: number) => void;
  /** Bytes that each worker has still to write. */
  readonly #load: number[];
  /** By pack, the latest last. */
  readonly #workers = new Map<number, number>();

  /** @param plan is told, in order, which packs a worker will read */
  constructor(
    workers: number,
    packOf: PackOf,
    plan: (worker: number, pack: number) => void = () => undefined,
  ) {
    this.#packOf = packOf;
    this.#plan = plan;
    this.#load = Array.from({ length: workers }, () => 0);
  }

  add(worker: number, bytes: number): void {
    this.#load[worker] = (this.#load[worker] ?? 0) + bytes;
  }

  workerFor(content: readonly Uint8Array[]): number {
    const packs = this.#packsOf(content);
    const [first, last] = [packs.at(0), packs.at(-1)];
    const idlest = this.#load.indexOf(Math.min(...this.#load));
    const reader = first === undefined ? undefined : this.#workers.get(first);
    const isFar =
      reader !== undefined &&
      (this.#load[reader] ?? 0) > (this.#load[idlest] ?? 0) + LOAD_DIFFERENCE_MAX;
    const worker = reader === undefined || isFar ? idlest : reader;
    for (const pack of [first, last]) {
      if (pack === undefined) continue;
      this.#workers.delete(pack);
      this.#workers.set(pack, worker);
      const [oldest] = this.#workers.keys();
      if (this.#workers.size > PACKS_REMEMBERED_MAX && oldest !== undefined) {
        this.#workers.delete(oldest);
      }
    }
    for (const pack of packs) this.#plan(worker, pack);
    return worker;
  }

  /** The packs of the content's chunks, in their order; one that many chunks after another are in, once. */
  #packsOf(content: readonly Uint8Array[]): readonly number[] {
    const packs: number[] = [];
    for (const items of content) {
      for (const item of contentItems(items)) {
        const pack = item.type === "chunk" ? this.#packOf(item.id) : undefined;
        if (pack !== undefined && pack !== packs.at(-1)) packs.push(pack);
      }
    }
    return packs;
  }
}
