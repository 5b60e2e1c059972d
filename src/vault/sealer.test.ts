import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Arena, keys, noise, slow } from "../../test/support/vault.ts";
import { CHUNK_LIMITS } from "./chunker.ts";
import type { DispersedRef } from "./gather.ts";
import { KnownIds, newGeneration } from "./known-ids.ts";
import { FRAME_BYTES_MAX, type PackKind } from "./pack.ts";
import { PackReader } from "./pack-reader.ts";
import { type ByteSource, Sealer } from "./sealer.ts";

const runs = { numRuns: slow ? 60 : 6 };
const arena = new Arena(4 * 1024 * 1024, 3);

type Piece = { readonly id: string; readonly bytes: number; readonly pack: string | undefined };
type Stored = {
  readonly ref: DispersedRef;
  readonly kind: PackKind;
  readonly shards: readonly Uint8Array[];
};

/** A sealer whose dispersed packs are kept. */
function sealing(known = new KnownIds([newGeneration(4096, 0)])) {
  const stored: Stored[] = [];
  let storing = false;
  const sealer = new Sealer({
    keys,
    known,
    k: 2,
    n: 3,
    awaitSlot: () => {
      storing = false;
    },
    store: (sealed, { id, shards }) => {
      assert.equal(storing, false, "the slot was waited for");
      storing = true;
      const { pack, bytes, kind } = sealed;
      stored.push({
        ref: { pack, id, k: 2, n: 3, packBytes: bytes.length },
        kind,
        shards: shards.map((shard) => Uint8Array.from(shard)),
      });
    },
  });
  return { sealer, stored, known };
}

/** A source that gives at most so many bytes a time, over and over. */
function sourceOf(data: Uint8Array, sizes: readonly number[]): ByteSource {
  let [at, reads] = [0, 0];
  return (into) => {
    const most = sizes[reads++ % sizes.length]!;
    const part = data.subarray(at, at + Math.min(most, into.length));
    into.set(part);
    at += part.length;
    return part.length;
  };
}

function pulled(data: Uint8Array, sizes: readonly number[], into = sealing()): Piece[] {
  const pieces: Piece[] = [];
  into.sealer.seal("data", sourceOf(data, sizes), (id, bytes, pack) => {
    pieces.push({ id: Buffer.from(id).toString("hex"), bytes, pack });
  });
  into.sealer.flush();
  return pieces;
}

function pushed(data: Uint8Array, sizes: readonly number[], into = sealing()): Piece[] {
  const pieces: Piece[] = [];
  const onChunk = (id: Uint8Array, bytes: number, pack: string | undefined): void => {
    pieces.push({ id: Buffer.from(id).toString("hex"), bytes, pack });
  };
  const stream = into.sealer.openStream("data");
  for (let at = 0, i = 0; at < data.length; i++) {
    const size = sizes[i % sizes.length]!;
    stream.push(data.subarray(at, at + size), onChunk);
    at += size;
  }
  stream.end(onChunk);
  into.sealer.flush();
  return pieces;
}

const cuts = (pieces: readonly Piece[]) => pieces.map(({ id, bytes }) => ({ id, bytes }));

/** What the pieces must be of: each id is that of the bytes at its place. */
function assertPieces(data: Uint8Array, pieces: readonly Piece[]): void {
  let at = 0;
  for (const { id, bytes } of pieces) {
    assert.ok(bytes > 0 && bytes <= CHUNK_LIMITS.maxBytes);
    const chunk = data.subarray(at, at + bytes);
    assert.equal(id, Buffer.from(keys.chunkId(chunk)).toString("hex"));
    at += bytes;
  }
  assert.equal(at, data.length);
}

test("chunks and ids are the same whatever the sizes of reads, pulled or pushed", () => {
  const sizes = fc.array(
    fc.oneof(fc.integer({ min: 1000, max: 50_000 }), fc.integer({ min: 1, max: 5_000_000 })),
    { minLength: 1, maxLength: 6 },
  );
  fc.assert(
    fc.property(fc.nat(6_000_000), fc.nat(9), sizes, (length, seed, sizes) => {
      const data = noise(length, seed);
      const whole = pulled(data, [Number.MAX_SAFE_INTEGER]);
      assertPieces(data, whole);
      assert.deepEqual(cuts(pulled(data, sizes)), cuts(whole));
      assert.deepEqual(cuts(pushed(data, sizes)), cuts(whole));
    }),
    runs,
  );
});

