/** Which of the workers that restore writes which file. */
import { contentItems } from "../../vault/entries.ts";

/** The ordinal of the pack that holds a chunk; undefined when no index lists it. */
export type PackOf = (id: Uint8Array) => number | undefined;

/** Bytes that one worker may have to write more than another before it is relieved of a pack. */
const LOAD_DIFFERENCE_MAX = 16 * 1024 * 1024;
/** Packs of which is remembered who reads them: more than lie beside each other in the order of files. */
const PACKS_REMEMBERED_MAX = 256;

/**
 * Who writes what: what lies in one pack goes through one worker, so that no pack is fetched, verified and
 * opened twice; but a new pack, and one whose worker has far more to do, to whoever has the least.
 */
export class Assignment {
  readonly #packOf: PackOf;
  /** Bytes that each worker has still to write. */
  readonly #load: number[];
  /** By pack, the latest last. */
  readonly #workers = new Map<number, number>();

  constructor(workers: number, packOf: PackOf) {
    this.#packOf = packOf;
    this.#load = Array.from({ length: workers }, () => 0);
  }

  add(worker: number, bytes: number): void {
    this.#load[worker] = (this.#load[worker] ?? 0) + bytes;
  }

  workerFor(content: readonly Uint8Array[]): number {
    const first = this.#edgePack(content.at(0), false);
    const last = this.#edgePack(content.at(-1), true);
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
    return worker;
  }

  /** The pack of the first or last chunk of a content record. */
  #edgePack(items: Uint8Array | undefined, last: boolean): number | undefined {
    let id: Uint8Array | undefined;
    for (const item of items ? contentItems(items) : []) {
      if (item.type !== "chunk") continue;
      id = item.id;
      if (!last) break;
    }
    return id && this.#packOf(id);
  }
}
