/** Sealed packs and shards in memory, for tests of the vault. */
import { createCipheriv, hash } from "node:crypto";
import { type Kernel, loadKernel } from "../../src/erasure/kernel.ts";
import { disperse, slotBytes } from "../../src/vault/dispersal.ts";
import { firstEpochOf } from "../../src/vault/documents.ts";
import { deriveEpochKeys } from "../../src/vault/epoch-keys.ts";
import {
  type DispersedRef,
  GatheredPack,
  gatherBytes,
  type ShardFetch,
  type ShardProblem,
} from "../../src/vault/gather.ts";
import { type EpochContext, parseId } from "../../src/vault/identifiers.ts";
import { FRAME_BYTES_MAX, type PackKind } from "../../src/vault/pack.ts";
import { PackWriter, type SealedPack } from "../../src/vault/pack-writer.ts";
import type { Dispersal } from "../../src/vault/shard.ts";

export const slow = Boolean(process.env.SLOW);

/** How often a property is tried: more with SLOW=1. */
export const tries = (few: number): { numRuns: number } => ({ numRuns: slow ? few * 20 : few });

/** Reproducible bytes that no compressor makes smaller: an AES keystream. */
export function noise(length: number, seed: number): Uint8Array {
  const key = hash("sha256", `noise ${seed}`, "buffer").subarray(0, 16);
  return new Uint8Array(
    createCipheriv("aes-128-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(length)),
  );
}

export const epochKey = Uint8Array.from({ length: 32 }, (_, i) => i);
export const context: EpochContext = {
  state: parseId("StateId", "a1".repeat(32)),
  register: parseId("RegisterId", "b2".repeat(16)),
  epoch: firstEpochOf(1) + 3,
};
export const keys = deriveEpochKeys(epochKey, context);
export const packId = parseId("PackId", "c3".repeat(16));

/** The bytes with one bit or more changed in the byte at `at`. */
export function altered(bytes: Uint8Array, at: number, mask = 1): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ mask;
  return copy;
}

/** Seals chunks into as many packs as it takes; each with a copy of its bytes. */
export function sealPacks(
  chunks: readonly Uint8Array[],
  options: { readonly packBytes?: number; readonly kind?: PackKind } = {},
): SealedPack[] {
  const packs: SealedPack[] = [];
  const writer = new PackWriter({
    keys,
    kind: options.kind ?? "data",
    staging: new Uint8Array(options.packBytes ?? 256 * 1024),
    frame: new Uint8Array(FRAME_BYTES_MAX),
    onPack: (pack) => packs.push({ ...pack, bytes: Uint8Array.from(pack.bytes) }),
  });
  for (const chunk of chunks) writer.add(keys.chunkId(chunk), chunk);
  writer.flush();
  return packs;
}

/** A dispersed byte string: every shard whole. */
export type Shards = {
  readonly ref: DispersedRef;
  readonly dispersal: Dispersal;
  readonly shards: readonly Uint8Array[];
};

/** Kernel memory for dispersing and gathering packs up to 8 shards and `packBytes`; one for many tries. */
export class Arena {
  readonly kernel: Kernel;
  readonly memory: { readonly offset: number; readonly bytes: number };
  /** For what is fetched ahead. */
  readonly ahead: { readonly offset: number; readonly bytes: number };
  readonly #slot: { readonly offset: number; readonly bytes: number };

  constructor(packBytes = 1024 * 1024, sites = 8, aheadBytes = 0) {
    const slot = slotBytes(packBytes, 1, sites);
    const bytes = gatherBytes(1, sites);
    this.kernel = loadKernel(slot + bytes + aheadBytes + 4096);
    this.#slot = { offset: this.kernel.alloc(slot), bytes: slot };
    this.memory = { offset: this.kernel.alloc(bytes), bytes };
    this.ahead = { offset: this.kernel.alloc(aheadBytes), bytes: aheadBytes };
  }

  disperse(bytes: Uint8Array, k: number, n: number, pack = packId): Shards {
    const dispersal: Dispersal = { ...context, pack, k, n, packBytes: bytes.length };
    const { id, shards: inSlot } = disperse(this.kernel, this.#slot, dispersal, bytes);
    const shards = inSlot.map((shard) => Uint8Array.from(shard));
    return { ref: { pack, id, k, n, packBytes: bytes.length }, dispersal, shards };
  }

  /** Answers from memory as sites would: a range that a shard does not have is "short". */
  fetch(shardAt: (index: number) => Uint8Array | undefined): ShardFetch {
    return (requests) =>
      requests.map(({ index, offset, bytes, at }) => {
        const shard = shardAt(index);
        if (!shard) return "the site does not have it";
        const got = shard.subarray(offset, offset + bytes);
        this.kernel.view(at, got.length).set(got);
        return got.length === bytes ? at : "it is cut short";
      });
  }

  gather(
    ref: DispersedRef,
    shardAt: (index: number) => Uint8Array | undefined,
    order?: readonly number[],
  ): { readonly pack: GatheredPack; readonly problems: ShardProblem[] } {
    const problems: ShardProblem[] = [];
    const pack = new GatheredPack(ref, {
      kernel: this.kernel,
      memory: this.memory,
      fetch: this.fetch(shardAt),
      onProblem: (problem) => problems.push(problem),
      prefer: ({ n }) => order ?? Array.from({ length: n }, (_, i) => i),
    });
    return { pack, problems };
  }
}
