/**
 * The writing side of test/support/stranger.ts, for vectors alone: whatever is random in the real writer
 * is an argument here, and padding is zeros.
 */
import { createCipheriv, createHash } from "node:crypto";
import {
  chunkId,
  commitment,
  type Epoch,
  epochContext,
  KINDS,
  merkleRoot,
  packKey,
  type Row,
  row,
  times,
} from "./stranger.ts";

const BLOCK = 16384;

const sha256 = (...parts: Uint8Array[]): Buffer =>
  createHash("sha256").update(Buffer.concat(parts)).digest();

function u32(...values: number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [i, value] of values.entries()) bytes.writeUInt32LE(value, 4 * i);
  return bytes;
}

export type PlainFrame = {
  /** 0 stored, 1 zstd. */
  readonly codec: number;
  /** What is sealed: the chunks themselves, or what zstd makes of them. */
  readonly plain: Uint8Array;
  readonly chunks: readonly Uint8Array[];
};

/** A sealed pack of a given id, and its parts. */
export function writePack(
  epochKey: Uint8Array,
  of: Epoch,
  pack: string,
  kind: string,
  frames: readonly PlainFrame[],
) {
  const context = Buffer.concat([
    Buffer.from("exclvpk1"),
    Buffer.of(1, 0, 1, KINDS.indexOf(kind)),
    u32(of.epoch),
    epochContext(of).subarray(0, 48),
    Buffer.from(pack, "hex"),
  ]);
  const key = packKey(epochKey, context);
  const seal = (position: number, plain: Uint8Array): Buffer => {
    const where = u32(position);
    const cipher = createCipheriv("aes-256-gcm", key, Buffer.concat([Buffer.alloc(8), where]));
    cipher.setAAD(Buffer.concat([context, where]));
    return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
  };
  let end = 136;
  const sealedFrames = frames.map(({ plain }, position) => seal(position, plain));
  const frameRows = frames.map(({ codec, chunks }, i) => {
    const length = sealedFrames[i]?.length ?? 0;
    const raw = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    end += length;
    return u32(end - length, length, raw, codec, chunks.length);
  });
  const chunks = frames.flatMap((frame) => frame.chunks);
  const table = Buffer.concat([
    u32(1, frames.length, chunks.length),
    ...frameRows,
    ...chunks.flatMap((chunk) => [chunkId(epochKey, of, chunk), u32(chunk.length)]),
  ]);
  const sealedTable = seal(0xffffffff, table);
  const locator = u32(end, sealedTable.length);
  const used = Buffer.concat([
    context,
    commitment(key, context),
    seal(0xfffffffe, locator),
    ...sealedFrames,
    sealedTable,
  ]);
  let length = 32768;
  while (length < used.length) length *= 2;
  return { key, context, table, locator, used, whole: Buffer.concat([used], length) };
}

/** The n shares of a key of 32 bytes. */
export function writeKeyShares(
  key: Uint8Array,
  k: number,
  n: number,
  coefficients: Uint8Array,
): readonly Buffer[] {
  return Array.from({ length: n }, (_, index) => {
    const share = Buffer.from(key);
    for (let byte = 0; byte < 32; byte++) {
      let power = 1;
      for (let degree = 1; degree < k; degree++) {
        power = times(power, index + 1);
        const coefficient = coefficients[(degree - 1) * 32 + byte] ?? 0;
        share[byte] = (share[byte] ?? 0) ^ times(coefficient, power);
      }
    }
    return share;
  });
}

/** Entries of a ledger, each after its length. */
export function writeBundle(entries: readonly string[]): Buffer {
  return Buffer.concat(
    entries.flatMap((entry) => {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(entry.length);
      return [length, Buffer.from(entry)];
    }),
  );
}

/** All shards of a dispersal under a given key; `coefficients` are those of x, then of x^2 … for all bytes. */
export function writeShards(
  of: Epoch,
  pack: string,
  bytes: Uint8Array,
  k: number,
  n: number,
  key: Uint8Array,
  coefficients: Uint8Array,
) {
  const B = Math.ceil(bytes.length / (k * BLOCK));
  const cipher = createCipheriv("aes-256-ctr", key, Buffer.alloc(16));
  const ciphertext = Buffer.concat([cipher.update(bytes)], B * k * BLOCK);
  const data = Array.from({ length: k }, (_, piece) =>
    Buffer.concat(
      Array.from({ length: B }, (_, r) => {
        const b = r * k + piece;
        return ciphertext.subarray(b * BLOCK, (b + 1) * BLOCK);
      }),
    ),
  );
  const pieces = Array.from({ length: n }, (_, r) => {
    const factors = row(k, r);
    const piece = Buffer.alloc(B * BLOCK);
    for (const [c, factor] of factors.entries()) {
      if (factor === 0) continue;
      const products = Array.from({ length: 256 }, (_, value) => times(value, factor));
      for (const [i, byte] of (data[c] ?? piece).entries()) {
        piece[i] = (piece[i] ?? 0) ^ (products[byte] ?? 0);
      }
    }
    return piece;
  });
  const shares = writeKeyShares(key, k, n, coefficients);
  const headers = pieces.map((piece, index) => {
    return Buffer.concat([
      Buffer.from("exclvsh1"),
      Buffer.of(1, 0, 1, k, n, index, 0, 0),
      epochContext(of),
      u32(0),
      Buffer.from(pack, "hex"),
      u32(bytes.length, 0, piece.length, 0),
      shares[index] ?? Buffer.alloc(0),
    ]);
  });
  const leaves = pieces.map((piece) =>
    Array.from({ length: B }, (_, j) => sha256(piece.subarray(j * BLOCK, (j + 1) * BLOCK))),
  );
  const roots = Buffer.concat(
    headers.map((header, i) =>
      merkleRoot([sha256(Buffer.from("exclave/v1 shard header\0"), header), ...(leaves[i] ?? [])]),
    ),
  );
  const descriptor = Buffer.from(headers[0]?.subarray(0, 104) ?? []);
  descriptor.write("exclvds1", 0, "latin1");
  const id = sha256(descriptor, roots).toString("hex");
  return {
    id,
    shards: headers.map((header, i) => ({
      name: `shard/${id}.0${i}`,
      bytes: Buffer.concat([header, roots, ...(leaves[i] ?? []), pieces[i] ?? Buffer.alloc(0)]),
    })),
  };
}

export function writeManifest(of: Epoch, rows: readonly Row[]): Buffer {
  return Buffer.concat([
    Buffer.from("exclvmf1"),
    Buffer.of(1, 0, 0, 0),
    u32(of.epoch),
    epochContext(of).subarray(0, 48),
    u32(rows.length, 0),
    ...rows.flatMap(({ pack, id, k, n, packBytes }) => [
      Buffer.from(pack, "hex"),
      Buffer.from(id, "hex"),
      Buffer.of(k, n, 0, 0, 0, 0, 0, 0),
      u32(packBytes, 0),
    ]),
  ]);
}
