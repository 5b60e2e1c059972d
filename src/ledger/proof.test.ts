import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  damage,
  logKey,
  type MemoryTree,
  memoryTree,
  ORIGIN,
  survives,
  witnessKeys,
} from "../../test/support/ledger.ts";
import { concat, fromBase64, fromUtf8, toBase64, utf8 } from "../crypto/bytes.ts";
import { addCosignatures, signCheckpoint } from "./checkpoint.ts";
import { cosign } from "./cosignature.ts";
import { verifierKeysOf } from "./log-key.ts";
import { inclusionProof } from "./merkle.ts";
import { formatSignatureLine, formatVerifierKey } from "./note.ts";
import { parsePolicy } from "./policy.ts";
import { formatProof, PROOF_EXTRA_BYTES_MAX, parseProof, verifyProof } from "./proof.ts";

const malformed = { code: "malformed" };
const [a, b] = witnessKeys as [typeof logKey, typeof logKey];
const policy = parsePolicy(
  utf8(
    [
      ...verifierKeysOf(logKey).map((key) => `log ${formatVerifierKey(key)}\n`),
      `witness a ${formatVerifierKey(a.ed25519.verifier)}\n`,
      `witness a-pq ${formatVerifierKey(a.mlDsa44.verifier)}\n`,
      `witness b ${formatVerifierKey(b.ed25519.verifier)}\n`,
      "group both all a a-pq\nquorum both\n",
    ].join(""),
  ),
);
/** A checkpoint of the log and of witness a. */
const checkpointOf = (tree: MemoryTree, size: number): Uint8Array => {
  const head = tree.head(size);
  const lines = cosign(a, head, 77).map(formatSignatureLine).join("");
  return addCosignatures(signCheckpoint(logKey, head, 70), utf8(lines), verifierKeysOf(a));
};
const proofOf = (tree: MemoryTree, index: number, size: number): Uint8Array =>
  formatProof({
    index,
    hashes: inclusionProof(index, size, tree.node),
    checkpoint: checkpointOf(tree, size),
  });
const tree = memoryTree(300);

test("a proof shows where an entry is, in which tree, and who saw it when", () => {
  for (const [index, size] of [
    [0, 1],
    [0, 2],
    [4, 7],
    [255, 300],
    [299, 300],
  ] as const)
    assert.deepEqual(verifyProof(proofOf(tree, index, size), tree.entries[index]!, policy), {
      origin: ORIGIN,
      index,
      size,
      root: tree.head(size).root,
      logSeconds: 70,
      cosigners: [
        { witness: "a", keyName: a.name, seconds: 77 },
        { witness: "a-pq", keyName: a.name, seconds: 77 },
      ],
    });
});

test("a proof is written line for line as tlog-proof has it", () => {
  const [sibling] = inclusionProof(0, 2, tree.node);
  const checkpoint = checkpointOf(tree, 2);
  const extra = utf8("anything");
  const text = formatProof({ index: 0, hashes: [sibling!], checkpoint, extra });
  assert.equal(
    fromUtf8(text),
    `c2sp.org/tlog-proof@v1\nextra ${toBase64(extra)}\nindex 0\n${toBase64(sibling!)}\n\n${fromUtf8(checkpoint)}`,
  );
  assert.deepEqual(parseProof(text).extra, extra);
  assert.equal("extra" in parseProof(proofOf(tree, 0, 2)), false);
  // Nothing vouches for it, so nothing else changes.
  assert.equal(verifyProof(text, tree.entries[0]!, policy).index, 0);
});

test("another entry, index, tree or hash is refused as altered", () => {
  const altered = { code: "altered" };
  const size = 13;
  const hashes = inclusionProof(6, size, tree.node);
  const checkpoint = checkpointOf(tree, size);
  const verify = (proof: Parameters<typeof formatProof>[0], entry = tree.entries[6]!) =>
    verifyProof(formatProof(proof), entry, policy);
  assert.equal(verify({ index: 6, hashes, checkpoint }).size, size);
  assert.throws(() => verify({ index: 6, hashes, checkpoint }, tree.entries[7]), altered);
  assert.throws(() => verify({ index: 6, hashes, checkpoint }, new Uint8Array()), altered);
  for (const index of [0, 5, 7, 12, 13, 2 ** 53 - 1])
    assert.throws(() => verify({ index, hashes, checkpoint }), altered);
  for (const wrong of [[], hashes.slice(1), hashes.toReversed(), [...hashes, hashes[0]!]])
    assert.throws(() => verify({ index: 6, hashes: wrong, checkpoint }), altered);
  assert.throws(() => verify({ index: 6, hashes, checkpoint: checkpointOf(tree, 14) }), altered);
});

test("an inner node is not passed off as an entry", () => {
  // 65 bytes that hash, as a node, to the root of two; as an entry they have another prefix.
  const [left, right] = tree.leaves;
  const node = concat(Uint8Array.of(1), left!, right!);
  const proof = formatProof({ index: 0, hashes: [], checkpoint: checkpointOf(tree, 2) });
  assert.throws(() => verifyProof(proof, node, policy), { code: "altered" });
  assert.throws(() => verifyProof(proof, concat(left!, right!), policy), { code: "altered" });
});

