import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Arena, altered, context, noise, packId, tries } from "../../test/support/vault.ts";
import { isExclaveError } from "../errors.ts";
import { parseId } from "./identifiers.ts";
import {
  BLOCK_BYTES,
  blocksPerPiece,
  FRONT_START_BYTES,
  frontBytes,
  frontBytesOf,
  isBlock,
  PACK_BYTES_MAX,
  parseFront,
  parseShardName,
  SITES_MAX,
  shardBytes,
  shardName,
} from "./shard.ts";

const arena = new Arena();
const code =
  (...codes: ("malformed" | "altered")[]) =>
  (error: unknown): boolean =>
    codes.some((one) => isExclaveError(error, one));

/** What is wrong with the whole shard under this name; undefined when every byte of it is good. */
function fault(shard: Uint8Array, id: Parameters<typeof parseFront>[1], index: number) {
  try {
    const front = parseFront(shard.subarray(0, frontBytesOf(shard)), id, index);
    const start = frontBytes(front.dispersal);
    const blocks = blocksPerPiece(front.dispersal.packBytes, front.dispersal.k);
    for (let i = 0; i < blocks; i++) {
      const at = start + i * BLOCK_BYTES;
      if (!isBlock(front, i, shard.subarray(at, at + BLOCK_BYTES))) return `block ${i}`;
    }
    return undefined;
  } catch (error) {
    if (isExclaveError(error, "altered") || isExclaveError(error, "malformed")) return "front";
    throw error;
  }
}

const shape = fc
  .tuple(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 8 }))
  .map(([a, b]) => ({ k: Math.min(a, b), n: Math.max(a, b) }));

test("the front that dispersal writes is read back, for every shape and length", () => {
  const length = fc.integer({ min: 1, max: 10 * BLOCK_BYTES });
  fc.assert(
    fc.property(shape, length, ({ k, n }, packBytes) => {
      const { ref, dispersal, shards } = arena.disperse(noise(packBytes, 1), k, n);
      const keyShares = new Set<string>();
      for (const [index, shard] of shards.entries()) {
        assert.equal(shard.length, shardBytes(dispersal));
        assert.equal(frontBytesOf(shard.subarray(0, FRONT_START_BYTES)), frontBytes(dispersal));
        const front = parseFront(shard, ref.id, index);
        assert.deepEqual(front.dispersal, dispersal);
        assert.equal(front.id, ref.id);
        assert.equal(front.index, index);
        keyShares.add(Buffer.from(front.keyShare).toString("hex"));
        assert.equal(fault(shard, ref.id, index), undefined);
      }
      assert.equal(keyShares.size, k === 1 ? 1 : n);
    }),
    tries(40),
  );
});

test("a change to any byte of a shard is found", () => {
  const { ref, shards } = arena.disperse(noise(30_000, 2), 2, 3);
  const shard = shards[2]!;
  for (let at = 0; at < shard.length; at++) {
    assert.notEqual(fault(altered(shard, at, 1 << (at & 7)), ref.id, 2), undefined, `byte ${at}`);
  }
});

test("a change to any byte of a larger shard is found, and the block with it named", () => {
  const { ref, dispersal, shards } = arena.disperse(noise(1_000_000, 3), 3, 5);
  const shard = shards[1]!;
  const start = frontBytes(dispersal);
  fc.assert(
    fc.property(fc.nat(shard.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
      const block = Math.floor((at - start) / BLOCK_BYTES);
      const expected = at < start ? "front" : `block ${block}`;
      assert.equal(fault(altered(shard, at, mask), ref.id, 1), expected);
    }),
    tries(200),
  );
});

test("no shard passes for another index, another dispersal or another pack", () => {
  const bytes = noise(50_000, 4);
  const one = arena.disperse(bytes, 2, 3);
  const again = arena.disperse(bytes, 2, 3);
  const other = arena.disperse(bytes, 2, 3, parseId("PackId", "dd".repeat(16)));
  assert.equal(new Set([one.ref.id, again.ref.id, other.ref.id]).size, 3);
  for (const { shards } of [one, again, other]) {
    for (const [index, shard] of shards.entries()) {
      for (let claimed = 0; claimed < 3; claimed++) {
        if (shards === one.shards && claimed === index) continue;
        assert.throws(() => parseFront(shard, one.ref.id, claimed), code("altered"));
      }
    }
  }
  // The header of one with the roots and leaves of the other.
  const mixed = Buffer.concat([
    again.shards[0]!.subarray(0, FRONT_START_BYTES),
    one.shards[0]!.subarray(FRONT_START_BYTES),
  ]);
  assert.throws(() => parseFront(mixed, one.ref.id, 0), code("altered"));
  assert.throws(() => parseFront(mixed, again.ref.id, 0), code("altered"));
});

