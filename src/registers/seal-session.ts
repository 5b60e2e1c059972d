/**
 * One run of `protect` on the main thread's side: hands work to the sealing workers and their shards to
 * the sites. A pack counts when the write quorum has made it durable; nothing is committed before all do.
 */
import { availableParallelism } from "node:os";
import { favourSmallHeaps } from "../platform/memory.ts";
import { WorkerPool } from "../platform/worker-pool.ts";
import type { Catalog } from "../vault/catalog.ts";
import type { RegisterConfig } from "../vault/home.ts";
import { type EpochContext, parseId } from "../vault/identifiers.ts";
import type { KnownIds } from "../vault/known-ids.ts";
import { isAnyFar } from "../vault/open-sites.ts";
import type { QuorumWriter } from "../vault/quorum-writer.ts";
import { farSlots } from "../vault/sealer.ts";
import { shardName } from "../vault/shard.ts";
import {
  type PackMessage,
  type SealResult,
  type SealTask,
  type SealWorkerData,
  SLOT_ABORTED,
  SLOT_FREE,
} from "./protect-messages.ts";

/** Beyond this many, threads wait for disks rather than help. */
const WORKERS_MAX = 8;

/** One at work and one waiting, so that a worker never idles. */
const SEAL_TASKS_MAX = 2;

/** Threads that seal or read: one a core. */
export function defaultWorkers(): number {
  return Math.min(WORKERS_MAX, availableParallelism());
}

export type SealSessionOptions = {
  readonly catalog: Catalog;
  readonly register: RegisterConfig;
  readonly context: EpochContext;
  readonly epochKey: Uint8Array;
  readonly writer: QuorumWriter;
  readonly known: KnownIds;
  readonly workers: number;
  readonly onStored: (stored: StoredBytes) => void;
};

/** What a run has stored so far, before dispersal. */
export type StoredBytes = {
  packs: number;
  /** Plaintext of the chunks that were new. */
  rawBytes: number;
  /** Of these, in frames that would not compress. */
  incompressibleBytes: number;
  /** Sealed, without and with padding. */
  storedBytes: number;
  packBytes: number;
};

export class SealSession {
  readonly stored: StoredBytes = {
    packs: 0,
    rawBytes: 0,
    incompressibleBytes: 0,
    storedBytes: 0,
    packBytes: 0,
  };
  readonly #options: SealSessionOptions;
  readonly #pool: WorkerPool<SealTask, SealResult, PackMessage>;
  readonly #slots: readonly Int32Array<SharedArrayBuffer>[];
  /** At most one for each slot of a worker. */
  readonly #storing = new Set<Promise<void>>();

  constructor(options: SealSessionOptions) {
    this.#options = options;
    const { register, known, context, epochKey, writer } = options;
    const slots = isAnyFar(writer.places) ? farSlots(register.k, register.sites.length) : 1;
    this.#slots = Array.from(
      { length: options.workers },
      () => new Int32Array(new SharedArrayBuffer(slots * 4)),
    );
    this.#pool = new WorkerPool<SealTask, SealResult, PackMessage>({
      script: new URL(`./protect-worker${import.meta.url.slice(-3)}`, import.meta.url),
      workers: options.workers,
      tasksPerWorkerMax: SEAL_TASKS_MAX,
      workerData: (worker): SealWorkerData => ({
        epochKey,
        context,
        k: register.k,
        n: register.sites.length,
        known: known.generations,
        slots: this.#slots[worker] ?? new Int32Array(new SharedArrayBuffer(slots * 4)),
      }),
      onMessage: (message, worker) => {
        const storing = this.#storePack(message, worker);
        this.#storing.add(storing);
        void storing.finally(() => this.#storing.delete(storing));
      },
    });
  }

  get workers(): number {
    return this.#pool.size;
  }

  /** Gives a worker a task; resolves when one has room, with the promise of its result. */
  async submit(
    task: SealTask,
    options: { readonly worker?: number; readonly transfer?: readonly ArrayBuffer[] } = {},
  ): Promise<{ readonly done: Promise<SealResult> }> {
    const generation = this.#options.known.grow();
    if (generation) this.#pool.post({ generation });
    return this.#pool.submit(task, options);
  }

  /** Seals what the workers have open, and resolves when every pack so far is durable at the write quorum. */
  async flush(): Promise<void> {
    await this.#pool.broadcast({ type: "flush" });
    await Promise.all(this.#storing);
    // A pack that could not be stored has failed the pool; a task after it tells.
    await this.#pool.broadcast({ type: "flush" });
  }

  async close(): Promise<void> {
    for (const slots of this.#slots) {
      for (const slot of slots.keys()) {
        Atomics.store(slots, slot, SLOT_ABORTED);
        Atomics.notify(slots, slot);
      }
    }
    await Promise.allSettled(this.#storing);
    await this.#pool.close();
  }

  async #storePack(message: PackMessage, worker: number): Promise<void> {
    const { catalog, register, context, writer } = this.#options;
    const id = parseId("DispersalId", message.id);
    try {
      const missing = await writer
        .putEach((i) => ({
          name: shardName(id, i),
          parts: message.shards.slice(i, i + 1),
        }))
        .finally(() => this.#freeSlot(worker, message.slot));
      catalog.transaction(() => {
        catalog.addPack(
          context.register,
          context.epoch,
          {
            pack: parseId("PackId", message.pack),
            id,
            k: register.k,
            n: register.sites.length,
            packBytes: message.packBytes,
            // No index lists what is in a tail.
            ...(message.kind === "tail" ? {} : { table: message.table }),
          },
          false,
        );
        for (const index of missing) {
          const site = writer.places[index]?.name;
          if (site !== undefined) catalog.addDebt({ id, index, site });
        }
      });
      const { stored } = this;
      if (stored.packs === 0 && message.kind === "data") favourSmallHeaps();
      stored.packs++;
      stored.rawBytes += message.rawBytes;
      stored.incompressibleBytes += message.incompressibleBytes;
      stored.storedBytes += message.storedBytes;
      stored.packBytes += message.packBytes;
      this.#options.onStored(stored);
    } catch (error) {
      this.#pool.fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #freeSlot(worker: number, slot: number): void {
    const slots = this.#slots[worker];
    if (!slots) return;
    Atomics.store(slots, slot, SLOT_FREE);
    Atomics.notify(slots, slot);
  }
}
