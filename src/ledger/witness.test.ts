import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  damage,
  logKey,
  memoryTree,
  ORIGIN,
  otherLogKey,
  survives,
  witnessKeys,
} from "../../test/support/ledger.ts";
import { fromHex, fromUtf8, toHex, utf8 } from "../crypto/bytes.ts";
import { addCosignatures, openCheckpoint, signCheckpoint, verifyCheckpoint } from "./checkpoint.ts";
import { type LedgerKey, verifierKeysOf } from "./log-key.ts";
import { consistencyProof, leafHash } from "./merkle.ts";
import { formatNote, NOTE_ED25519, parseNote, verifierKey } from "./note.ts";
import { formatTreeHead, isSameTreeHead, type TreeHead } from "./tree-head.ts";
import {
  addCheckpoint,
  formatAddCheckpoint,
  parseAddCheckpoint,
  type Witness,
  type WitnessedHead,
  type WitnessStore,
} from "./witness.ts";

const NOW = 1_700_000_000;
const [key] = witnessKeys as [LedgerKey];
const tree = memoryTree(200);
const checkpoint = (size: number, by = logKey): Uint8Array =>
  signCheckpoint(by, tree.head(size), NOW);

/** A store in memory, which can be made to fail, or to be overtaken by another process. */
class MemoryStore implements WitnessStore {
  readonly kept = new Map<string, WitnessedHead>();
  before: (() => void) | undefined;

  latest(origin: string): WitnessedHead | undefined {
    return this.kept.get(origin);
  }

  replace(expected: TreeHead | undefined, next: WitnessedHead): boolean {
    this.before?.();
    const kept = this.latest(next.head.origin)?.head;
    const unchanged = kept && expected ? isSameTreeHead(kept, expected) : kept === expected;
    if (unchanged) this.kept.set(next.head.origin, next);
    return unchanged;
  }
}

function newWitness(): { witness: Witness; store: MemoryStore } {
  const store = new MemoryStore();
  return { store, witness: { key, logs: new Map([[ORIGIN, verifierKeysOf(logKey)]]), store } };
}

const request = (from: number, to: number): Uint8Array =>
  formatAddCheckpoint({
    oldSize: from,
    proof: consistencyProof(from, to, tree.node),
    checkpoint: checkpoint(to),
  });
const status = (witness: Witness, body: Uint8Array): number =>
  addCheckpoint(witness, body, NOW).status;

test("a log that grows is cosigned at every step, with both keys and the time", () => {
  const { witness, store } = newWitness();
  const sizes = [0, 0, 1, 2, 2, 7, 64, 65, 200];
  for (let i = 1; i < sizes.length; i++) {
    const [from, to] = [sizes[i - 1]!, sizes[i]!];
    const answer = addCheckpoint(witness, request(from, to), NOW + i);
    assert.equal(answer.status, 200, `${from} to ${to}`);
    assert.ok(answer.status === 200);
    const cosigned = addCosignatures(checkpoint(to), answer.cosignatures, verifierKeysOf(key));
    assert.deepEqual(
      openCheckpoint(cosigned, verifierKeysOf(key)).signed.map(({ seconds }) => seconds),
      [NOW + i, NOW + i],
    );
    assert.ok(isSameTreeHead(store.latest(ORIGIN)!.head, tree.head(to)));
  }
});

test("what is kept is the checkpoint as the log signed it, and no line that others added", () => {
  const { witness, store } = newWitness();
  const note = parseNote(checkpoint(3));
  const junk = { name: "junk", keyId: 1, signature: new Uint8Array(5000) };
  const padded = formatNote({ ...note, signatures: [junk, ...note.signatures, junk] });
  assert.equal(
    status(witness, formatAddCheckpoint({ oldSize: 0, proof: [], checkpoint: padded })),
    200,
  );
  assert.deepEqual(store.latest(ORIGIN)!.checkpoint, formatNote(note));
  assert.doesNotThrow(() =>
    verifyCheckpoint(store.latest(ORIGIN)!.checkpoint, verifierKeysOf(logKey)),
  );
});