test("an empty source has no chunks, and stores nothing", () => {
  const into = sealing();
  assert.deepEqual(pulled(new Uint8Array(), [1], into), []);
  assert.deepEqual(pushed(new Uint8Array(), [1], into), []);
  assert.deepEqual(into.stored, []);
});

test("what is known is not stored again, wherever it comes from", () => {
  const data = noise(3_000_000, 1);
  const into = sealing();
  const first = pulled(data, [100_000], into);
  const packs = into.stored.length;
  assert.ok(first.every(({ pack }) => pack !== undefined));
  assert.ok(packs > 0);
  for (const again of [pulled(data, [77_777], into), pushed(data, [33_333], into)]) {
    assert.deepEqual(cuts(again), cuts(first));
    assert.ok(again.every(({ pack }) => pack === undefined));
  }
  // Another thread with the same table.
  const other = sealing(into.known);
  assert.ok(pulled(data, [50_000], other).every(({ pack }) => pack === undefined));
  assert.equal(into.stored.length, packs);
  assert.equal(other.stored.length, 0);
});

test("an insertion leaves most chunks as they were", () => {
  const data = noise(5_000_000, 2);
  const changed = Buffer.concat([
    data.subarray(0, 1_000_000),
    Buffer.of(1, 2, 3),
    data.subarray(1_000_000),
  ]);
  const into = sealing();
  pulled(data, [1_000_000], into);
  const fresh = pulled(changed, [1_000_000], into).filter(({ pack }) => pack !== undefined);
  assert.ok(fresh.length <= 4, `${fresh.length} new chunks`);
});

test("what was stored is read back from any two of three sites, in the packs that were named", () => {
  const data = Buffer.concat([noise(2_000_000, 3), Buffer.alloc(1_500_000, "birth record; ")]);
  const into = sealing();
  const pieces = pulled(data, [300_000], into);
  pieces.push(...pushed(noise(400_000, 4), [99], into));
  const held = new Map<string, { pack: string; bytes: number }>();
  for (const { ref, shards } of into.stored) {
    const { pack } = arena.gather(ref, (i) => (i === 0 ? undefined : shards[i]));
    const reader = new PackReader(keys, ref.pack, ref.packBytes, (at, length) =>
      pack.range(at, length),
    );
    for (const [position, frame] of reader.frames().entries()) {
      const raw = reader.readFrame(position, frame);
      for (const { id, offset, bytes } of frame.chunks) {
        assert.deepEqual(
          Buffer.from(keys.chunkId(raw.subarray(offset, offset + bytes))),
          Buffer.from(id),
        );
        const name = Buffer.from(id).toString("hex");
        assert.equal(held.has(name), false, "no chunk is stored twice");
        held.set(name, { pack: ref.pack, bytes });
      }
    }
  }
  for (const { id, bytes, pack } of pieces) {
    if (pack !== undefined) assert.deepEqual(held.get(id), { pack, bytes });
    else assert.equal(held.get(id)?.bytes, bytes);
  }
});

test("packs hold one kind each, and a whole chunk is stored though it is known", () => {
  const into = sealing();
  const root = noise(5000, 5);
  const packs: (string | undefined)[] = [];
  const note = (_id: Uint8Array, _bytes: number, pack: string | undefined): void => {
    packs.push(pack);
  };
  into.sealer.sealWhole("tail", root, note);
  into.sealer.sealWhole("tail", root, note);
  into.sealer.seal("entries", sourceOf(noise(1000, 6), [1000]), note);
  into.sealer.seal("data", sourceOf(noise(1000, 7), [1000]), note);
  into.sealer.flush();
  into.sealer.flush();
  assert.ok(packs.every((pack) => pack !== undefined));
  assert.deepEqual(into.stored.map(({ kind }) => kind).toSorted(), ["data", "entries", "tail"]);
  assert.throws(() => into.sealer.sealWhole("tail", noise(FRAME_BYTES_MAX + 1, 1), note));
});
