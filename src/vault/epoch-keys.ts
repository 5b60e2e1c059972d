/** The keys of one epoch of one register, all derived from its 32-byte epoch key. docs/format.md, "Epoch". */
import { createHmac, createSecretKey, type KeyObject } from "node:crypto";
import { hkdfSha256 } from "../crypto/hash.ts";
import { invariant } from "../errors.ts";
import { GEAR_TABLE_BYTES } from "./chunker.ts";
import { type EpochContext, idBytes } from "./identifiers.ts";

export const EPOCH_KEY_BYTES = 32;

export type EpochKeys = {
  readonly context: EpochContext;
  /** The id of a chunk: HMAC-SHA-256 under the epoch's id key, 32 bytes. */
  readonly chunkId: (chunk: Uint8Array) => Uint8Array;
  /** The chunker's keyed gear table. */
  readonly gearTable: Uint8Array;
  /** The 32-byte key of the pack with this context (see `packContext`). */
  readonly packKey: (packContext: Uint8Array) => Uint8Array;
};

/** State, register and epoch as bytes: 32 + 16 + 4. */
export function epochContextBytes(context: EpochContext): Uint8Array {
  const epoch = Buffer.alloc(4);
  epoch.writeUInt32LE(context.epoch);
  return Buffer.concat([idBytes(context.state), idBytes(context.register), epoch]);
}

/** Derives the keys of an epoch (HKDF-SHA-256, RFC 5869, empty salt). */
export function deriveEpochKeys(epochKey: Uint8Array, context: EpochContext): EpochKeys {
  invariant(epochKey.length === EPOCH_KEY_BYTES, "an epoch key has 32 bytes");
  const key = Uint8Array.from(epochKey);
  const empty = new Uint8Array();
  const derive = (label: string, bound: Uint8Array, length: number): Uint8Array =>
    hkdfSha256(key, empty, Buffer.concat([Buffer.from(`exclave/v1 ${label}\0`), bound]), length);
  const epoch = epochContextBytes(context);
  const idKey: KeyObject = createSecretKey(derive("chunk id key", epoch, 32));
  return {
    context,
    chunkId: (chunk) => createHmac("sha256", idKey).update(chunk).digest(),
    gearTable: derive("gear table", epoch, GEAR_TABLE_BYTES),
    packKey: (packContext) => derive("pack key", packContext, 32),
  };
}