test("an old size that is not what was cosigned last is a conflict, and names the size that is", () => {
  const { witness } = newWitness();
  assert.deepEqual(addCheckpoint(witness, request(3, 5), NOW), {
    status: 409,
    size: 0,
    fork: false,
  });
  assert.equal(status(witness, request(0, 5)), 200);
  for (const [from, to] of [
    [0, 5],
    [0, 7],
    [4, 7],
    [6, 7],
    [4, 4],
    [3, 5],
  ] as const)
    assert.deepEqual(addCheckpoint(witness, request(from, to), NOW), {
      status: 409,
      size: 5,
      fork: false,
    });
});

test("another root for the size that was cosigned last is a fork, and stays one", () => {
  const { witness, store } = newWitness();
  assert.equal(status(witness, request(0, 5)), 200);
  const forked = { ...tree.head(5), root: tree.head(6).root };
  const body = formatAddCheckpoint({
    oldSize: 5,
    proof: [],
    checkpoint: signCheckpoint(logKey, forked, NOW),
  });
  for (let i = 0; i < 2; i++)
    assert.deepEqual(addCheckpoint(witness, body, NOW), { status: 409, size: 5, fork: true });
  assert.ok(isSameTreeHead(store.latest(ORIGIN)!.head, tree.head(5)));
});

test("a proof that does not show the old tree to continue is refused, and nothing is kept", () => {
  const { witness, store } = newWitness();
  const of = (oldSize: number, to: number, proof: Uint8Array[]): Uint8Array =>
    formatAddCheckpoint({ oldSize, proof, checkpoint: checkpoint(to) });
  const hash = tree.leaves[0]!;
  assert.equal(status(witness, of(0, 1, [hash])), 422);
  assert.equal(store.kept.size, 0);
  assert.equal(status(witness, of(0, 5, [])), 200);
  const proof = consistencyProof(5, 9, tree.node);
  for (const wrong of [[], proof.slice(1), proof.toReversed(), [...proof, hash]])
    assert.equal(status(witness, of(5, 9, wrong)), 422);
  assert.equal(status(witness, of(5, 5, [hash])), 422);
  const other = memoryTree(9).head(9);
  const root = leafHash(other.root);
  const forged = signCheckpoint(logKey, { ...other, root }, NOW);
  assert.equal(
    status(witness, formatAddCheckpoint({ oldSize: 5, proof, checkpoint: forged })),
    422,
  );
  assert.equal(store.latest(ORIGIN)!.head.size, 5);
});

test("an unknown log is 404; another's signature, half a signature and an altered one are 403", () => {
  const { witness, store } = newWitness();
  const of = (bytes: Uint8Array): Uint8Array =>
    formatAddCheckpoint({ oldSize: 0, proof: [], checkpoint: bytes });
  const unknown = formatNote({
    ...parseNote(checkpoint(3)),
    text: formatTreeHead(tree.head(3, "ledger.example/unknown")),
  });
  assert.equal(status(witness, of(unknown)), 404);
  assert.equal(status(witness, of(checkpoint(3, otherLogKey))), 403);
  const note = parseNote(checkpoint(3));
  for (const signature of note.signatures)
    assert.equal(status(witness, of(formatNote({ ...note, signatures: [signature] }))), 403);
  const text = formatTreeHead(tree.head(4));
  assert.equal(status(witness, of(formatNote({ ...note, text }))), 403);
  assert.equal(store.kept.size, 0);
});

