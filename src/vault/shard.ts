/**
 * The bytes of one shard: header, roots of all n shards, block leaves, piece. docs/format.md, "Shard".
 *
 * A shard verifies by its name alone: the name holds the hash of the descriptor, the descriptor holds
 * the root of every shard, and a root covers the header and every block of the piece.
 */
import { hash } from "node:crypto";
import { ExclaveError } from "../errors.ts";
import type { DispersalId, EpochContext, PackId } from "./identifiers.ts";
import { idBytes, idFromBytes, parseId } from "./identifiers.ts";
import { LEAF_BYTES, merkleRoot } from "./merkle.ts";

/** Shards are hashed, proven and fetched in blocks of this many bytes. */
export const BLOCK_BYTES = 16384;
export const SITES_MAX = 32;
/** The largest pack a reader accepts. */
export const PACK_BYTES_MAX = 64 * 1024 * 1024;
export const KEY_SHARE_BYTES = 32;

const MAGIC = Buffer.from("exclvsh1", "latin1");
const DESCRIPTOR_MAGIC = Buffer.from("exclvds1", "latin1");
const VERSION = 1;
/** AES-256-CTR, Reed–Solomon and Shamir over GF(2^8)/0x11d, SHA-256. */
const SUITE = 1;
const DESCRIBED_BYTES = 104;
const HEADER_BYTES = DESCRIBED_BYTES + KEY_SHARE_BYTES;
const LEAF0_DOMAIN = Buffer.from("exclave/v1 shard header\0", "latin1");

/** What all shards of a dispersal have in common. */
export type Dispersal = EpochContext & {
  readonly pack: PackId;
  readonly k: number;
  readonly n: number;
  /** Length of the sealed pack. */
  readonly packBytes: number;
};

/** The verified front of one shard. */
export type ShardFront = {
  readonly dispersal: Dispersal;
  readonly id: DispersalId;
  readonly index: number;
  readonly keyShare: Uint8Array;
  /** The roots of all n shards. */
  readonly roots: Uint8Array;
  /** SHA-256 of each block of the piece, 32 bytes each. */
  readonly leaves: Uint8Array;
};

/**
 * Blocks in each piece of a pack of this length: the pack is dealt in rows of k blocks, the last row
 * filled with zeros.
 */
export function blocksPerPiece(packBytes: number, k: number): number {
  return Math.ceil(packBytes / (k * BLOCK_BYTES));
}

/** Length of header, roots and leaves together: where the piece begins. */
export function frontBytes(dispersal: Pick<Dispersal, "packBytes" | "k" | "n">): number {
  const leaves = blocksPerPiece(dispersal.packBytes, dispersal.k);
  return HEADER_BYTES + dispersal.n * LEAF_BYTES + leaves * LEAF_BYTES;
}

/** Length of a whole shard. */
export function shardBytes(dispersal: Pick<Dispersal, "packBytes" | "k" | "n">): number {
  return frontBytes(dispersal) + blocksPerPiece(dispersal.packBytes, dispersal.k) * BLOCK_BYTES;
}

/** `shard/` and the dispersal's hash, a dot and the index in two digits. */
export function shardName(id: DispersalId, index: number): string {
  return `shard/${id}.${String(index).padStart(2, "0")}`;
}

/** Takes a shard's name apart. Throws `malformed`. */
export function parseShardName(name: string): { readonly id: DispersalId; readonly index: number } {
  const match = /^shard\/([0-9a-f]{64})\.(\d\d)$/.exec(name);
  if (!match?.[1] || !match[2] || Number(match[2]) >= SITES_MAX) {
    throw new ExclaveError(
      "malformed",
      `not the name of a shard: ${JSON.stringify(name.slice(0, 120))}`,
    );
  }
  return { id: parseId("DispersalId", match[1]), index: Number(match[2]) };
}

function encodeHeader(dispersal: Dispersal, index: number): Uint8Array {
  const header = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(header, 0);
  header.writeUInt16LE(VERSION, 8);
  header[10] = SUITE;
  header[11] = dispersal.k;
  header[12] = dispersal.n;
  header[13] = index;
  idBytes(dispersal.state).copy(header, 16);
  idBytes(dispersal.register).copy(header, 48);
  header.writeUInt32LE(dispersal.epoch, 64);
  idBytes(dispersal.pack).copy(header, 72);
  header.writeBigUInt64LE(BigInt(dispersal.packBytes), 88);
  header.writeBigUInt64LE(
    BigInt(blocksPerPiece(dispersal.packBytes, dispersal.k) * BLOCK_BYTES),
    96,
  );
  return header;
}

/** The root of a shard from its header (with the key share in it) and the leaves of its blocks. */
function shardRoot(header: Uint8Array, leaves: Uint8Array): Uint8Array {
  const all = new Uint8Array(LEAF_BYTES + leaves.length);
  all.set(hash("sha256", Buffer.concat([LEAF0_DOMAIN, header]), "buffer"), 0);
  all.set(leaves, LEAF_BYTES);
  return merkleRoot(all);
}

function dispersalId(dispersal: Dispersal, roots: Uint8Array): DispersalId {
  const described = encodeHeader(dispersal, 0).subarray(0, DESCRIBED_BYTES);
  described.set(DESCRIPTOR_MAGIC, 0);
  return idFromBytes("DispersalId", hash("sha256", Buffer.concat([described, roots]), "buffer"));
}

/** SHA-256 of each whole block of a piece. */
export function blockLeaves(piece: Uint8Array): Uint8Array {
  const leaves = new Uint8Array((piece.length / BLOCK_BYTES) * LEAF_BYTES);
  for (let block = 0; block * BLOCK_BYTES < piece.length; block++) {
    const at = block * BLOCK_BYTES;
    leaves.set(hash("sha256", piece.subarray(at, at + BLOCK_BYTES), "buffer"), block * LEAF_BYTES);
  }
  return leaves;
}

