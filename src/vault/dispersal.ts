/**
 * Dispersal of sealed packs: AES-256-CTR under a fresh key, Reed–Solomon k-of-n over that, and the key
 * secret-shared over the same field with one share in each shard (Krawczyk, "Secret sharing made
 * short", CRYPTO '93). Works on any bytes and needs no key of the State. docs/format.md, "Dispersal".
 */
import { randomBytes } from "node:crypto";
import { aes256ctr } from "../crypto/aead.ts";
import { release } from "../crypto/bytes.ts";
import type { Kernel } from "../erasure/kernel.ts";
import { encode } from "../erasure/reed-solomon.ts";
import { split } from "../erasure/shamir.ts";
import { invariant } from "../errors.ts";
import type { DispersalId } from "./identifiers.ts";
import {
  BLOCK_BYTES,
  blockLeaves,
  blocksPerPiece,
  type Dispersal,
  encodeFronts,
  frontBytes,
  KEY_SHARE_BYTES,
  shardBytes,
} from "./shard.ts";

/** A dispersed pack: its n shards, in the slot's memory until the slot is used again. */
export type DispersedPack = {
  readonly id: DispersalId;
  readonly shards: readonly Uint8Array[];
};

/** Kernel memory for the n shards of one pack at a time; `offset` is a multiple of `SHARD_ALIGN_BYTES`. */
export type ShardSlot = { readonly offset: number; readonly bytes: number };

/** Each shard begins on a page of memory, so that a site may write it straight to its disk. */
export const SHARD_ALIGN_BYTES = 4096;

/** How much kernel memory a slot needs for packs up to this length. */
export function slotBytes(packBytes: number, k: number, n: number): number {
  return n * shardRoom({ packBytes, k, n });
}

function shardRoom(dispersal: Pick<Dispersal, "packBytes" | "k" | "n">): number {
  return Math.ceil(shardBytes(dispersal) / SHARD_ALIGN_BYTES) * SHARD_ALIGN_BYTES;
}

/** Ciphertext is made and dealt out in steps of this many bytes. */
const STEP_BYTES = 16 * BLOCK_BYTES;

/** Disperses `sealed` under a fresh random key into the slot. `sealed` must not lie in the slot. */
export function disperse(
  kernel: Kernel,
  slot: ShardSlot,
  dispersal: Dispersal,
  sealed: Uint8Array,
): DispersedPack {
  const { k, n } = dispersal;
  invariant(sealed.length === dispersal.packBytes, "the pack is as long as the dispersal says");
  invariant(slot.bytes >= slotBytes(sealed.length, k, n), "the shards fit the slot");
  const key = randomBytes(KEY_SHARE_BYTES);
  const pieceBytes = blocksPerPiece(sealed.length, k) * BLOCK_BYTES;
  const room = shardRoom(dispersal);
  const shards = Array.from({ length: n }, (_, i) =>
    kernel.view(slot.offset + i * room, shardBytes(dispersal)),
  );
  const pieceAt = frontBytes(dispersal);
  const pieces = shards.map((shard) => shard.subarray(pieceAt));

  encryptIntoRows(key, sealed, pieces.slice(0, k));
  const offsets = shards.map((_, i) => slot.offset + i * room + pieceAt);
  encode(kernel, { k, n, pieceBytes, pieces: offsets });
  const shares = split(key, k, n, randomBytes);
  key.fill(0);
  const { id, fronts } = encodeFronts(dispersal, shares, pieces.map(blockLeaves));
  for (const [i, front] of fronts.entries()) shards[i]?.set(front);
  return { id, shards };
}

/** The AES-CTR counter block, 16 bytes big-endian, of the ciphertext at this offset (a multiple of 16). */
export function counterBlock(offset: number): Uint8Array {
  const block = Buffer.alloc(16);
  block.writeBigUInt64BE(BigInt(offset / 16), 8);
  return block;
}

/** Deals the ciphertext out block by block: block b goes to piece b mod k. */
function encryptIntoRows(key: Uint8Array, sealed: Uint8Array, pieces: readonly Uint8Array[]): void {
  const k = pieces.length;
  let block = 0;
  for (let at = 0; at < sealed.length; at += STEP_BYTES) {
    const step = aes256ctr(key, counterBlock(at), sealed.subarray(at, at + STEP_BYTES));
    for (let from = 0; from < step.length; from += BLOCK_BYTES, block++) {
      const piece = pieces[block % k];
      const to = Math.floor(block / k) * BLOCK_BYTES;
      const part = step.subarray(from, from + BLOCK_BYTES);
      piece?.set(part, to);
      piece?.fill(0, to + part.length, to + BLOCK_BYTES);
    }
    release(step);
  }
  // The last row is filled with zero blocks.
  for (; block % k !== 0; block++) {
    const to = Math.floor(block / k) * BLOCK_BYTES;
    pieces[block % k]?.fill(0, to, to + BLOCK_BYTES);
  }
}
