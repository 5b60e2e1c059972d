import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Arena, altered, keys, noise, sealPacks, tries } from "../../test/support/vault.ts";
import { type ErrorCode, isExclaveError } from "../errors.ts";
import { ChunkReader, encodeSegmentRecord, SegmentDecoder, tableChunkIds } from "./chunk-reader.ts";
import type { GatherOptions } from "./gather.ts";
import { KnownIds, newGeneration } from "./known-ids.ts";
import { decodeTable, PACK_HEADER_BYTES } from "./pack.ts";

const code =
  (...codes: ErrorCode[]) =>
  (error: unknown): boolean =>
    codes.some((one) => isExclaveError(error, one));

type Row = { readonly pack: string; readonly table: string };

function segment(stream: Uint8Array, blocks: readonly number[]): Row[] {
  const decoder = new SegmentDecoder();
  const rows: Row[] = [];
  for (let at = 0, i = 0; at < stream.length; i++) {
    const size = blocks[i % blocks.length]!;
    for (const { pack, table } of decoder.push(stream.subarray(at, at + size))) {
      rows.push({
        pack: Buffer.from(pack).toString("hex"),
        table: Buffer.from(table).toString("hex"),
      });
    }
    at += size;
  }
  decoder.end();
  return rows;
}

test("the records of an index segment come back from blocks of any size", () => {
  const pack = fc.uint8Array({ minLength: 16, maxLength: 16 });
  const rows = fc.array(fc.tuple(pack, fc.uint8Array({ maxLength: 200 })), { maxLength: 20 });
  const sizes = fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 10 });
  fc.assert(
    fc.property(rows, sizes, (rows, sizes) => {
      const stream = Buffer.concat(rows.map(([id, table]) => encodeSegmentRecord(id, table)));
      assert.deepEqual(
        segment(stream, sizes),
        rows.map(([id, table]) => ({
          pack: Buffer.from(id).toString("hex"),
          table: Buffer.from(table).toString("hex"),
        })),
      );
    }),
    tries(200),
  );
});

test("a segment that ends within a record, or claims an endless one, is refused", () => {
  const record = encodeSegmentRecord(noise(16, 1), noise(50, 2));
  for (let end = 1; end < record.length; end++) {
    assert.throws(() => segment(record.subarray(0, end), [7]), code("malformed"), `${end} bytes`);
  }
  const endless = Buffer.from(record);
  endless.writeUInt32LE(0xffffffff, 16);
  // At once, not when memory has run out or the stream has.
  const decoder = new SegmentDecoder();
  assert.throws(() => [...decoder.push(endless.subarray(0, 20))], code("malformed"));
});

test("the ids of a table are those of its frames, in order", () => {
  const chunks = Array.from({ length: 50 }, (_, i) => noise(3000, i));
  const { table, bytes } = sealPacks(chunks)[0]!;
  const expected = decodeTable(table, bytes.length).flatMap((frame) =>
    frame.chunks.map(({ id }) => Buffer.from(id).toString("hex")),
  );
  assert.equal(expected.length, 50);
  assert.deepEqual(
    [...tableChunkIds(table)].map((id) => Buffer.from(id).toString("hex")),
    expected,
  );
  for (const length of [0, 11, 12, table.length - 1]) {
    assert.throws(() => [...tableChunkIds(table.subarray(0, length))], code("malformed"));
  }
});

const arena = new Arena();

/** Some packs at three sites, with their index, and what was asked of the sites. */
function stored(chunks: readonly Uint8Array[], packBytes = 256 * 1024) {
  const packs = sealPacks(chunks, { packBytes }).map((sealed) => ({
    ...sealed,
    ...arena.disperse(sealed.bytes, 2, 3, sealed.pack),
  }));
  const ids = new KnownIds([newGeneration(0, 2)]);
  for (const [ordinal, { table }] of packs.entries()) {
    let chunk = 0;
    for (const id of tableChunkIds(table)) ids.claim(id, [ordinal, chunk++]);
  }
  const shards = new Map(packs.map(({ ref, shards }) => [ref.id, [...shards]]));
  const problems: string[] = [];
  const gather: GatherOptions = {
    kernel: arena.kernel,
    memory: arena.memory,
    fetch: (requests) =>
      requests.flatMap((request) =>
        arena.fetch((index) => shards.get(request.id)?.[index])([request]),
      ),
    onProblem: ({ shard }) => problems.push(shard),
    prefer: ({ n }) => Array.from({ length: n }, (_, i) => i),
  };
  const index = {
    find: (id: Uint8Array) => ids.value(id),
    ref: (ordinal: number) => packs[ordinal]!.ref,
  };
  return { packs, shards, problems, index, gather, reader: new ChunkReader(keys, index, gather) };
}

