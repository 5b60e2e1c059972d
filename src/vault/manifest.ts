/** Manifests: which packs were dispersed to where. Public, named by their hash. docs/format.md, "Manifest". */
import { ExclaveError } from "../errors.ts";
import type { DispersedRef } from "./gather.ts";
import { type EpochContext, idBytes, idFromBytes } from "./identifiers.ts";
import { PACK_BYTES_MAX, SITES_MAX } from "./shard.ts";

const MAGIC = Buffer.from("exclvmf1", "latin1");
const VERSION = 1;
const HEAD_BYTES = 72;
export const MANIFEST_ROW_BYTES = 64;
/** A manifest of so many rows is half a mebibyte; who has more packs writes several. */
export const MANIFEST_ROWS_MAX = 8192;

/** One row: 64 bytes. */
export function writeManifestRow(target: Buffer, at: number, ref: DispersedRef): void {
  idBytes(ref.pack).copy(target, at);
  idBytes(ref.id).copy(target, at + 16);
  target[at + 48] = ref.k;
  target[at + 49] = ref.n;
  target.writeBigUInt64LE(BigInt(ref.packBytes), at + 56);
}

/** Reads a row. Throws `malformed`. */
export function readManifestRow(source: Buffer, at: number): DispersedRef {
  const [k, n] = [source[at + 48] ?? 0, source[at + 49] ?? 0];
  const packBytes = source.readBigUInt64LE(at + 56);
  if (
    k < 1 ||
    n < k ||
    n > SITES_MAX ||
    source.readUIntLE(at + 50, 6) !== 0 ||
    packBytes < 1n ||
    packBytes > BigInt(PACK_BYTES_MAX)
  ) {
    throw new ExclaveError("malformed", "a row of a manifest is impossible");
  }
  return {
    pack: idFromBytes("PackId", source.subarray(at, at + 16)),
    id: idFromBytes("DispersalId", source.subarray(at + 16, at + 48)),
    k,
    n,
    packBytes: Number(packBytes),
  };
}

export function encodeManifest(context: EpochContext, refs: readonly DispersedRef[]): Uint8Array {
  const bytes = Buffer.alloc(HEAD_BYTES + refs.length * MANIFEST_ROW_BYTES);
  MAGIC.copy(bytes, 0);
  bytes.writeUInt16LE(VERSION, 8);
  bytes.writeUInt32LE(context.epoch, 12);
  idBytes(context.state).copy(bytes, 16);
  idBytes(context.register).copy(bytes, 48);
  bytes.writeUInt32LE(refs.length, 64);
  for (const [i, ref] of refs.entries())
    writeManifestRow(bytes, HEAD_BYTES + i * MANIFEST_ROW_BYTES, ref);
  return bytes;
}

/** Reads a manifest, whose hash the caller has checked. Throws `malformed`. */
export function decodeManifest(manifest: Uint8Array): {
  readonly context: EpochContext;
  readonly refs: readonly DispersedRef[];
} {
  const bytes = Buffer.from(manifest.buffer, manifest.byteOffset, manifest.length);
  const head = Buffer.alloc(HEAD_BYTES);
  bytes.copy(head);
  const count = head.readUInt32LE(64);
  if (
    !head.subarray(0, 8).equals(MAGIC) ||
    head.readUInt16LE(8) !== VERSION ||
    head.readUInt16LE(10) !== 0 ||
    head.readUInt32LE(12) === 0 ||
    head.readUInt32LE(68) !== 0 ||
    count > MANIFEST_ROWS_MAX ||
    bytes.length !== HEAD_BYTES + count * MANIFEST_ROW_BYTES
  ) {
    throw new ExclaveError("malformed", "not a manifest of a known format");
  }
  return {
    context: {
      state: idFromBytes("StateId", head.subarray(16, 48)),
      register: idFromBytes("RegisterId", head.subarray(48, 64)),
      epoch: head.readUInt32LE(12),
    },
    refs: Array.from({ length: count }, (_, i) =>
      readManifestRow(bytes, HEAD_BYTES + i * MANIFEST_ROW_BYTES),
    ),
  };
}
