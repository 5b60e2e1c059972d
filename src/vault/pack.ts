/** The parts of a sealed pack as bytes: header, locator, table. docs/format.md, "Pack". */
import { AEAD_TAG_BYTES, KEY_COMMITMENT_BYTES } from "../crypto/aead.ts";
import { ExclaveError } from "../errors.ts";
import { type EpochContext, idBytes, idFromBytes, type PackId } from "./identifiers.ts";

/** What a pack holds; bound into its keys, so that none can stand for another. */
export const PACK_KINDS = { data: 1, entries: 2, tail: 3 } as const;
export type PackKind = keyof typeof PACK_KINDS;

/** How a frame's plaintext is stored. */
export const CODECS = { stored: 0, zstd: 1 } as const;
export type Codec = keyof typeof CODECS;

const MAGIC = Buffer.from("exclvpk1", "latin1");
const VERSION = 1;
/** HKDF-SHA-256, AES-256-GCM, zstd, HMAC-SHA-256 commitment and chunk ids. */
const SUITE = 1;

export const PACK_CONTEXT_BYTES = 80;
const LOCATOR_PLAIN_BYTES = 8;
export const LOCATOR_BYTES = LOCATOR_PLAIN_BYTES + AEAD_TAG_BYTES;
/** Context, commitment, locator: the first frame starts here. */
export const PACK_HEADER_BYTES = PACK_CONTEXT_BYTES + KEY_COMMITMENT_BYTES + LOCATOR_BYTES;

/** Positions, in nonce and AAD, of what is not a frame. */
export const TABLE_POSITION = 0xffffffff;
export const LOCATOR_POSITION = 0xfffffffe;

/** A frame's plaintext at most; a chunk is never longer. */
export const FRAME_BYTES_MAX = 1024 * 1024;

/** The lengths that a sealed pack may have: powers of two from 32 KiB to 64 MiB. */
export const SIZE_CLASSES: readonly number[] = Array.from({ length: 12 }, (_, i) => 32768 * 2 ** i);

/** The first 80 bytes of a pack: format, kind and everything the pack is bound to. */
export function packContext(context: EpochContext, pack: PackId, kind: PackKind): Uint8Array {
  const bytes = Buffer.alloc(PACK_CONTEXT_BYTES);
  MAGIC.copy(bytes, 0);
  bytes.writeUInt16LE(VERSION, 8);
  bytes[10] = SUITE;
  bytes[11] = PACK_KINDS[kind];
  bytes.writeUInt32LE(context.epoch, 12);
  idBytes(context.state).copy(bytes, 16);
  idBytes(context.register).copy(bytes, 48);
  idBytes(pack).copy(bytes, 64);
  return bytes;
}

/** The GCM nonce of a position: unique under a pack's key, because each position is sealed once. */
export function positionNonce(position: number): Uint8Array {
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32LE(position, 8);
  return nonce;
}

/** The GCM AAD of a position. */
export function positionAad(context: Uint8Array, position: number): Uint8Array {
  const aad = Buffer.alloc(PACK_CONTEXT_BYTES + 4);
  aad.set(context, 0);
  aad.writeUInt32LE(position, PACK_CONTEXT_BYTES);
  return aad;
}

/** Where the sealed table lies in the pack. */
export type Locator = { readonly offset: number; readonly sealedBytes: number };

export function encodeLocator(locator: Locator): Uint8Array {
  const bytes = Buffer.alloc(LOCATOR_PLAIN_BYTES);
  bytes.writeUInt32LE(locator.offset, 0);
  bytes.writeUInt32LE(locator.sealedBytes, 4);
  return bytes;
}

export function decodeLocator(plain: Uint8Array, packBytes: number): Locator {
  if (plain.length !== LOCATOR_PLAIN_BYTES) throw malformedTable("its locator has a wrong length");
  const view = Buffer.from(plain.buffer, plain.byteOffset, plain.length);
  const locator = { offset: view.readUInt32LE(0), sealedBytes: view.readUInt32LE(4) };
  if (
    locator.offset < PACK_HEADER_BYTES ||
    locator.sealedBytes < TABLE_HEAD_BYTES + AEAD_TAG_BYTES ||
    locator.offset + locator.sealedBytes > packBytes
  ) {
    throw malformedTable("its table lies outside");
  }
  return locator;
}

/** One frame: where it is, and the chunks in it one after another. */
export type Frame = {
  readonly offset: number;
  readonly sealedBytes: number;
  readonly rawBytes: number;
  readonly codec: Codec;
  readonly chunks: readonly ChunkPlace[];
};

/** A chunk within its frame's plaintext. */
export type ChunkPlace = {
  readonly id: Uint8Array;
  readonly offset: number;
  readonly bytes: number;
};

export const TABLE_HEAD_BYTES = 12;
export const TABLE_FRAME_BYTES = 20;
export const TABLE_CHUNK_BYTES = 36;
const TABLE_VERSION = 1;

