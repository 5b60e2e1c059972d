import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { loadKernel } from "../erasure/kernel.ts";
import { isExclaveError } from "../errors.ts";
import { CHUNK_LIMITS, Chunker, type ChunkLimits } from "./chunker.ts";

const slow = Boolean(process.env.SLOW);

/** Reproducible bytes that look random (splitmix32). */
function noise(length: number, seed: number): Uint8Array {
  let state = seed | 0;
  return Uint8Array.from({ length }, () => {
    state = (state + 0x9e3779b9) | 0;
    const mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    return Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97) >>> 23;
  });
}

const table = noise(1024, 1);

/** Small enough for thousands of chunks, with cuts of all three kinds. */
const smallLimits: ChunkLimits = {
  minBytes: 64,
  normalBytes: 256,
  maxBytes: 1024,
  strictZeroBits: 9,
  weakZeroBits: 7,
};

/** The definition, byte by byte, as docs/format.md states it. */
function referenceCuts(data: Uint8Array, limits: ChunkLimits): number[] {
  const gear = new DataView(table.buffer);
  const cuts: number[] = [];
  for (let start = 0; start < data.length; start += cuts.at(-1)!) {
    const end = Math.min(limits.maxBytes, data.length - start);
    let hash = 0;
    let length = end;
    for (let p = limits.minBytes - 31; p <= end; p++) {
      hash = ((hash << 1) + gear.getUint32(4 * data[start + p - 1]!, true)) >>> 0;
      const bits = p <= limits.normalBytes ? limits.strictZeroBits : limits.weakZeroBits;
      if (p > limits.minBytes && hash >>> (32 - bits) === 0) {
        length = p;
        break;
      }
    }
    cuts.push(length);
  }
  return cuts;
}

/** Cuts of a stream that arrives in reads of the given sizes, through a buffer in kernel memory. */
function streamCuts(data: Uint8Array, limits: ChunkLimits, readSizes: readonly number[]): number[] {
  const capacity = data.length + 64;
  const kernel = loadKernel(capacity + 1024);
  const buffer = kernel.alloc(capacity);
  const chunker = new Chunker(kernel, table, limits);
  const cuts: number[] = [];
  let [start, filled, reads] = [0, 0, 0];
  while (start < data.length) {
    const cut = chunker.nextCut(buffer + start, filled - start, filled === data.length);
    if (cut > 0) {
      cuts.push(cut);
      start += cut;
    } else {
      const size = Math.min(readSizes[reads++ % readSizes.length]!, data.length - filled);
      kernel.view(buffer + filled, size).set(data.subarray(filled, filled + size));
      filled += size;
    }
  }
  assert.equal(chunker.nextCut(buffer + start, 0, true), 0);
  return cuts;
}

test("cuts are those of the definition, whatever the sizes of reads", () => {
  const reads = fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(fc.nat(40_000), fc.integer(), reads, (length, seed, readSizes) => {
      const data = noise(length, seed);
      const expected = referenceCuts(data, smallLimits);
      assert.deepEqual(streamCuts(data, smallLimits, readSizes), expected);
      assert.deepEqual(streamCuts(data, smallLimits, [length + 1]), expected);
    }),
    { numRuns: slow ? 2000 : 60 },
  );
});

test("cuts under the limits of the format are those of the definition", () => {
  const megabytes = slow ? 256 : 24;
  const data = noise(megabytes * 1e6, 7);
  data.fill(0, 2e6, 5e6);
  const cuts = streamCuts(data, CHUNK_LIMITS, [1 << 20]);
  assert.deepEqual(cuts, referenceCuts(data, CHUNK_LIMITS));
  const { minBytes, normalBytes, maxBytes } = CHUNK_LIMITS;
  assert.ok(cuts.some((cut) => cut > minBytes && cut <= normalBytes));
  assert.ok(cuts.some((cut) => cut > normalBytes && cut < maxBytes));
});

test("chunks are whole, in order and within the limits; only the last may be short", () => {
  fc.assert(
    fc.property(fc.nat(60_000), fc.integer(), fc.nat(3), (length, seed, repeat) => {
      const data = noise(length, seed);
      if (repeat === 0) data.fill(seed);
      const cuts = streamCuts(data, smallLimits, [777]);
      assert.equal(
        cuts.reduce((sum, cut) => sum + cut, 0),
        length,
      );
      cuts.forEach((cut, i) => {
        assert.ok(cut > 0 && cut <= smallLimits.maxBytes);
        if (i < cuts.length - 1) assert.ok(cut > smallLimits.minBytes);
      });
    }),
    { numRuns: slow ? 2000 : 60 },
  );
});

test("after an insertion near the front most chunks stay the same", () => {
  const chunksOf = (data: Uint8Array): Set<string> => {
    const chunks = new Set<string>();
    let at = 0;
    for (const cut of streamCuts(data, smallLimits, [4096])) {
      chunks.add(Buffer.from(data.subarray(at, at + cut)).toString("base64"));
      at += cut;
    }
    return chunks;
  };
  const insertion = fc.uint8Array({ minLength: 1, maxLength: 300 });
  fc.assert(
    fc.property(fc.integer(), fc.nat(2000), insertion, (seed, at, inserted) => {
      const data = noise(100_000, seed);
      const before = chunksOf(data);
      const after = chunksOf(Buffer.concat([data.subarray(0, at), inserted, data.subarray(at)]));
      const kept = [...after].filter((chunk) => before.has(chunk)).length;
      assert.ok(kept > 0.75 * before.size, `${kept} of ${before.size}`);
    }),
    { numRuns: 20 },
  );
});

test("another table cuts elsewhere", () => {
  const kernel = loadKernel(200_000);
  const data = kernel.alloc(100_000);
  kernel.view(data, 100_000).set(noise(100_000, 3));
  const cutsFrom = (chunker: Chunker): number[] => {
    const cuts: number[] = [];
    for (let at = 0; at < 100_000; at += cuts.at(-1)!) {
      cuts.push(chunker.nextCut(data + at, 100_000 - at, true));
    }
    return cuts;
  };
  const chunker = new Chunker(kernel, table, smallLimits);
  const first = cutsFrom(chunker);
  chunker.setTable(noise(1024, 2));
  assert.notDeepEqual(cutsFrom(chunker), first);
  chunker.setTable(table);
  assert.deepEqual(cutsFrom(chunker), first);
});

test("more is asked for while fewer than the maximum are there, and nothing outside is read", () => {
  const kernel = loadKernel(4096);
  const data = kernel.alloc(1024);
  const chunker = new Chunker(kernel, table, smallLimits);
  assert.equal(chunker.nextCut(data, 1023, false), 0);
  assert.equal(chunker.nextCut(data, 0, false), 0);
  assert.equal(chunker.nextCut(data, 64, true), 64);
  assert.equal(chunker.nextCut(data, 1, true), 1);
  const bug = (error: unknown): boolean => isExclaveError(error, "bug");
  assert.throws(() => chunker.nextCut(kernel.memory.length - 100, 200, true), bug);
  assert.throws(() => new Chunker(kernel, new Uint8Array(1000)), bug);
  assert.throws(() => new Chunker(kernel, table, { ...smallLimits, minBytes: 31 }), bug);
});
