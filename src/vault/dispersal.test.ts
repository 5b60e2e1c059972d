import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { Arena, altered, keys, noise, packId, sealPacks, tries } from "../../test/support/vault.ts";
import { reconstruct } from "../erasure/reed-solomon.ts";
import { derive } from "../erasure/shamir.ts";
import { isExclaveError } from "../errors.ts";
import { parseId } from "./identifiers.ts";
import { PackReader } from "./pack-reader.ts";
import {
  BLOCK_BYTES,
  blockLeaves,
  blocksPerPiece,
  encodeFronts,
  frontBytes,
  parseFront,
  shardName,
} from "./shard.ts";

const PACK_BYTES_MAX = 5 * 1024 * 1024;
const arena = new Arena(PACK_BYTES_MAX);

const shape = fc
  .tuple(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 8 }))
  .map(([a, b]) => ({ k: Math.min(a, b), n: Math.max(a, b) }));

/** Lengths around the edges of blocks and rows as well as anywhere. */
const length = fc.oneof(
  fc.integer({ min: 1, max: 600_000 }),
  fc
    .tuple(fc.integer({ min: 1, max: 20 }), fc.integer({ min: -1, max: 1 }))
    .map(([blocks, more]) => blocks * BLOCK_BYTES + more),
);

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

test("any k of n shards give any range of the pack", () => {
  const ranges = fc.array(fc.tuple(fc.nat(), fc.nat()), { minLength: 1, maxLength: 8 });
  const order = fc.shuffledSubarray([0, 1, 2, 3, 4, 5, 6, 7], { minLength: 8 });
  fc.assert(
    fc.property(shape, length, ranges, order, ({ k, n }, packBytes, ranges, order) => {
      const bytes = noise(packBytes, packBytes);
      const { ref, shards } = arena.disperse(bytes, k, n);
      const present = order.filter((index) => index < n).slice(0, k);
      const { pack, problems } = arena.gather(ref, (index) => shards[index], present);
      for (const [a, b] of ranges) {
        const offset = a % packBytes;
        const size = b % (packBytes - offset + 1);
        assert.equal(hex(pack.range(offset, size)), hex(bytes.subarray(offset, offset + size)));
      }
      assert.deepEqual(problems, []);
    }),
    tries(60),
  );
});

const FAULTS = [
  "missing",
  "altered front",
  "altered block",
  "truncated",
  "swapped",
  "foreign",
  "stale",
  "empty",
] as const;

test("up to n-k bad shards are each named, no good one is, and the data is right", () => {
  const plan = fc.record({
    shape,
    packBytes: length,
    faults: fc.array(fc.tuple(fc.nat(), fc.constantFrom(...FAULTS), fc.nat()), { maxLength: 8 }),
  });
  fc.assert(
    fc.property(plan, ({ shape: { k, n }, packBytes, faults }) => {
      const bytes = noise(packBytes, packBytes);
      const good = arena.disperse(bytes, k, n);
      const stale = arena.disperse(bytes, k, n);
      const foreign = arena.disperse(bytes, k, n, parseId("PackId", "dd".repeat(16)));
      const front = frontBytes(good.dispersal);
      const bad = new Map<number, Uint8Array | undefined>();
      for (const [at, fault, detail] of faults) {
        if (bad.size === n - k) break;
        const index = at % n;
        const shard = good.shards[index]!;
        const piece = shard.length - front;
        bad.set(
          index,
          {
            missing: undefined,
            "altered front": altered(shard, detail % front, 1 + (detail % 255)),
            "altered block": altered(shard, front + (detail % piece), 1 + (detail % 255)),
            truncated: shard.subarray(0, detail % shard.length),
            swapped: good.shards[(index + 1 + (detail % (n - 1))) % n],
            foreign: foreign.shards[index],
            stale: stale.shards[index],
            empty: new Uint8Array(),
          }[fault],
        );
      }
      // Bad ones first, so that each of them is tried.
      const order = [...bad.keys(), ...[...good.shards.keys()].filter((index) => !bad.has(index))];
      const { pack, problems } = arena.gather(
        good.ref,
        (index) => (bad.has(index) ? bad.get(index) : good.shards[index]),
        order,
      );
      assert.equal(hex(pack.range(0, packBytes)), hex(bytes));
      assert.deepEqual(
        problems.map(({ index }) => index).toSorted(),
        [...bad.keys()].toSorted(),
        "exactly the bad ones are named, each once",
      );
      for (const { shard, index, why } of problems) {
        assert.equal(shard, shardName(good.ref.id, index));
        assert.ok(why.length > 0);
      }
    }),
    tries(120),
  );
});

