import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { MemoryTree, memoryTree } from "../../test/support/ledger.ts";
import { fromHex, toHex, utf8 } from "../crypto/bytes.ts";
import {
  consistencyNodes,
  consistencyProof,
  EMPTY_ROOT,
  Frontier,
  inclusionNodes,
  inclusionProof,
  leafHash,
  type NodeId,
  type NodeReader,
  nodeHash,
  rootNodes,
  treeRoot,
  verifyConsistency,
  verifyInclusion,
} from "./merkle.ts";

/** MTH, PATH and PROOF as RFC 6962, section 2.1, defines them, on leaf hashes. */
function mth(d: readonly Uint8Array[]): Uint8Array {
  if (d.length === 0) return EMPTY_ROOT;
  if (d.length === 1) return d[0]!;
  const k = largestPowerBelow(d.length);
  return nodeHash(mth(d.slice(0, k)), mth(d.slice(k)));
}

function path(m: number, d: readonly Uint8Array[]): Uint8Array[] {
  if (d.length === 1) return [];
  const k = largestPowerBelow(d.length);
  return m < k
    ? [...path(m, d.slice(0, k)), mth(d.slice(k))]
    : [...path(m - k, d.slice(k)), mth(d.slice(0, k))];
}

function subproof(m: number, d: readonly Uint8Array[], whole: boolean): Uint8Array[] {
  if (m === d.length) return whole ? [] : [mth(d)];
  const k = largestPowerBelow(d.length);
  return m <= k
    ? [...subproof(m, d.slice(0, k), whole), mth(d.slice(k))]
    : [...subproof(m - k, d.slice(k), false), mth(d.slice(0, k))];
}

function largestPowerBelow(n: number): number {
  let k = 1;
  while (k * 2 < n) k *= 2;
  return k;
}

const hex = (hashes: readonly Uint8Array[]): string[] => hashes.map(toHex);
const bytes = (hashes: readonly string[]): Uint8Array[] => hashes.map((hash) => fromHex(hash));
const flipped = (hash: Uint8Array, at = 0, bit = 0): Uint8Array => {
  const copy = Uint8Array.from(hash);
  copy[at % copy.length]! ^= 1 << (bit % 8);
  return copy;
};