test("without the log's signatures or the quorum a proof is not believed, however right its hashes", () => {
  const hashes = inclusionProof(3, 5, tree.node);
  const bare = signCheckpoint(logKey, tree.head(5), 70);
  const lone = formatProof({ index: 3, hashes, checkpoint: bare });
  assert.throws(() => verifyProof(lone, tree.entries[3]!, policy), { code: "untrusted" });
  const lines = fromUtf8(checkpointOf(tree, 5)).split("\n");
  for (const gone of [4, 5, 6, 7]) {
    const checkpoint = utf8(lines.filter((_, i) => i !== gone).join("\n"));
    const proof = formatProof({ index: 3, hashes, checkpoint });
    assert.throws(() => verifyProof(proof, tree.entries[3]!, policy), { code: "untrusted" });
  }
});

test("what is no proof is refused (tlog_proof_test.go of transparency-dev/merkle, and torchwood's)", () => {
  const note = fromUtf8(checkpointOf(tree, 1));
  const header = "c2sp.org/tlog-proof@v1\n";
  const hash = toBase64(new Uint8Array(32));
  for (const text of [
    "",
    `wrong-header\nindex 0\n\n${note}`,
    `index 0\n\n${note}`,
    `${header}extra !!notbase64!!\nindex 0\n\n${note}`,
    `${header}extra \nindex 0\n\n${note}`,
    `${header}extra\nindex 0\n\n${note}`,
    `${header}extra YQ==\nextra YQ==\nindex 0\n\n${note}`,
    `${header}index 0\nextra YQ==\n\n${note}`,
    `${header}\n\n${note}`,
    `${header}\nindex 0\n\n${note}`,
    `${header}index notanumber\n\n${note}`,
    `${header}index -5\n\n${note}`,
    `${header}index 00\n\n${note}`,
    `${header}index  0\n\n${note}`,
    `${header}index 0 \n\n${note}`,
    `${header}index 9007199254740992\n\n${note}`,
    `${header}index 0\n!!notbase64!!\n\n${note}`,
    `${header}index 0\n${toBase64(new Uint8Array(64))}\n\n${note}`,
    `${header}index 0\n${toBase64(new Uint8Array(16))}\n\n${note}`,
    `${header}index 0\n${`${hash}\n`.repeat(64)}\n${note}`,
    `${header}index 0\n${note}`,
    `${header}index 0\n\n`,
    `${header}index 0\n\n${note.slice(0, -1)}`,
    `${header}index 0\r\n\n${note}`,
    `${header.toUpperCase()}index 0\n\n${note}`,
    `${header}extra ${toBase64(new Uint8Array(PROOF_EXTRA_BYTES_MAX + 3))}\nindex 0\n\n${note}`,
  ])
    assert.throws(
      () => verifyProof(utf8(text), tree.entries[0]!, policy),
      malformed,
      JSON.stringify(text.slice(0, 80)),
    );
  // An empty line more is the beginning of the note's text, which nobody signed so.
  const more = utf8(`${header}index 0\n\n\n${note}`);
  assert.throws(() => verifyProof(more, tree.entries[0]!, policy), { code: "altered" });
  assert.doesNotThrow(() =>
    parseProof(utf8(`${header}index 0\n${`${hash}\n`.repeat(63)}\n${note}`)),
  );
  assert.throws(() => parseProof(utf8(`${header}index 0\n\n${note.slice(0, -1)}`)), malformed);
  assert.throws(() => parseProof(new Uint8Array(1024 * 1024)), malformed);
});

test("the head of tlog-proof's example is read", () => {
  // Its checkpoint is abridged there, so one of ours stands in.
  const example = [
    "c2sp.org/tlog-proof@v1",
    "extra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6kYXJ3aW4tYXJ",
    "index 73894",
    "gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=",
    "B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=",
    "EKNzoDWG8LGC0Yp9o+sv3qllpMP9uHQ9B20KNL+Q1zs=",
    "RoopEkOdqkYqMB4MJXrbt/hMjOxsVn0IrWjpz1ZMMes=",
    "AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=",
    "",
    fromUtf8(checkpointOf(tree, 1)),
  ].join("\n");
  const proof = parseProof(utf8(example));
  assert.ok(Buffer.from(proof.extra!).includes("age-v1.2.1-darwin-arm64.tar.gz"));
  assert.equal(proof.index, 73894);
  assert.equal(proof.hashes.length, 5);
  assert.deepEqual(proof.hashes[4], fromBase64("AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk="));
  assert.deepEqual(formatProof(proof), utf8(example));
});

test("what would not be read back is not written", () => {
  const proof = parseProof(proofOf(tree, 0, 2));
  const bug = { code: "bug" };
  assert.throws(() => formatProof({ ...proof, index: -1 }), bug);
  assert.throws(() => formatProof({ ...proof, hashes: [new Uint8Array(31)] }), bug);
  assert.throws(() => formatProof({ ...proof, hashes: Array(64).fill(new Uint8Array(32)) }), bug);
  assert.throws(() => formatProof({ ...proof, extra: new Uint8Array() }), bug);
  assert.throws(() => formatProof({ ...proof, extra: new Uint8Array(65537) }), bug);
});

test("proofs of any entry at any size up to 300 verify, and damaged ones say nothing false", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 300 }),
      fc.nat(),
      fc.nat(),
      fc.nat(),
      fc.nat(255),
      (size, i, kind, at, value) => {
        const index = i % size;
        const proof = proofOf(tree, index, size);
        const entry = tree.entries[index]!;
        const proven = verifyProof(proof, entry, policy);
        const bytes = damage(proof, kind, at, value);
        if (survives(() => verifyProof(bytes, entry, policy)) === "read")
          assert.deepEqual(verifyProof(bytes, entry, policy), proven);
      },
    ),
    { numRuns: 300 },
  );
});
