/** Which of the workers that restore writes which file. */
import type { PackStretch } from "../epoch-reader.ts";

/** What more a worker may have to write than another before it is relieved of a pack, which is then opened twice. */
const LOAD_DIFFERENCE_MAX = 64 * 1024 * 1024;
/** Packs of which is remembered who reads them: more than lie beside each other in the order of files. */
const PACKS_REMEMBERED_MAX = 256;

/**
 * Who writes what: what lies in one pack goes through one worker, so that no pack is fetched, verified and
 * opened twice; but what lies in new packs, or whose worker has far more to do, to whoever has the least.
 */
export class Assignment {
  /** Bytes that each worker has still to write. */
  readonly #load: number[];
  /** Who reads which pack; the latest last. */
  readonly #readers = new Map<number, number>();

  constructor(workers: number) {
    this.#load = Array.from({ length: workers }, () => 0);
  }

  add(worker: number, bytes: number): void {
    this.#load[worker] = (this.#load[worker] ?? 0) + bytes;
  }

  /** Who writes content that lies there. */
  workerFor(content: readonly PackStretch[]): number {
    const reader = this.#readerOfMost(content);
    const idlest = this.#load.indexOf(Math.min(...this.#load));
    const isFar =
      reader !== undefined &&
      (this.#load[reader] ?? 0) > (this.#load[idlest] ?? 0) + LOAD_DIFFERENCE_MAX;
    const worker = reader === undefined || isFar ? idlest : reader;
    for (const { pack } of content) {
      const before = this.#readers.get(pack);
      const isRelieved = isFar && before === reader;
      this.#remember(pack, before === undefined || isRelieved ? worker : before);
    }
    return worker;
  }

  /** Who reads most of these packs already, and of as many packs, most bytes. Undefined when nobody reads any. */
  #readerOfMost(content: readonly PackStretch[]): number | undefined {
    const shares = new Map<number, { readonly packs: Set<number>; bytes: number }>();
    for (const { pack, bytes } of content) {
      const worker = this.#readers.get(pack);
      if (worker === undefined) continue;
      const share = shares.get(worker) ?? { packs: new Set(), bytes: 0 };
      share.packs.add(pack);
      share.bytes += bytes;
      shares.set(worker, share);
    }
    const [most] = [...shares].toSorted(
      ([, a], [, b]) => b.packs.size - a.packs.size || b.bytes - a.bytes,
    );
    return most?.[0];
  }

  #remember(pack: number, worker: number): void {
    this.#readers.delete(pack);
    this.#readers.set(pack, worker);
    const [oldest] = this.#readers.keys();
    if (this.#readers.size > PACKS_REMEMBERED_MAX && oldest !== undefined) {
      this.#readers.delete(oldest);
    }
  }
}