/** Certificate Transparency's merkle_tree_test, also in github.com/transparency-dev/merkle, proof/verify_test.go. */
const CT_ENTRIES = [
  "",
  "00",
  "10",
  "2021",
  "3031",
  "40414243",
  "5051525354555657",
  "606162636465666768696a6b6c6d6e6f",
].map((entry) => fromHex(entry));
const CT_ROOTS = [
  "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
  "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
  "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
  "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
  "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
  "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
  "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
  "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];
/** Index (from 0), size, proof. */
const CT_INCLUSION: readonly (readonly [number, number, readonly string[]])[] = [
  [0, 1, []],
  [
    0,
    8,
    [
      "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
      "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
      "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
  ],
  [
    5,
    8,
    [
      "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
      "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
      "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
  ],
  [2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]],
  [
    1,
    5,
    [
      "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
      "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
      "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
  ],
];
/** Old size, new size, proof. */
const CT_CONSISTENCY: readonly (readonly [number, number, readonly string[]])[] = [
  [1, 1, []],
  [
    1,
    8,
    [
      "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
      "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
      "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
  ],
  [
    6,
    8,
    [
      "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
      "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
      "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
  ],
  [
    2,
    5,
    [
      "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
      "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
  ],
  [
    6,
    7,
    [
      "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
      "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
      "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
  ],
];
const ct = new MemoryTree(CT_ENTRIES);
/** An arbitrary hash of the same file. */
const SOME_HASH = fromHex("abacaba000000000000000000000000000000000000000000060061e00123456");

test("the hashes of nothing, of a leaf and of a node are those of rfc6962_test.go", () => {
  assert.equal(
    toHex(EMPTY_ROOT),
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
  );
  assert.equal(
    toHex(leafHash(utf8("L123456"))),
    "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56",
  );
  assert.equal(
    toHex(nodeHash(utf8("N123"), utf8("N456"))),
    "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb",
  );
});

test("roots of 1 to 8 leaves are Certificate Transparency's", () => {
  assert.deepEqual(
    CT_ROOTS.map((_, i) => toHex(treeRoot(i + 1, ct.node))),
    CT_ROOTS,
  );
});

test("Certificate Transparency's inclusion proofs come out, and verify", () => {
  for (const [index, size, proof] of CT_INCLUSION) {
    assert.deepEqual(hex(inclusionProof(index, size, ct.node)), proof);
    const root = fromHex(CT_ROOTS[size - 1]!);
    assert.ok(verifyInclusion(ct.leaves[index]!, index, size, bytes(proof), root));
  }
});

test("Certificate Transparency's consistency proofs come out, and verify", () => {
  for (const [from, to, proof] of CT_CONSISTENCY) {
    assert.deepEqual(hex(consistencyProof(from, to, ct.node)), proof);
    const [oldRoot, newRoot] = [fromHex(CT_ROOTS[from - 1]!), fromHex(CT_ROOTS[to - 1]!)];
    assert.ok(verifyConsistency(from, oldRoot, to, newRoot, bytes(proof)));
  }
});

test("the altered inclusion proofs of transparency-dev/merkle are refused, each of them", () => {
  for (const [index, size, texts] of CT_INCLUSION) {
    const proof = bytes(texts);
    const leaf = ct.leaves[index]!;
    const root = fromHex(CT_ROOTS[size - 1]!);
    const none = new Uint8Array();
    const refused: [Uint8Array, number, number, Uint8Array[], Uint8Array][] = [
      [leaf, index - 1, size, proof, root],
      [leaf, index + 1, size, proof, root],
      [leaf, index ^ 2, size, proof, root],
      [leaf, index, size * 2, proof, root],
      [leaf, index, size / 2, proof, root],
      [utf8("WrongLeaf"), index, size, proof, root],
      [leaf, index, size, proof, EMPTY_ROOT],
      [leaf, index, size, proof, SOME_HASH],
      [leaf, index, size, [...proof, none], root],
      [leaf, index, size, [...proof, root], root],
      [leaf, index, size, [none, ...proof], root],
      [leaf, index, size, [root, ...proof], root],
      ...proof.map((_, i): (typeof refused)[0] => [
        leaf,
        index,
        size,
        proof.map((hash, j) => (i === j ? flipped(hash, 0, 3) : hash)),
        root,
      ]),
    ];
    if (proof.length > 0) refused.push([leaf, index, size, proof.slice(0, -1), root]);
    if (proof.length > 1)
      refused.push([leaf, index, size, [proof[0]!, SOME_HASH, ...proof.slice(1)], root]);
    for (const [i, one] of refused.entries())
      assert.equal(verifyInclusion(...one), false, `${index} of ${size}, case ${i}`);
  }
});

test("the altered consistency proofs of transparency-dev/merkle are refused, each of them", () => {
  for (const [from, to, texts] of CT_CONSISTENCY.slice(1)) {
    const proof = bytes(texts);
    const [oldRoot, newRoot] = [fromHex(CT_ROOTS[from - 1]!), fromHex(CT_ROOTS[to - 1]!)];
    const none = new Uint8Array();
    const refused: [number, Uint8Array, number, Uint8Array, Uint8Array[]][] = [
      [from - 1, oldRoot, to, newRoot, proof],
      [from + 1, oldRoot, to, newRoot, proof],
      [from ^ 2, oldRoot, to, newRoot, proof],
      [from, oldRoot, to * 2, newRoot, proof],
      [from, oldRoot, Math.floor(to / 2), newRoot, proof],
      [from, utf8("WrongRoot"), to, newRoot, proof],
      [from, oldRoot, to, utf8("WrongRoot"), proof],
      [from, newRoot, to, oldRoot, proof],
      [from, oldRoot, to, newRoot, []],
      ...[none, oldRoot, newRoot].map((end): (typeof refused)[0] => [
        from,
        oldRoot,
        to,
        newRoot,
        [...proof, end],
      ]),
      ...[none, oldRoot, newRoot, proof[0]!].map((start): (typeof refused)[0] => [
        from,
        oldRoot,
        to,
        newRoot,
        [start, ...proof],
      ]),
      [from, oldRoot, to, newRoot, proof.slice(0, -1)],
      ...proof.map((_, i): (typeof refused)[0] => [
        from,
        oldRoot,
        to,
        newRoot,
        proof.map((hash, j) => (i === j ? flipped(hash, 0, 4) : hash)),
      ]),
    ];
    for (const [i, one] of refused.entries())
      assert.equal(verifyConsistency(...one), false, `${from} to ${to}, case ${i}`);
  }
});

test("equal and empty trees are consistent without proof, and with their one root alone", () => {
  const [one, two] = bytes(CT_ROOTS);
  assert.ok(verifyConsistency(1, one!, 1, one!, []));
  assert.ok(verifyConsistency(0, EMPTY_ROOT, 0, EMPTY_ROOT, []));
  assert.ok(verifyConsistency(0, EMPTY_ROOT, 2, two!, []));
  for (const [from, oldRoot, to, newRoot, proof] of [
    [1, one, 1, two, []],
    [0, one, 1, one, []],
    [0, one, 0, one, []],
    [0, EMPTY_ROOT, 0, one, []],
    [1, one, 0, EMPTY_ROOT, []],
    [2, two, 1, one, []],
    [1, one, 2, two, []],
    [0, EMPTY_ROOT, 1, one, [one]],
    [1, one, 1, one, [one]],
    [0.5, one, 1, one, []],
    [-1, one, 1, one, []],
    [Number.NaN, one, 1, one, []],
  ] as [number, Uint8Array, number, Uint8Array, Uint8Array[]][])
    assert.equal(verifyConsistency(from, oldRoot, to, newRoot, proof), false);
});

test("a proof that goes on above the root is refused, also where its hashes would come out right", () => {
  const [a, b, c, d] = ct.leaves as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
  assert.equal(verifyInclusion(a, 0, 1, [d], nodeHash(d, a)), false);
  const [old, grown] = [nodeHash(b, a), nodeHash(b, nodeHash(a, c))];
  assert.ok(verifyConsistency(3, old, 4, grown, [a, c, b]));
  const above = [nodeHash(d, old), nodeHash(d, grown)] as const;
  assert.equal(verifyConsistency(3, above[0], 4, above[1], [a, c, b, d]), false);
});

test("hashes of other lengths are refused, also where together they are the right bytes", () => {
  const both = Buffer.concat([ct.leaves[0]!, ct.leaves[1]!]);
  const [long, short] = [both.subarray(0, 33), both.subarray(33)];
  const root = treeRoot(2, ct.node);
  assert.ok(verifyInclusion(both.subarray(0, 32), 0, 2, [both.subarray(32)], root));
  assert.equal(verifyInclusion(long, 0, 2, [short], root), false);
  assert.ok(verifyConsistency(1, both.subarray(0, 32), 2, root, [both.subarray(32)]));
  assert.equal(verifyConsistency(1, long, 2, root, [short]), false);
});

test("root, frontier and every inclusion proof are the definition's, for every size up to 130", () => {
  const tree = memoryTree(130);
  const frontier = new Frontier();
  assert.deepEqual(frontier.root(), EMPTY_ROOT);
  for (let size = 1; size <= 130; size++) {
    frontier.append(tree.leaves[size - 1]!);
    const leaves = tree.leaves.slice(0, size);
    const root = mth(leaves);
    assert.equal(toHex(frontier.root()), toHex(root));
    assert.equal(toHex(treeRoot(size, tree.node)), toHex(root));
    for (let index = 0; index < size; index++) {
      const proof = inclusionProof(index, size, tree.node);
      if (size <= 70) assert.deepEqual(hex(proof), hex(path(index, leaves)));
      assert.ok(verifyInclusion(leaves[index]!, index, size, proof, root), `${index} of ${size}`);
    }
  }
});

test("consistency proofs are the definition's and verify, for every two sizes up to 70", () => {
  const tree = memoryTree(70);
  const roots = Array.from({ length: 71 }, (_, size) => treeRoot(size, tree.node));
  for (let to = 0; to <= 70; to++)
    for (let from = 0; from <= to; from++) {
      const proof = consistencyProof(from, to, tree.node);
      const definition = from === 0 ? [] : subproof(from, tree.leaves.slice(0, to), true);
      assert.deepEqual(hex(proof), hex(definition), `${from} to ${to}`);
      assert.ok(verifyConsistency(from, roots[from]!, to, roots[to]!, proof), `${from} to ${to}`);
    }
});

test("frontiers taken up at any size up to 600 go on as if never left, and report every subtree once", () => {
  const tree = memoryTree(600);
  fc.assert(
    fc.property(fc.nat(600), fc.nat(600), (a, b) => {
      const [from, to] = a < b ? [a, b] : [b, a];
      const frontier = Frontier.of(from, tree.node);
      assert.equal(frontier.size, from);
      const reported = tree.leaves.slice(from, to).flatMap((leaf) => frontier.append(leaf));
      assert.equal(toHex(frontier.root()), toHex(treeRoot(to, tree.node)));
      const names = reported.map(({ level, index }) => `${level}/${index}`);
      let expected = 0;
      for (let level = 0; level < 10; level++)
        expected += Math.floor(to / 2 ** level) - Math.floor(from / 2 ** level);
      assert.equal(new Set(names).size, expected);
      assert.equal(names.length, expected);
      for (const { level, index, hash } of reported)
        assert.equal(toHex(hash), toHex(tree.node(level, index)));
    }),
    { numRuns: 60 },
  );
});

test("one thing changed, and neither kind of proof verifies, at any size up to 600", () => {
  const tree = memoryTree(600);
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 600 }),
      fc.nat(),
      fc.nat(),
      fc.nat(255),
      (size, a, at, bit) => {
        const index = a % size;
        const leaf = tree.leaves[index]!;
        const root = treeRoot(size, tree.node);
        const proof = inclusionProof(index, size, tree.node);
        assert.ok(verifyInclusion(leaf, index, size, proof, root));
        assert.equal(verifyInclusion(flipped(leaf, at, bit), index, size, proof, root), false);
        assert.equal(verifyInclusion(leaf, index, size, proof, flipped(root, at, bit)), false);
        const other = at % (size + 2);
        if (other !== index) assert.equal(verifyInclusion(leaf, other, size, proof, root), false);
        const changed = proof.map((hash, i) =>
          i === at % proof.length ? flipped(hash, at, bit) : hash,
        );
        if (proof.length > 0)
          assert.equal(verifyInclusion(leaf, index, size, changed, root), false);
        assert.equal(verifyInclusion(leaf, index, size, proof.slice(1), root), size === 1);
        assert.equal(verifyInclusion(leaf, index, size, [...proof, leaf], root), false);

        const from = (a % size) + 1;
        const oldRoot = treeRoot(from, tree.node);
        const growth = consistencyProof(from, size, tree.node);
        assert.ok(verifyConsistency(from, oldRoot, size, root, growth));
        const [badOld, badNew] = [flipped(oldRoot, at, bit), flipped(root, at, bit)];
        assert.equal(verifyConsistency(from, badOld, size, root, growth), false);
        assert.equal(verifyConsistency(from, oldRoot, size, badNew, growth), false);
        assert.equal(verifyConsistency(from, oldRoot, size, root, [...growth, root]), false);
        if (growth.length > 0) {
          const bad = growth.map((hash, i) =>
            i === at % growth.length ? flipped(hash, at, bit) : hash,
          );
          assert.equal(verifyConsistency(from, oldRoot, size, root, bad), false);
          assert.equal(verifyConsistency(from, oldRoot, size, root, growth.slice(1)), false);
        }
      },
    ),
    { numRuns: 300 },
  );
});

test("a proof reads exactly the nodes that it says it will, and a few hundred at the most", () => {
  const largest = Number.MAX_SAFE_INTEGER;
  const read: NodeId[] = [];
  const node: NodeReader = (level, index) => {
    assert.ok(Number.isSafeInteger(index) && (index + 1) * 2 ** level <= largest);
    read.push({ level, index });
    return nodeHash(utf8(String(level)), utf8(String(index)));
  };
  const sorted = (nodes: readonly NodeId[]): string[] =>
    nodes.map(({ level, index }) => `${level}/${index}`).sort();
  const reads = (work: () => unknown): string[] => {
    read.length = 0;
    work();
    return sorted(read);
  };
  for (const size of [1, 7, 2 ** 31 + 1, 2 ** 32 + 5, 2 ** 52, largest]) {
    const index = Math.floor(size / 3);
    assert.deepEqual(
      reads(() => treeRoot(size, node)),
      sorted(rootNodes(size)),
    );
    assert.deepEqual(
      reads(() => inclusionProof(index, size, node)),
      sorted(inclusionNodes(index, size)),
    );
    assert.deepEqual(
      reads(() => consistencyProof(index, size, node)),
      sorted(consistencyNodes(index, size)),
    );
    assert.ok(read.length <= 200);
  }
});

test("trees of more than 2^32 leaves prove and verify: no number is cut to 32 bits", () => {
  // All leaves alike, so a subtree's hash depends on its level alone.
  const leaf = leafHash(utf8("same"));
  const levels = [leaf];
  for (let level = 1; level <= 52; level++) levels.push(nodeHash(levels.at(-1)!, levels.at(-1)!));
  const node: NodeReader = (level) => levels[level]!;
  const sizes = [2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 40 + 12345, 2 ** 52 + 1, 2 ** 53 - 1];
  for (const size of sizes) {
    const root = treeRoot(size, node);
    for (const index of [0, 1, 2 ** 31, 2 ** 32 - 2, Math.floor(size / 3), size - 1]) {
      const proof = inclusionProof(index, size, node);
      assert.ok(verifyInclusion(leaf, index, size, proof, root), `${index} of ${size}`);
      assert.ok(proof.length <= 53);
      const from = index + 1;
      const growth = consistencyProof(from, size, node);
      assert.ok(verifyConsistency(from, treeRoot(from, node), size, root, growth));
    }
  }
});

test("a proof asked for outside of its tree is a mistake of ours", () => {
  const bug = { code: "bug" };
  assert.throws(() => inclusionProof(8, 8, ct.node), bug);
  assert.throws(() => inclusionProof(-1, 8, ct.node), bug);
  assert.throws(() => inclusionProof(0.5, 8, ct.node), bug);
  assert.throws(() => consistencyProof(8, 7, ct.node), bug);
  assert.throws(() => treeRoot(2 ** 53, ct.node), bug);
  assert.throws(() => new Frontier().append(new Uint8Array(31)), bug);
});

test("a frontier does not follow later changes of the hashes it was given", () => {
  const frontier = new Frontier();
  const leaf = Uint8Array.from(ct.leaves[0]!);
  frontier.append(leaf);
  leaf.fill(0);
  assert.equal(toHex(frontier.root()), CT_ROOTS[0]);
});