test("with fewer than k good shards the error says so and names the pack", () => {
  const bytes = noise(100_000, 1);
  const { ref, shards } = arena.disperse(bytes, 3, 5);
  const front = frontBytes(ref);
  const lost = (error: unknown): boolean =>
    isExclaveError(error, "not-enough-shards") &&
    error.message.includes(packId) &&
    error.message.includes("3") &&
    error.message.includes("2");
  const missing = arena.gather(ref, (i) => (i < 2 ? shards[i] : undefined));
  assert.throws(() => missing.pack.range(0, 1), lost);
  assert.deepEqual(
    missing.problems.map(({ index }) => index),
    [2, 3, 4],
  );
  // Fronts that are all good, over blocks that are not.
  const lying = arena.gather(ref, (i) => (i < 2 ? shards[i] : altered(shards[i]!, front)));
  assert.throws(() => lying.pack.range(0, 1), lost);
  // And again: what was found bad stays bad.
  assert.throws(() => lying.pack.range(0, 1), lost);
  assert.equal(lying.problems.length, 3);
});

test("a shard that goes bad after good blocks is replaced on the way, and named once", () => {
  const bytes = noise(PACK_BYTES_MAX, 7);
  const { ref, shards } = arena.disperse(bytes, 2, 4);
  const front = frontBytes(ref);
  const blocks = blocksPerPiece(ref.packBytes, ref.k);
  const cut = shards[1]!.subarray(0, front + Math.floor(blocks / 2) * BLOCK_BYTES + 5);
  const bad = altered(shards[0]!, front + (blocks - 1) * BLOCK_BYTES);
  const { pack, problems } = arena.gather(ref, (i) => [bad, cut, shards[2], shards[3]][i]);
  const seen: number[] = [];
  for (let at = 0; at < bytes.length; at += 65_536) {
    assert.deepEqual(
      Buffer.from(pack.range(at, 65_536)),
      Buffer.from(bytes).subarray(at, at + 65_536),
    );
    seen.push(problems.length);
  }
  assert.deepEqual(
    problems.map(({ index }) => index),
    [1, 0],
  );
  assert.equal(seen[0], 0, "at first both were good");
  assert.equal(problems[1]?.why, `block ${blocks - 1} is not what was stored`);
});

test("once it is known that data cannot be had, what can be had is still read", () => {
  const bytes = noise(PACK_BYTES_MAX, 8);
  const { ref, shards } = arena.disperse(bytes, 2, 2);
  const front = frontBytes(ref);
  const blocks = blocksPerPiece(ref.packBytes, ref.k);
  const bad = altered(shards[0]!, front + (blocks - 1) * BLOCK_BYTES);
  const { pack } = arena.gather(ref, (i) => [bad, shards[1]][i]);
  assert.deepEqual(Buffer.from(pack.range(0, 100)), Buffer.from(bytes).subarray(0, 100));
  assert.throws(
    () => pack.range(bytes.length - 100, 100),
    (error) => isExclaveError(error, "not-enough-shards"),
  );
});

test("a shard of the right name is refused when the manifest's row speaks of another pack", () => {
  const { ref, shards } = arena.disperse(noise(40_000, 9), 2, 3);
  for (const wrong of [
    { ...ref, pack: parseId("PackId", "dd".repeat(16)) },
    { ...ref, packBytes: ref.packBytes - 1 },
    { ...ref, n: 4 },
    { ...ref, k: 1 },
  ]) {
    const { pack, problems } = arena.gather(wrong, (i) => shards[i]);
    assert.throws(
      () => pack.range(0, 1),
      (error) => isExclaveError(error, "not-enough-shards"),
    );
    assert.ok(problems.length > wrong.n - wrong.k);
  }
});

test("the same bytes dispersed again have no piece in common with before", () => {
  const bytes = new Uint8Array(BLOCK_BYTES * 2);
  const [one, two] = [arena.disperse(bytes, 2, 3), arena.disperse(bytes, 2, 3)];
  assert.notEqual(one.ref.id, two.ref.id);
  const front = frontBytes(one.dispersal);
  for (const [i, shard] of one.shards.entries()) {
    assert.notEqual(hex(shard.subarray(front)), hex(two.shards[i]!.subarray(front)));
  }
});

