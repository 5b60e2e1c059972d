import assert from "node:assert/strict";
import { test } from "node:test";
import { ed25519 } from "@noble/curves/ed25519.js";
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
import { fromUtf8, utf8 } from "../crypto/bytes.ts";
import {
  addCosignatures,
  openCheckpoint,
  requireLog,
  signCheckpoint,
  verifyCheckpoint,
} from "./checkpoint.ts";
import { cosign, signHead } from "./cosignature.ts";
import { logKeyFromSeed, verifierKeysOf } from "./log-key.ts";
import { formatNote, formatSignatureLine, parseNote } from "./note.ts";
import { formatTreeHead, isSameTreeHead } from "./tree-head.ts";

const tree = memoryTree(9);
const head = tree.head(5);
const keys = verifierKeysOf(logKey);
const checkpoint = signCheckpoint(logKey, head, 1000);
const [a, b] = witnessKeys as [(typeof witnessKeys)[0], (typeof witnessKeys)[0]];
const note = parseNote(checkpoint);
const answer = (key: typeof a, seconds: number, of = head): Uint8Array =>
  utf8(cosign(key, of, seconds).map(formatSignatureLine).join(""));

test("a checkpoint says what was signed, when, and twice", () => {
  const { head: read, seconds } = verifyCheckpoint(checkpoint, keys);
  assert.ok(isSameTreeHead(read, head));
  assert.equal(seconds, 1000);
  assert.ok(fromUtf8(checkpoint).startsWith(`${formatTreeHead(head)}\n— ${ORIGIN} `));
  assert.equal(note.signatures.length, 2);
  assert.equal(verifyCheckpoint(signCheckpoint(logKey, head, 0), keys).seconds, 0);
});

test("the Ed25519 signature is a plain signed note's: noble verifies it over the text", () => {
  const signature = note.signatures[0]!.signature;
  assert.ok(ed25519.verify(signature, utf8(note.text), keys[0].publicBytes));
});

test("a checkpoint with only one of the log's two signatures is refused", () => {
  for (const signature of note.signatures) {
    const half = formatNote({ text: note.text, signatures: [signature] });
    assert.equal(openCheckpoint(half, keys).signed.length, 1);
    assert.throws(() => verifyCheckpoint(half, keys), { code: "untrusted" });
  }
});

test("one signature twice is not two", () => {
  for (const signature of note.signatures) {
    const twice = formatNote({ text: note.text, signatures: [signature, signature] });
    assert.throws(() => verifyCheckpoint(twice, keys), { code: "untrusted" });
  }
});

test("a good signature does not make up for a bad one", () => {
  for (const [i, one] of note.signatures.entries()) {
    const bad = Uint8Array.from(one.signature);
    bad[bad.length >> 1]! ^= 1;
    const signatures = note.signatures.with(i, { ...one, signature: bad });
    const half = formatNote({ text: note.text, signatures });
    assert.throws(() => verifyCheckpoint(half, keys), { code: "altered" });
  }
});

test("another key of the same name, and the log's under another origin, are refused", () => {
  const foreign = signCheckpoint(otherLogKey, head, 1000);
  assert.throws(() => verifyCheckpoint(foreign, keys), { code: "untrusted" });
  const text = formatTreeHead({ ...head, origin: "ledger.example/other" });
  const signatures = [logKey.ed25519, logKey.mlDsa44].map((half) =>
    signHead(half, { ...head, origin: "ledger.example/other" }, 1),
  );
  const elsewhere = formatNote({ text, signatures });
  assert.equal(openCheckpoint(elsewhere, keys).signed.length, 2);
  assert.throws(() => verifyCheckpoint(elsewhere, keys), { code: "untrusted" });
});

test("a log signs with a log key, and only its own heads", () => {
  const bug = { code: "bug" };
  assert.throws(() => signCheckpoint(a, { ...head, origin: a.name }, 1), bug);
  assert.throws(() => signCheckpoint(logKey, { ...head, origin: "x" }, 1), bug);
  assert.throws(() => signCheckpoint(logKey, head, -1), bug);
});

test("a log whose keys nobody knows is not trusted, however well others signed", () => {
  const opened = openCheckpoint(checkpoint, keys);
  assert.throws(() => requireLog(opened, []), { code: "untrusted" });
  assert.doesNotThrow(() => requireLog(opened, keys));
});

test("cosignatures are added once each, whatever else a witness's answer holds", () => {
  const mixed = utf8(fromUtf8(answer(b, 1)) + fromUtf8(answer(a, 50)));
  const with1 = addCosignatures(checkpoint, mixed, verifierKeysOf(a));
  assert.equal(parseNote(with1).signatures.length, 4);
  const all = [...keys, ...verifierKeysOf(a), ...verifierKeysOf(b)];
  const times = (bytes: Uint8Array): (readonly [string, number])[] =>
    openCheckpoint(bytes, all).signed.map(({ key, seconds }) => [key.name, seconds] as const);
  assert.deepEqual(times(with1), [
    [ORIGIN, 0],
    [ORIGIN, 1000],
    [a.name, 50],
    [a.name, 50],
  ]);
  const with2 = addCosignatures(with1, answer(a, 60), verifierKeysOf(a));
  assert.deepEqual(times(with2).slice(2), [
    [a.name, 60],
    [a.name, 60],
  ]);
  assert.equal(
    parseNote(addCosignatures(with2, answer(b, 7), verifierKeysOf(b))).signatures.length,
    6,
  );
  assert.doesNotThrow(() => verifyCheckpoint(with2, keys));
});

test("a witness's answer over another head, by another witness, or torn, adds nothing", () => {
  const mine = verifierKeysOf(a);
  const add = (lines: Uint8Array) => () => addCosignatures(checkpoint, lines, mine);
  assert.throws(add(answer(a, 1, tree.head(6))), { code: "altered" });
  assert.throws(add(answer(b, 1)), { code: "untrusted" });
  assert.throws(add(answer(a, 1).subarray(0, -1)), { code: "malformed" });
  assert.throws(add(checkpoint), { code: "malformed" });
});

test("of several cosignatures by one key the latest time counts", () => {
  const signatures = [50, 70, 60].flatMap((seconds) => cosign(a, head, seconds));
  const bytes = formatNote({ text: note.text, signatures });
  const { signed } = openCheckpoint(bytes, verifierKeysOf(a));
  assert.deepEqual(
    signed.map(({ seconds }) => seconds),
    [70, 70],
  );
});

test("the key of another log does not stand in, though it signs for this origin too", () => {
  const elsewhere = logKeyFromSeed(new Uint8Array(32).fill(3), "ledger.example/other");
  const signatures = [elsewhere.ed25519, elsewhere.mlDsa44].map((half) => signHead(half, head, 1));
  const bytes = formatNote({ text: note.text, signatures });
  assert.throws(() => verifyCheckpoint(bytes, verifierKeysOf(elsewhere)), { code: "untrusted" });
});

test("damaged checkpoints are refused, or say what the log signed", () => {
  fc.assert(
    fc.property(fc.nat(), fc.nat(), fc.nat(255), (kind, at, value) => {
      const bytes = damage(checkpoint, kind, at, value);
      if (survives(() => verifyCheckpoint(bytes, keys)) === "read")
        assert.ok(isSameTreeHead(verifyCheckpoint(bytes, keys).head, head));
    }),
    { numRuns: 1500 },
  );
});
