import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { memoryTree, survives } from "../../test/support/ledger.ts";
import { concat, toHex, utf8 } from "../crypto/bytes.ts";
import {
  consistencyNodes,
  consistencyProof,
  inclusionNodes,
  inclusionProof,
  leafHash,
  nodeHash,
  rootNodes,
  treeRoot,
  verifyInclusion,
} from "./merkle.ts";
import {
  decodeEntryBundle,
  ENTRY_BYTES_MAX,
  encodeEntryBundle,
  newEntryBundles,
  newTiles,
  parseTilePath,
  type Tile,
  tileNodes,
  tilePath,
  tilesOf,
} from "./tiles.ts";

const malformed = { code: "malformed" };
const paths = (tiles: Iterable<Tile>): string[] => [...tiles].map(tilePath);

test("the paths of tlog-tiles: index 1234067 is x001/x234/067", () => {
  for (const [tile, path] of [
    [{ level: 0, index: 1234067, width: 256 }, "tile/0/x001/x234/067"],
    [{ level: 63, index: 0, width: 1 }, "tile/63/000.p/1"],
    [{ level: 1, index: 999, width: 255 }, "tile/1/999.p/255"],
    [{ level: "entries", index: 1000, width: 256 }, "tile/entries/x001/000"],
    [{ level: "entries", index: 273, width: 112 }, "tile/entries/273.p/112"],
    [
      { level: 0, index: Number.MAX_SAFE_INTEGER, width: 256 },
      "tile/0/x009/x007/x199/x254/x740/991",
    ],
  ] as [Tile, string][]) {
    assert.equal(tilePath(tile), path);
    assert.deepEqual(parseTilePath(path), tile);
  }
});

test("a path that names no tile, or in another than its one form, is refused", () => {
  for (const path of [
    "",
    "tile/0/0",
    "tile/0/00",
    "tile/0/0000",
    "tile/00/000",
    "tile/01/000",
    "tile/64/000",
    "tile/100/000",
    "tile/-1/000",
    "tile/data/000",
    "tile/0/x000/000",
    "tile/0/001/000",
    "tile/0/x001",
    "tile/0/x001/x234",
    "tile/0/000.p/0",
    "tile/0/000.p/00",
    "tile/0/000.p/01",
    "tile/0/000.p/256",
    "tile/0/000.p/999",
    "tile/0/000.p/",
    "tile/0/000.p/1/",
    "tile/0/000/",
    "/tile/0/000",
    "tile/0/000\n",
    "tile/8/0/000",
    "tile/0/x009/x007/x199/x254/x740/992",
    `tile/0/${"x001/".repeat(20)}000`,
  ])
    assert.throws(() => parseTilePath(path), malformed, path);
});

test("whatever a path is altered to, it is refused or has that one name", () => {
  const seeds = ["tile/0/x001/x234/067", "tile/entries/273.p/112"];
  fc.assert(
    fc.property(
      fc.constantFrom(...seeds),
      fc.nat(30),
      fc.string({ maxLength: 2 }),
      (s, at, add) => {
        const path = s.slice(0, at) + add + s.slice(at + 1);
        if (survives(() => parseTilePath(path)) === "read")
          assert.equal(tilePath(parseTilePath(path)), path);
      },
    ),
    { numRuns: 2000 },
  );
});

test("the trees of 70,000 and of 256 entries have the tiles that tlog-tiles counts", () => {
  const tiles = [...newTiles(0, 70_000)];
  const of = (level: number): string[] => paths(tiles.filter((tile) => tile.level === level));
  assert.equal(of(0).length, 274);
  assert.equal(of(0)[272], "tile/0/272");
  assert.equal(of(0)[273], "tile/0/273.p/112");
  assert.deepEqual(of(1), ["tile/1/000", "tile/1/001.p/17"]);
  assert.deepEqual(of(2), ["tile/2/000.p/1"]);
  assert.equal(tiles.length, 277);
  assert.deepEqual(paths(newTiles(0, 256)), ["tile/0/000", "tile/1/000.p/1"]);
  assert.deepEqual(paths(newEntryBundles(0, 300)), ["tile/entries/000", "tile/entries/001.p/44"]);
});

test("a tree grown from one size to another has new exactly those tiles that the smaller has not", () => {
  const sizes = fc.oneof(
    fc.nat(1200),
    fc.constantFrom(0, 1, 255, 256, 257, 65_535, 65_536, 65_537, 70_000),
  );
  fc.assert(
    fc.property(sizes, sizes, (a, b) => {
      const [from, to] = a < b ? [a, b] : [b, a];
      const before = new Set(paths(newTiles(0, from)));
      const difference = paths(newTiles(0, to)).filter((path) => !before.has(path));
      assert.deepEqual(paths(newTiles(from, to)), difference);
      const bundles = new Set(paths(newEntryBundles(0, from)));
      assert.deepEqual(
        paths(newEntryBundles(from, to)),
        paths(newEntryBundles(0, to)).filter((path) => !bundles.has(path)),
      );
    }),
    { numRuns: 60 },
  );
});

test("the tiles of every size up to 600 rebuild its root", () => {
  const tree = memoryTree(600);
  for (let size = 1; size <= 600; size++) {
    const stored = new Map([...newTiles(0, size)].map((tile) => [tilePath(tile), tree.tile(tile)]));
    const node = tileNodes(size, (tile) => stored.get(tilePath(tile))!);
    assert.equal(toHex(treeRoot(size, node)), toHex(treeRoot(size, tree.node)), `size ${size}`);
  }
});