test("chunks of many packs are read in any order, with few of them open", () => {
  const chunks = Array.from({ length: 60 }, (_, i) => noise(20_000 + i, i));
  const { reader, packs } = stored(chunks, 65_536);
  assert.ok(packs.length > 10);
  const order = fc.sample(fc.shuffledSubarray(chunks, { minLength: 60 }), { numRuns: 2, seed: 1 });
  for (const chunk of order.flat()) {
    const found = reader.read(keys.chunkId(chunk), chunk.length);
    assert.ok(Buffer.from(found).equals(chunk));
  }
});

test("what is open stays open, and of many packs only a few", () => {
  const chunks = Array.from({ length: 12 }, (_, i) => noise(50_000, i));
  const { packs, index, gather } = stored(chunks, 65_536);
  assert.equal(packs.length, 12);
  let fetched = 0;
  const counting: GatherOptions = {
    ...gather,
    fetch: (requests) => {
      fetched += requests.length;
      return gather.fetch(requests);
    },
  };
  const reader = new ChunkReader(keys, index, counting);
  const cost = (chunk: Uint8Array): number => {
    const before = fetched;
    reader.read(keys.chunkId(chunk), chunk.length);
    return fetched - before;
  };
  assert.ok(cost(chunks[0]!) > 0);
  assert.equal(cost(chunks[0]!), 0, "it is open");
  for (const chunk of chunks) cost(chunk);
  assert.ok(cost(chunks[0]!) > 0, "it was closed to make room");
});

test("a chunk that the index lacks is not found; one of another length or id is not handed out", () => {
  const chunks = [noise(1000, 1), noise(2000, 2)];
  const { reader, index, gather, packs } = stored(chunks);
  const [one, two] = chunks.map((chunk) => keys.chunkId(chunk));
  assert.throws(() => reader.read(noise(32, 9), 10), code("not-found"));
  assert.throws(() => reader.read(one!, 999), code("altered"));
  const lying = (place: readonly [number, number]) =>
    new ChunkReader(keys, { ...index, find: () => place }, gather);
  // An index that sends the reader to the other chunk: same length asked, other content.
  assert.throws(() => lying([0, 1]).read(one!, 2000), code("altered"));
  assert.throws(() => lying([0, 2]).read(one!, 1000), code("altered"));
  assert.throws(() => lying([0, 2 ** 31]).read(one!, 1000), code("altered"));
  assert.equal(lying([0, 1]).read(two!, 2000).length, 2000);
  assert.equal(reader.readFrom(packs[0]!.ref, two!)?.length, 2000);
  assert.equal(reader.readFrom(packs[0]!.ref, noise(32, 9)), undefined);
});

test("a pack of another id in the place of a pack is refused", () => {
  const { packs, index, gather } = stored(
    [noise(1000, 1), noise(60_000, 2), noise(60_000, 3)],
    65_536,
  );
  assert.ok(packs.length > 1);
  const crossed = { ...packs[0]!.ref, pack: packs[1]!.pack };
  const reader = new ChunkReader(keys, { ...index, ref: () => crossed }, gather);
  assert.throws(
    () => reader.read(keys.chunkId(noise(1000, 1)), 1000),
    code("not-enough-shards", "altered"),
  );
});

test("bad shards are named while chunks come from the good ones, until too few are left", () => {
  const chunk = noise(5000, 1);
  const { reader, shards, packs, problems, index, gather } = stored([chunk]);
  const held = shards.get(packs[0]!.ref.id)!;
  held[0] = altered(held[0]!, held[0]!.length - 100);
  assert.equal(reader.read(keys.chunkId(chunk), 5000).length, 5000);
  held.fill(new Uint8Array(), 1, 2);
  const again = new ChunkReader(keys, index, gather);
  assert.throws(() => again.read(keys.chunkId(chunk), 5000), code("not-enough-shards"));
  assert.ok(problems.length >= 2);
});

test("a pack that a manifest says is shorter than a header is refused, not a mistake of ours", () => {
  const bytes = noise(PACK_HEADER_BYTES - 1, 1);
  const { ref, shards } = arena.disperse(bytes, 2, 3);
  const { gather, index } = stored([noise(10, 1)]);
  const fetch = arena.fetch((i) => shards[i]);
  const reader = new ChunkReader(keys, { ...index, ref: () => ref }, { ...gather, fetch });
  assert.throws(() => reader.read(keys.chunkId(noise(10, 1)), 10), code("malformed"));
});
