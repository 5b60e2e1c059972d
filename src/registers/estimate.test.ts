import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { shardBytes } from "../vault/shard.ts";
import { type Content, changeFromHistory, estimateFirst, estimateLater } from "./estimate.ts";

const content: Content = {
  entries: 1000,
  nameBytes: 20_000,
  contentBytes: 1e9,
  chunks: 5300,
  storedPerByte: 0.5,
};

test("half a gigabyte when sealed, over 3 of 5 sites, is a third of that at each, and a little", () => {
  const { packBytes, packs, bytesPerSite, documentBytes } = estimateFirst(content, {
    k: 3,
    n: 5,
    workers: 2,
  });
  assert.ok(packBytes > 0.5e9 && packBytes < 0.55e9, `${packBytes}`);
  assert.ok(bytesPerSite > packBytes / 3 && bytesPerSite < (packBytes / 3) * 1.02 + documentBytes);
  // Packs of 8 MiB, the last one of each thread, entries, index.
  assert.ok(packs > 0.5e9 / 2 ** 23 && packs < 70, `${packs}`);
});

test("an empty register costs its entries, its index and its documents", () => {
  const empty = { entries: 1, nameBytes: 0, contentBytes: 0, chunks: 0, storedPerByte: 1 };
  const { packs, packBytes, bytesPerSite, documentBytes } = estimateFirst(empty, {
    k: 3,
    n: 5,
    workers: 8,
  });
  assert.deepEqual({ packs, packBytes }, { packs: 2, packBytes: 65_536 });
  assert.equal(bytesPerSite, documentBytes + 2 * shardBytes({ packBytes: 32_768, k: 3, n: 5 }));
});

test("a day without changes costs its documents and one small pack", () => {
  const { packs, contentBytes } = estimateLater(content, { k: 3, n: 5, workers: 2 }, 0);
  assert.deepEqual({ packs, contentBytes }, { packs: 1, contentBytes: 0 });
});

const shapes = fc
  .record({
    k: fc.integer({ min: 1, max: 16 }),
    more: fc.integer({ min: 0, max: 16 }),
    workers: fc.integer({ min: 1, max: 8 }),
  })
  .map(({ k, more, workers }) => ({ k, n: k + more, workers }));
const contents = fc
  .record({
    files: fc.integer({ min: 0, max: 1e7 }),
    nameBytesEach: fc.integer({ min: 1, max: 255 }),
    contentBytes: fc.integer({ min: 0, max: 1e14 }),
    storedPerByte: fc.double({ min: 0.01, max: 1.02, noNaN: true }),
  })
  .map(({ files, nameBytesEach, contentBytes, storedPerByte }) => ({
    entries: files + 1,
    nameBytes: files * nameBytesEach,
    contentBytes: files === 0 ? 0 : contentBytes,
    chunks: files === 0 ? 0 : Math.max(files, contentBytes / 190_000),
    storedPerByte,
  }));

test("whatever it is, all of it is there: padding adds and never takes away, k shards hold a pack", () => {
  fc.assert(
    fc.property(
      contents,
      shapes,
      fc.double({ min: 0, max: 1, noNaN: true }),
      (some, shape, part) => {
        for (const volume of [estimateFirst(some, shape), estimateLater(some, shape, part)]) {
          assert.ok(volume.packBytes >= volume.storedBytes - 1);
          assert.ok((volume.bytesPerSite - volume.documentBytes) * shape.k >= volume.packBytes);
          assert.ok(Number.isSafeInteger(volume.bytesPerSite));
        }
      },
    ),
  );
});

test("more new content never costs less, and all of it new about as much as the first time", () => {
  const part = fc.double({ min: 0, max: 1, noNaN: true });
  fc.assert(
    fc.property(contents, shapes, part, part, (some, { k, n }, a, b) => {
      // More threads have more open packs, each padded: with one of them it is monotone.
      const shape = { k, n, workers: 1 };
      const stored = (fraction: number): number => estimateLater(some, shape, fraction).storedBytes;
      assert.ok(stored(Math.min(a, b)) <= stored(Math.max(a, b)) + 1);
      assert.ok(stored(1) >= estimateFirst(some, shape).storedBytes - 1);
    }),
  );
});

test("what was new each day is read from how the index has grown", () => {
  const point = (day: number, indexBytes: number) => ({
    time: new Date(Date.UTC(2026, 10, 1 + day)).toISOString(),
    indexBytes,
  });
  assert.deepEqual(changeFromHistory([point(0, 1000), point(2, 1010), point(5, 1050)]), {
    fractionPerDay: 0.01,
    recoveryPoints: 3,
    days: 5,
  });
  // The index was written anew, without what was lost.
  assert.equal(changeFromHistory([point(0, 1000), point(1, 900)])?.fractionPerDay, 0);
  assert.equal(changeFromHistory([]), undefined);
  assert.equal(changeFromHistory([point(0, 1000)]), undefined);
  assert.equal(changeFromHistory([point(0, 0), point(1, 100)]), undefined);
  assert.equal(changeFromHistory([point(0, 1000), point(0.9, 1100)]), undefined);
});