/**
 * The fronts of all n shards, and the dispersal's id.
 *
 * @param keyShares n shares of the dispersal key, 32 bytes each
 * @param leaves the block leaves of each of the n pieces
 */
export function encodeFronts(
  dispersal: Dispersal,
  keyShares: readonly Uint8Array[],
  leaves: readonly Uint8Array[],
): { readonly id: DispersalId; readonly fronts: readonly Uint8Array[] } {
  const headers = keyShares.map((share, index) => {
    const header = encodeHeader(dispersal, index);
    header.set(share, DESCRIBED_BYTES);
    return header;
  });
  const roots = Buffer.concat(
    headers.map((header, i) => shardRoot(header, leaves[i] ?? new Uint8Array())),
  );
  return {
    id: dispersalId(dispersal, roots),
    fronts: headers.map((header, i) =>
      Buffer.concat([header, roots, leaves[i] ?? new Uint8Array()]),
    ),
  };
}

/**
 * The front of a lost shard, from what its siblings know and its rebuilt piece. Throws `altered` unless
 * it is, bit for bit, the one that the dispersal's id names.
 */
export function encodeLostFront(
  sibling: ShardFront,
  index: number,
  keyShare: Uint8Array,
  piece: Uint8Array,
): Uint8Array {
  const header = encodeHeader(sibling.dispersal, index);
  header.set(keyShare, DESCRIBED_BYTES);
  const front = Buffer.concat([header, sibling.roots, blockLeaves(piece)]);
  parseFront(front, sibling.id, index);
  return front;
}

/**
 * How long the front is of the shard that starts with these bytes. Reads nothing else of it and
 * believes nothing: use it to know how much to fetch, then `parseFront`.
 *
 * @param start at least 136 bytes
 */
export function frontBytesOf(start: Uint8Array): number {
  return frontBytes(readHeader(start).dispersal);
}

/** How much of a shard to fetch first: enough for `frontBytesOf`. */
export const FRONT_START_BYTES = HEADER_BYTES;

function readHeader(bytes: Uint8Array): { readonly dispersal: Dispersal; readonly index: number } {
  const malformed = (what: string): never => {
    throw new ExclaveError("malformed", `not a shard of a known format: ${what}`);
  };
  if (bytes.length < HEADER_BYTES) malformed("it is too short");
  const header = Buffer.from(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  if (!header.subarray(0, 8).equals(MAGIC)) malformed("its first bytes are wrong");
  if (header.readUInt16LE(8) !== VERSION || header[10] !== SUITE)
    malformed("its version is unknown");
  const [k, n, index] = [header[11] ?? 0, header[12] ?? 0, header[13] ?? 0];
  if (k < 1 || n < k || n > SITES_MAX || index >= n) malformed("k, n or its index is impossible");
  if (header.readUInt32LE(64) === 0) malformed("its epoch is 0");
  const packBytes = header.readBigUInt64LE(88);
  if (packBytes < 1n || packBytes > BigInt(PACK_BYTES_MAX)) malformed("its pack is too long");
  const dispersal: Dispersal = {
    state: idFromBytes("StateId", header.subarray(16, 48)),
    register: idFromBytes("RegisterId", header.subarray(48, 64)),
    epoch: header.readUInt32LE(64),
    pack: idFromBytes("PackId", header.subarray(72, 88)),
    k,
    n,
    packBytes: Number(packBytes),
  };
  // Every byte of the described part follows from these fields; a reserved byte that is not zero, or a
  // piece length that does not fit, would otherwise give one shard two spellings.
  const canonical = encodeHeader(dispersal, index).subarray(0, DESCRIBED_BYTES);
  if (!header.subarray(0, DESCRIBED_BYTES).equals(canonical))
    malformed("a reserved field is in use");
  return { dispersal, index };
}

/**
 * Reads and verifies the front of the shard that is named (id, index).
 *
 * Throws `malformed` when it is no shard, `altered` when it is not the shard of that name.
 */
export function parseFront(bytes: Uint8Array, id: DispersalId, index: number): ShardFront {
  const { dispersal, index: stated } = readHeader(bytes);
  const length = frontBytes(dispersal);
  if (bytes.length < length) throw new ExclaveError("malformed", "a shard is cut short");
  const rootsEnd = HEADER_BYTES + dispersal.n * LEAF_BYTES;
  const roots = bytes.subarray(HEADER_BYTES, rootsEnd);
  const leaves = bytes.slice(rootsEnd, length);
  const root = shardRoot(bytes.subarray(0, HEADER_BYTES), leaves);
  const listed = roots.subarray(stated * LEAF_BYTES, (stated + 1) * LEAF_BYTES);
  if (
    stated !== index ||
    dispersalId(dispersal, roots) !== id ||
    !Buffer.from(root).equals(listed)
  ) {
    throw new ExclaveError("altered", `a shard is not what its name ${shardName(id, index)} says`);
  }
  const keyShare = bytes.slice(DESCRIBED_BYTES, HEADER_BYTES);
  return { dispersal, id, index, keyShare, roots: roots.slice(), leaves };
}

/** True when `block` is the block of that number in the shard's piece. */
export function isBlock(front: ShardFront, number: number, block: Uint8Array): boolean {
  const leaf = front.leaves.subarray(number * LEAF_BYTES, (number + 1) * LEAF_BYTES);
  return (
    block.length === BLOCK_BYTES && leaf.length > 0 && hash("sha256", block, "buffer").equals(leaf)
  );
}