test("a shard that is cut short is refused at whatever byte it ends", () => {
  const { ref, dispersal, shards } = arena.disperse(noise(40_000, 5), 2, 3);
  for (let end = 0; end < frontBytes(dispersal); end++) {
    assert.throws(() => parseFront(shards[0]!.subarray(0, end), ref.id, 0), code("malformed"));
  }
  const front = parseFront(shards[0]!, ref.id, 0);
  const block = shards[0]!.subarray(frontBytes(dispersal)).subarray(0, BLOCK_BYTES);
  assert.equal(isBlock(front, 0, block), true);
  assert.equal(isBlock(front, 1, block), false);
  assert.equal(isBlock(front, 0, block.subarray(1)), false);
  assert.equal(isBlock(front, 0, new Uint8Array()), false);
  assert.equal(isBlock(front, 2, block), false, "there is no block 2");
  assert.equal(isBlock(front, 2, new Uint8Array()), false);
});

test("a header with reserved bytes in use, or impossible numbers, is malformed before all else", () => {
  const { shards } = arena.disperse(noise(40_000, 6), 2, 3);
  const refuse = (what: string, change: (header: Buffer) => void): void => {
    const header = Buffer.from(shards[1]!.subarray(0, FRONT_START_BYTES));
    change(header);
    assert.throws(() => frontBytesOf(header), code("malformed"), what);
  };
  for (const at of [14, 15, 68, 69, 70, 71]) refuse(`byte ${at}`, (h) => h.writeUInt8(1, at));
  for (let at = 0; at < 11; at++) refuse(`byte ${at}`, (h) => h.writeUInt8(h[at]! ^ 0x80, at));
  refuse("k of 0", (h) => h.writeUInt8(0, 11));
  refuse("k above n", (h) => h.writeUInt8(4, 11));
  refuse("n of 0", (h) => h.writeUInt8(0, 12));
  refuse("n above the most sites", (h) => h.writeUInt8(SITES_MAX + 1, 12));
  refuse("an index of n", (h) => h.writeUInt8(3, 13));
  refuse("an empty pack", (h) => h.writeBigUInt64LE(0n, 88));
  refuse("too long a pack", (h) => h.writeBigUInt64LE(BigInt(PACK_BYTES_MAX) + 1n, 88));
  refuse("an endless pack", (h) => h.writeBigUInt64LE(2n ** 64n - 1n, 88));
  refuse("a pack of other length than its pieces", (h) => h.writeBigUInt64LE(1n, 88));
  refuse("a piece length that does not follow", (h) => h.writeBigUInt64LE(16384n * 3n, 96));
});

test("the longest pack of the widest dispersal has a front of bounded length", () => {
  const widest = { ...context, pack: packId, k: 1, n: SITES_MAX, packBytes: PACK_BYTES_MAX };
  assert.equal(frontBytes(widest), 136 + 32 * 32 + 4096 * 32);
});

test("names of shards go there and back, and nothing else is one", () => {
  const id = parseId("DispersalId", "0f".repeat(32));
  for (let index = 0; index < SITES_MAX; index++) {
    assert.deepEqual(parseShardName(shardName(id, index)), { id, index });
  }
  const name = shardName(id, 7);
  assert.equal(name, `shard/${id}.07`);
  for (const wrong of [
    "",
    `${name} `,
    ` ${name}`,
    `${name}\n`,
    name.slice(1),
    name.slice(0, -1),
    `${name}0`,
    `shard/${id}.32`,
    `shard/${id}.-1`,
    `shard/${id}.7`,
    `shard/${id.toUpperCase()}.07`,
    `shard/../${id}.07`,
    `manifest/${id}.07`,
    `shard/${id}`,
  ]) {
    assert.throws(() => parseShardName(wrong), code("malformed"), JSON.stringify(wrong));
  }
});