/** Length of a table of so many frames and chunks. */
export function tableBytes(frames: number, chunks: number): number {
  return TABLE_HEAD_BYTES + frames * TABLE_FRAME_BYTES + chunks * TABLE_CHUNK_BYTES;
}

export function encodeTable(frames: readonly Frame[]): Uint8Array {
  const chunkCount = frames.reduce((sum, frame) => sum + frame.chunks.length, 0);
  const table = Buffer.alloc(tableBytes(frames.length, chunkCount));
  table.writeUInt32LE(TABLE_VERSION, 0);
  table.writeUInt32LE(frames.length, 4);
  table.writeUInt32LE(chunkCount, 8);
  let at = TABLE_HEAD_BYTES;
  for (const frame of frames) {
    table.writeUInt32LE(frame.offset, at);
    table.writeUInt32LE(frame.sealedBytes, at + 4);
    table.writeUInt32LE(frame.rawBytes, at + 8);
    table.writeUInt32LE(CODECS[frame.codec], at + 12);
    table.writeUInt32LE(frame.chunks.length, at + 16);
    at += TABLE_FRAME_BYTES;
  }
  for (const frame of frames) {
    for (const chunk of frame.chunks) {
      table.set(chunk.id, at);
      table.writeUInt32LE(chunk.bytes, at + 32);
      at += TABLE_CHUNK_BYTES;
    }
  }
  return table;
}

/**
 * Reads a table. Every length is checked against the pack's, so that a table, even one made by a
 * hostile agent, cannot make a reader allocate more than a frame or read outside the pack.
 * Throws `malformed`.
 */
export function decodeTable(bytes: Uint8Array, packBytes: number): readonly Frame[] {
  const table = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (table.length < TABLE_HEAD_BYTES || table.readUInt32LE(0) !== TABLE_VERSION) {
    throw malformedTable("its version is unknown");
  }
  const [frameCount, chunkCount] = [table.readUInt32LE(4), table.readUInt32LE(8)];
  if (table.length !== tableBytes(frameCount, chunkCount))
    throw malformedTable("its length is wrong");
  let chunkAt = TABLE_HEAD_BYTES + frameCount * TABLE_FRAME_BYTES;
  const frames: Frame[] = [];
  for (let i = 0; i < frameCount; i++) {
    const at = TABLE_HEAD_BYTES + i * TABLE_FRAME_BYTES;
    const offset = table.readUInt32LE(at);
    const sealedBytes = table.readUInt32LE(at + 4);
    const rawBytes = table.readUInt32LE(at + 8);
    const codec = codecOf(table.readUInt32LE(at + 12));
    const count = table.readUInt32LE(at + 16);
    if (
      offset < PACK_HEADER_BYTES ||
      sealedBytes < AEAD_TAG_BYTES ||
      sealedBytes > FRAME_BYTES_MAX + AEAD_TAG_BYTES ||
      offset + sealedBytes > packBytes ||
      rawBytes > FRAME_BYTES_MAX ||
      (codec === "stored" && rawBytes !== sealedBytes - AEAD_TAG_BYTES) ||
      chunkAt + count * TABLE_CHUNK_BYTES > table.length
    ) {
      throw malformedTable(`frame ${i} is impossible`);
    }
    const chunks: ChunkPlace[] = [];
    let inFrame = 0;
    for (let c = 0; c < count; c++) {
      const length = table.readUInt32LE(chunkAt + 32);
      chunks.push({ id: table.subarray(chunkAt, chunkAt + 32), offset: inFrame, bytes: length });
      inFrame += length;
      chunkAt += TABLE_CHUNK_BYTES;
    }
    if (inFrame !== rawBytes) throw malformedTable(`the chunks of frame ${i} do not fill it`);
    frames.push({ offset, sealedBytes, rawBytes, codec, chunks });
  }
  if (chunkAt !== table.length) throw malformedTable("it has chunks outside frames");
  return frames;
}

function codecOf(code: number): Codec {
  if (code === CODECS.stored) return "stored";
  if (code === CODECS.zstd) return "zstd";
  throw malformedTable("a codec is unknown");
}

function malformedTable(what: string): ExclaveError {
  return new ExclaveError("malformed", `the table of a pack is malformed: ${what}`);
}

/** The kind and the pack id that a pack's first bytes state; verified only by opening it. */
export function readPackContext(header: Uint8Array): {
  readonly kind: PackKind;
  readonly pack: PackId;
} {
  const kind = (Object.keys(PACK_KINDS) as PackKind[]).find(
    (name) => PACK_KINDS[name] === header[11],
  );
  if (header.length < PACK_CONTEXT_BYTES || kind === undefined) {
    throw new ExclaveError("malformed", "not a pack of a known kind");
  }
  return { kind, pack: idFromBytes("PackId", header.subarray(64, 80)) };
}