test("proofs over tiles are those over the tree itself, and read only the tiles that were announced", () => {
  const tree = memoryTree(600);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 600 }), fc.nat(), fc.nat(), (size, a, b) => {
      const index = a % size;
      const from = b % (size + 1);
      const announced = tilesOf(
        [...rootNodes(size), ...inclusionNodes(index, size), ...consistencyNodes(from, size)],
        size,
      );
      const stored = new Map(announced.map((tile) => [tilePath(tile), tree.tile(tile)]));
      const node = tileNodes(size, (tile) => stored.get(tilePath(tile))!);
      const proof = inclusionProof(index, size, node);
      assert.deepEqual(proof.map(toHex), inclusionProof(index, size, tree.node).map(toHex));
      assert.ok(verifyInclusion(tree.leaves[index]!, index, size, proof, treeRoot(size, node)));
      assert.deepEqual(
        consistencyProof(from, size, node).map(toHex),
        consistencyProof(from, size, tree.node).map(toHex),
      );
    }),
    { numRuns: 100 },
  );
});

test("a proof in the largest trees reads at most two tiles a level, each once", () => {
  // All leaves alike, so any tile of a level is 256 times the same hash.
  const levels = [leafHash(utf8("same"))];
  for (let i = 1; i <= 52; i++) levels.push(nodeHash(levels.at(-1)!, levels.at(-1)!));
  for (const size of [1_000_003, 2 ** 40 + 12345, 2 ** 53 - 1]) {
    const fetched: string[] = [];
    const node = tileNodes(size, (tile) => {
      fetched.push(tilePath(tile));
      return concat(...Array.from({ length: tile.width }, () => levels[8 * tile.level]!));
    });
    const index = Math.floor(size / 3);
    const proof = inclusionProof(index, size, node);
    assert.ok(fetched.length <= 14, `${fetched.length} tiles of a tree of ${size}`);
    assert.equal(new Set(fetched).size, fetched.length);
    assert.ok(verifyInclusion(levels[0]!, index, size, proof, treeRoot(size, node)));
  }
});

test("no more tiles are kept than asked for, and the one used last stays", () => {
  const tree = memoryTree(600);
  const fetched: string[] = [];
  const node = tileNodes(
    600,
    (tile) => {
      fetched.push(tilePath(tile));
      return tree.tile(tile);
    },
    2,
  );
  for (const index of [0, 256, 1, 512, 2, 257]) node(0, index);
  assert.deepEqual(fetched, ["tile/0/000", "tile/0/001", "tile/0/002.p/88", "tile/0/001"]);
});

test("a tile that is too short or too long is refused, and a node of no complete subtree is our mistake", () => {
  const tree = memoryTree(300);
  for (const bytes of [31, 44 * 32 - 1, 45 * 32, 256 * 32]) {
    const node = tileNodes(300, () => new Uint8Array(bytes));
    assert.throws(() => node(0, 299), malformed);
  }
  const node = tileNodes(300, (tile) => tree.tile(tile));
  assert.throws(() => node(0, 300), { code: "bug" });
  assert.throws(() => node(8, 1), { code: "bug" });
});

test("bundles give back their entries, empty and largest ones too", () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 400 }), { minLength: 1, maxLength: 256 }),
      (entries) => {
        const bundle = encodeEntryBundle(entries);
        const read = decodeEntryBundle(bundle, entries.length);
        assert.deepEqual(read.map(toHex), entries.map(toHex));
        assert.throws(() => decodeEntryBundle(bundle, entries.length - 1), malformed);
        assert.throws(() => decodeEntryBundle(bundle, entries.length + 1), malformed);
        assert.throws(() => decodeEntryBundle(bundle.subarray(0, -1), entries.length), malformed);
        const longer = concat(bundle, Uint8Array.of(0));
        assert.throws(() => decodeEntryBundle(longer, entries.length), malformed);
      },
    ),
    { numRuns: 50 },
  );
  assert.deepEqual(encodeEntryBundle([utf8("ab")]), Uint8Array.of(0, 2, 97, 98));
  const large = new Uint8Array(ENTRY_BYTES_MAX).fill(7);
  const bundle = encodeEntryBundle([large]);
  assert.deepEqual(bundle.slice(0, 2), Uint8Array.of(0xff, 0xff));
  assert.deepEqual(Uint8Array.from(decodeEntryBundle(bundle, 1)[0]!), large);
});

test("what does not fit into a bundle is a mistake of ours", () => {
  const bug = { code: "bug" };
  assert.throws(() => encodeEntryBundle([]), bug);
  assert.throws(() => encodeEntryBundle([new Uint8Array(65536)]), bug);
  assert.throws(() => encodeEntryBundle(Array(257).fill(new Uint8Array())), bug);
  assert.throws(() => tilePath({ level: 0, index: 0, width: 0 }), bug);
  assert.throws(() => tilePath({ level: 64, index: 0, width: 1 }), bug);
  assert.throws(() => [...newTiles(2, 1)], bug);
});

test("altered bundles are read or refused, never anything else", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 2000 }),
      fc.integer({ min: 1, max: 256 }),
      (bytes, n) => {
        survives(() => decodeEntryBundle(bytes, n));
      },
    ),
    { numRuns: 500 },
  );
});