test("requests of another form, and an old size above the new one, are 400", () => {
  const { witness } = newWitness();
  assert.equal(status(witness, request(0, 5)), 200);
  const note = fromUtf8(checkpoint(5));
  const hash = `${"A".repeat(43)}=\n`;
  for (const body of [
    "",
    note,
    `old\n\n${note}`,
    `old \n\n${note}`,
    `old -1\n\n${note}`,
    `old 05\n\n${note}`,
    `old  5\n\n${note}`,
    `old 5 \n\n${note}`,
    `Old 5\n\n${note}`,
    `old 9007199254740992\n\n${note}`,
    `old 5\nAAAA\n\n${note}`,
    `old 5\n${hash.replace("\n", "\r\n")}\n${note}`,
    `old 5\n${hash.repeat(64)}\n${note}`,
    `old 5\n${note}`,
    `old 5\n\n`,
    `old 5\n\n\n${note}`,
    `old 5\n\n${note.slice(0, -1)}`,
    `old 5\n\n${note.replace("\n\n", "\nextension\n\n")}`,
    `old 6\n\n${note}`,
  ])
    assert.equal(status(witness, utf8(body)), 400, JSON.stringify(body.slice(0, 60)));
  assert.equal(status(witness, new Uint8Array(1024 * 1024)), 400);
});

test("a request that another process overtakes is a conflict, and not cosigned", () => {
  const { witness, store } = newWitness();
  assert.equal(status(witness, request(0, 1)), 200);
  // torchwood's TestRace: 1 to 5 comes through while 1 to 3 is being looked at.
  store.before = () => {
    store.before = undefined;
    assert.equal(status(witness, request(1, 5)), 200);
  };
  assert.deepEqual(addCheckpoint(witness, request(1, 3), NOW), {
    status: 409,
    size: 5,
    fork: false,
  });
  assert.equal(store.latest(ORIGIN)!.head.size, 5);
  // The same for a head that is cosigned again: by now it is not the largest.
  store.before = () => {
    store.before = undefined;
    assert.equal(status(witness, request(5, 7)), 200);
  };
  assert.deepEqual(addCheckpoint(witness, request(5, 5), NOW), {
    status: 409,
    size: 7,
    fork: false,
  });
});

test("what could not be kept is not cosigned: the store's error passes through", () => {
  const { witness, store } = newWitness();
  store.before = () => {
    throw new Error("disk full");
  };
  assert.throws(() => addCheckpoint(witness, request(0, 1), NOW), /disk full/);
  store.before = undefined;
  assert.equal(status(witness, request(0, 1)), 200);
});

test("a mistake of ours is not called the client's", () => {
  const { witness } = newWitness();
  const bug = { code: "bug" };
  assert.throws(() => addCheckpoint(witness, request(0, 1), Number.NaN), bug);
  // A key that no reader would have made: its name does not fit into a cosigned message.
  const misnamed = { ...logKey.mlDsa44.verifier, name: "n".repeat(300) };
  const { text } = parseNote(checkpoint(1));
  const line = { name: misnamed.name, keyId: misnamed.id, signature: new Uint8Array(2428) };
  const body = formatAddCheckpoint({
    oldSize: 0,
    proof: [],
    checkpoint: formatNote({ text, signatures: [line] }),
  });
  const careless = { ...witness, logs: new Map([[ORIGIN, [misnamed]]]) };
  assert.throws(() => addCheckpoint(careless, body, NOW), bug);
});

test("requests are read as they were written, and the example of tlog-witness too", () => {
  const proof = consistencyProof(6, 13, tree.node);
  const { oldSize, proof: read, checkpoint: bytes } = parseAddCheckpoint(request(6, 13));
  assert.equal(oldSize, 6);
  assert.deepEqual(read.map(toHex), proof.map(toHex));
  assert.equal(parseNote(bytes).signatures.length, 2);
  const example =
    "old 20852014\n" +
    "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n" +
    "jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n" +
    "5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n" +
    "/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n" +
    "\n" +
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n" +
    "\n" +
    "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n" +
    "— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=\n";
  assert.equal(parseAddCheckpoint(utf8(example)).proof.length, 4);
  assert.deepEqual(formatAddCheckpoint(parseAddCheckpoint(utf8(example))), utf8(example));
  const bug = { code: "bug" };
  assert.throws(() => formatAddCheckpoint({ oldSize: -1, proof: [], checkpoint: bytes }), bug);
  const long = Array(64).fill(new Uint8Array(32));
  assert.throws(() => formatAddCheckpoint({ oldSize: 1, proof: long, checkpoint: bytes }), bug);
});