test("the last row is filled with zeros, and with nothing that was dispersed before", () => {
  arena.disperse(noise(PACK_BYTES_MAX, 1), 3, 5);
  // Two blocks and a bit: the third of three ends early, and the next row has no second and third.
  for (const packBytes of [2 * BLOCK_BYTES + 100, 3 * BLOCK_BYTES + 100]) {
    const { ref, shards } = arena.disperse(noise(packBytes, 2), 3, 5);
    const row = blocksPerPiece(packBytes, 3) - 1;
    const blocks = Array.from({ length: 3 }, (_, i) =>
      Buffer.from(shards[i]!.subarray(frontBytes(ref) + row * BLOCK_BYTES)),
    );
    const filled = Buffer.concat(blocks).subarray(packBytes - 3 * row * BLOCK_BYTES);
    assert.ok(filled.length > 0 && filled.every((byte) => byte === 0));
  }
});

/** Any k shards of one dispersal into another: what a repairer does, who has no key of the State. */
function redisperse(
  ref: Parameters<Arena["gather"]>[0],
  shardAt: (index: number) => Uint8Array | undefined,
  k: number,
  n: number,
): ReturnType<Arena["disperse"]> {
  const { pack } = arena.gather(ref, shardAt);
  return arena.disperse(Uint8Array.from(pack.range(0, ref.packBytes)), k, n, ref.pack);
}

test("re-dispersing works without any key of the State, and the epoch key opens what comes out", () => {
  const chunks = [noise(50_000, 1), new Uint8Array(30_000), noise(70_000, 2)];
  const sealed = sealPacks(chunks)[0]!;
  const first = arena.disperse(sealed.bytes, 2, 3, sealed.pack);
  for (const [k, n] of [
    [3, 5],
    [1, 2],
    [2, 3],
  ] as const) {
    const next = redisperse(first.ref, (i) => (i === 1 ? undefined : first.shards[i]), k, n);
    assert.notEqual(next.ref.id, first.ref.id);
    assert.equal(next.ref.pack, sealed.pack);
    const { pack } = arena.gather(next.ref, (i) => (i < n - k ? undefined : next.shards[i]));
    const reader = new PackReader(keys, sealed.pack, next.ref.packBytes, (o, l) =>
      pack.range(o, l),
    );
    const found = reader.frames().flatMap((frame, position) => {
      const raw = reader.readFrame(position, frame);
      return frame.chunks.map(({ offset, bytes }) => hex(raw.subarray(offset, offset + bytes)));
    });
    assert.deepEqual(found, chunks.map(hex));
  }
});

test("the code of dispersal and gathering imports nothing of seals or epoch keys", () => {
  for (const file of ["dispersal.ts", "gather.ts", "shard.ts", "merkle.ts", "verify-shard.ts"]) {
    const text = readFileSync(new URL(file, import.meta.url), "utf8");
    assert.doesNotMatch(text, /from "\.\/(epoch-keys|pack|pack-reader|pack-writer|documents)\.ts"/);
  }
});

test("a rebuilt shard is bit for bit the lost one, from whichever k are left", () => {
  const order = fc.shuffledSubarray([0, 1, 2, 3, 4, 5, 6, 7], { minLength: 8 });
  fc.assert(
    fc.property(shape, length, order, ({ k, n }, packBytes, order) => {
      const { ref, dispersal, shards } = arena.disperse(noise(packBytes, 3), k, n);
      const front = frontBytes(ref);
      const pieceBytes = blocksPerPiece(packBytes, k) * BLOCK_BYTES;
      const present = order.filter((index) => index < n).slice(0, k);
      const at = (index: number): number => arena.memory.offset + index * pieceBytes;
      for (const index of present) {
        arena.kernel.view(at(index), pieceBytes).set(shards[index]!.subarray(front));
      }
      const place = (index: number) => ({ index, offset: at(index) });
      const wanted = order.filter((index) => index < n && !present.includes(index)).map(place);
      reconstruct(arena.kernel, { k, n, pieceBytes, present: present.map(place), wanted });
      const shares = present.map((index) => ({
        index,
        share: parseFront(shards[index]!, ref.id, index).keyShare,
      }));
      const pieces = shards.map((_, index) => arena.kernel.view(at(index), pieceBytes));
      const rebuilt = encodeFronts(
        dispersal,
        shards.map((_, index) => derive(shares, k, index)),
        pieces.map(blockLeaves),
      );
      assert.equal(rebuilt.id, ref.id);
      for (const [index, shard] of shards.entries()) {
        const whole = Buffer.concat([rebuilt.fronts[index]!, pieces[index]!]);
        assert.ok(whole.equals(shard), `shard ${index} of ${k}-of-${n}`);
      }
    }),
    tries(30),
  );
});
