import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Arena, altered, noise, tries } from "../../test/support/vault.ts";
import { BLOCK_BYTES, blocksPerPiece, frontBytes, shardBytes } from "./shard.ts";
import { verifyShard } from "./verify-shard.ts";

const arena = new Arena();
const packBytes = 700_000;
const { ref, shards } = arena.disperse(noise(packBytes, 1), 2, 3);
const front = frontBytes(ref);

const check = (
  shard: Uint8Array | undefined,
  index = 0,
  id = ref.id,
  memory = arena.memory,
): ReturnType<typeof verifyShard> =>
  verifyShard(
    arena.kernel,
    memory,
    arena.fetch(() => shard),
    id,
    index,
  );

test("a good shard passes, in steps of whatever memory there is, and every byte of it is read", () => {
  for (const blocks of [2, 3, 5, 1000]) {
    const memory = { offset: arena.memory.offset, bytes: blocks * BLOCK_BYTES };
    for (const [index, shard] of shards.entries()) {
      const { bytes, problem } = check(shard, index, ref.id, memory);
      assert.equal(problem, undefined);
      assert.equal(bytes, shardBytes(ref) + 136, "its first bytes are read twice");
    }
  }
});

test("a change to any byte is found, and a bad block is named", () => {
  fc.assert(
    fc.property(fc.nat(shards[0]!.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
      const { problem } = check(altered(shards[0]!, at, mask));
      if (at < front) assert.ok(problem);
      else {
        const block = Math.floor((at - front) / BLOCK_BYTES);
        assert.equal(problem, `block ${block} is not what was stored`);
      }
    }),
    tries(100),
  );
});

test("a shard that is missing, cut short, of another index or dispersal has a problem", () => {
  const other = arena.disperse(noise(packBytes, 1), 2, 3);
  for (const [what, shard] of [
    ["missing", undefined],
    ["empty", new Uint8Array()],
    ["a header", shards[0]!.subarray(0, 136)],
    ["a front", shards[0]!.subarray(0, front)],
    ["all but a byte", shards[0]!.subarray(0, -1)],
    ["swapped", shards[1]],
    ["foreign", other.shards[0]],
    ["zeros", new Uint8Array(shardBytes(ref))],
  ] as const) {
    assert.ok(check(shard).problem, what);
  }
});

test("bytes behind the end of a shard are found", () => {
  for (const more of [1, 31, BLOCK_BYTES]) {
    for (const [index, shard] of shards.entries()) {
      const longer = Buffer.concat([shard, noise(more, 2)]);
      assert.equal(check(longer, index).problem, "it is longer than it should be");
    }
  }
});

test("blocks that changed places are found", () => {
  const swapped = Uint8Array.from(shards[0]!);
  const blocks = blocksPerPiece(packBytes, 2);
  assert.ok(blocks > 2);
  swapped.copyWithin(front, front + BLOCK_BYTES, front + 2 * BLOCK_BYTES);
  swapped.set(shards[0]!.subarray(front, front + BLOCK_BYTES), front + BLOCK_BYTES);
  assert.equal(check(swapped).problem, "block 0 is not what was stored");
});