/** filippo.io/torchwood, internal/witness/witness_test.go: a log signed and proven by sigsum-go. */
const SIGSUM_ORIGIN =
  "sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562";
const SIGSUM_KEY = "ffdc2d4d98e4124d3feaf788c0c2f9abfd796083d1f0495437f302ec79cf100f";
const sigsum = (old: string, size: number, root: string, signature: string): Uint8Array =>
  utf8(`${old}\n${SIGSUM_ORIGIN}\n${size}\n${root}\n\n— ${SIGSUM_ORIGIN} ${signature}\n`);
const SIGSUM_1 = sigsum(
  "old 0\n",
  1,
  "KgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
  "UgIom7fPZTqpxWWhyjWduBvTvGVqsokMbqTArsQilegKoFBJQjUFAmQ0+YeSPM3wfUQMFSzVnnNuWRTYrajXpNUbIQY=",
);
const SIGSUM_3 = sigsum(
  "old 1\nKgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nKgIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
  3,
  "RcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0=",
  "UgIom2VbtIcdFbwFAy1n7s6IkAxIY6J/GQOTuZF2ORV39d75cbAj2aQYwyJre36kezNobZs4SUUdrcawfAB8WVrx6go=",
);
const SIGSUM_5 = sigsum(
  "old 1\nKgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n+fUDV+k970B4I3uKrqJM4aP1lloPZP8mvr2Z4wRw2LI=\nKgQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
  5,
  "QrtXrQZCCvpIgsSmOsah7HdICzMLLyDfxToMql9WTjY=",
  "UgIomw/EOJmWi0i1FQsOj+etB7F8IccFam/jgd6wzRns4QPVmyEZtdvl1U2KEmLOZ/ASRcWJi0tW90dJWAShei7sDww=",
);

test("torchwood's requests of a sigsum log are answered as torchwood answers them", () => {
  const store = new MemoryStore();
  const sigsumKey = verifierKey(SIGSUM_ORIGIN, NOTE_ED25519, fromHex(SIGSUM_KEY));
  const witness: Witness = { key, logs: new Map([[SIGSUM_ORIGIN, [sigsumKey]]]), store };
  assert.equal(status(witness, SIGSUM_5), 409);
  assert.equal(status(witness, SIGSUM_1), 200);
  assert.equal(status(witness, SIGSUM_5), 200);
  assert.deepEqual(addCheckpoint(witness, SIGSUM_3, NOW), { status: 409, size: 5, fork: false });
  assert.equal(
    toHex(store.latest(SIGSUM_ORIGIN)!.head.root),
    "42bb57ad06420afa4882c4a63ac6a1ec77480b330b2f20dfc53a0caa5f564e36",
  );
  // TestTooManyProofs.
  const hash = "KgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
  const many = fromUtf8(SIGSUM_1).replace("old 0\n", `old 0\n${hash.repeat(64)}`);
  assert.equal(status(witness, utf8(many)), 400);
});

test("damaged requests are answered or refused, and never move the witness to what the log did not sign", () => {
  fc.assert(
    fc.property(fc.nat(), fc.nat(), fc.nat(255), (kind, at, value) => {
      const { witness, store } = newWitness();
      assert.equal(status(witness, request(0, 6)), 200);
      const body = damage(request(6, 13), kind, at, value);
      survives(() => parseAddCheckpoint(body));
      const answer = addCheckpoint(witness, body, NOW);
      const kept = store.latest(ORIGIN)!.head;
      assert.ok(isSameTreeHead(kept, tree.head(answer.status === 200 ? 13 : 6)));
    }),
    { numRuns: 400 },
  );
});
