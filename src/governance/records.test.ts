import assert from "node:assert/strict";
import { test } from "node:test";
import { knownStateWith } from "../../test/support/known-state.ts";
import { altered, noise } from "../../test/support/vault.ts";
import { fromBase64, fromUtf8 } from "../crypto/bytes.ts";
import { signEnvelope } from "../crypto/dsse.ts";
import { signingKeyFromSeed } from "../crypto/signing.ts";
import { encodeJson } from "../crypto/strict-json.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { recoveryKeyFromSeed } from "../vault/recovery-key.ts";
import { checkSentence, sayCheck } from "./check-sentence.ts";
import { openRecord, type RecordOf, readRecord, type Said, signRecord } from "./records.ts";

const TYPE = "application/vnd.exclave.record.v1+json";
const recovery = recoveryKeyFromSeed(noise(32, 1));
const agent = signingKeyFromSeed(noise(32, 2));
const revoked = signingKeyFromSeed(noise(32, 3));
const stranger = signingKeyFromSeed(noise(32, 4));
const known = knownStateWith(recovery, [
  { key: revoked, term: 1, suspectFrom: "2026-06-05T00:00:00Z" },
  { key: agent, term: 2 },
]);
const otherState = knownStateWith(recoveryKeyFromSeed(noise(32, 5)), [{ key: agent, term: 1 }]);
const now = new Date("2026-06-08T09:10:11.000Z");
const by = { state: known.id, agent, now };
const site = {
  name: "bb",
  expected: 3,
  missing: 0,
  verified: 3,
  damaged: 0,
  bytesRead: 1400,
  unavailable: false,
};
const said: Said<"check"> = {
  register: "ab".repeat(16),
  full: true,
  good: true,
  survives: 2,
  recoveryPoints: 2,
  packs: 3,
  sites: [site, { ...site, name: "kn" }],
};
const refused =
  (code: Parameters<typeof isExclaveError>[1]) =>
  (error: unknown): boolean =>
    isExclaveError(error, code);

/** What a check says, as it is signed, with members that are otherwise. */
function payloadWith(changes: Readonly<Record<string, unknown>>): Uint8Array {
  const { payload } = JSON.parse(fromUtf8(signRecord("check", said, by).bytes));
  return encodeJson({ ...JSON.parse(fromUtf8(fromBase64(payload))), ...changes });
}

function opened(changes: Readonly<Record<string, unknown>>): unknown {
  return openRecord(signEnvelope(TYPE, payloadWith(changes), [agent]), known);
}

test("a check reads back as it was said, by whoever has the State's charter", () => {
  const { kind, bytes } = signRecord("check", said, by);
  const record = openRecord(bytes, known);
  assert.equal(kind, "check");
  assert.ok(record.what === "check");
  const { kind: _kind, format: _format, state, time, random, what: _what, ...rest } = record;
  assert.deepEqual(rest, said);
  assert.deepEqual([state, time], [known.id, "2026-06-08T09:10:11.000Z"]);
  assert.match(random, /^[0-9a-f]{32}$/);
  // Who watches abroad has no charter, and reads it all the same.
  const lost = readRecord(signRecord("check", { ...said, good: false, survives: -3 }, by).bytes);
  assert.ok(lost.what === "check");
  assert.deepEqual([lost.good, lost.survives], [false, -3]);
});

test("a check that another key signed, that is another State's, or was altered is refused", () => {
  const { bytes } = signRecord("check", said, by);
  assert.throws(() => openRecord(bytes, otherState), refused("foreign-state"));
  const forged = signRecord("check", said, { ...by, agent: stranger }).bytes;
  assert.throws(() => openRecord(forged, known), refused("untrusted"));
  for (const at of [30, 200, bytes.length - 40]) {
    assert.throws(() => openRecord(altered(bytes, at), known), isExclaveError);
  }
});

test("a check that says more, less or other than it may is refused though it is signed", () => {
  assert.doesNotThrow(() => opened({}));
  assert.doesNotThrow(() => opened({ sites: Array.from({ length: 32 }, () => site) }));
  const wrong: readonly Readonly<Record<string, unknown>>[] = [
    { register: "docs" },
    { name: "docs" },
    { full: 1 },
    { survives: 33 },
    { survives: -33 },
    { recoveryPoints: -1 },
    { packs: "3" },
    { sites: [] },
    { sites: Array.from({ length: 33 }, () => site) },
    { sites: [{ ...site, name: "../bb" }] },
    { sites: [{ ...site, missing: -1 }] },
    { sites: [{ ...site, unavailable: "the disk of Ms Nunez is full" }] },
    { sites: [{ ...site, why: "no" }] },
    { what: "receipt" },
  ];
  for (const changes of wrong) {
    assert.throws(() => opened(changes), refused("malformed"), JSON.stringify(changes));
  }
  const { good: _, ...less } = JSON.parse(fromUtf8(payloadWith({})));
  assert.throws(
    () => openRecord(signEnvelope(TYPE, encodeJson(less), [agent]), known),
    refused("malformed"),
  );
});

test("a check is a sentence that says what was found, and how much more may be lost", () => {
  const record = (changes: Partial<Said<"check">>): RecordOf<"check"> => {
    const one = openRecord(signRecord("check", { ...said, ...changes }, by).bytes, known);
    assert.ok(one.what === "check");
    return one;
  };
  assert.equal(
    sayCheck(record({}), "docs"),
    "A check of docs in full, begun 2026-06-08T09:10:11.000Z: good, 2 recovery points; any 2 more of the sites may be lost.",
  );
  assert.equal(
    sayCheck(record({ full: false, recoveryPoints: 1, survives: 0 }), undefined),
    "A check of the register abababab by sample, begun 2026-06-08T09:10:11.000Z: good, 1 recovery point; no further site may be lost.",
  );
  const sites = [
    { ...site, missing: 2, damaged: 1 },
    { ...site, name: "kn", unavailable: true },
    { ...site, name: "lu", damaged: 1 },
    { ...site, name: "ee" },
  ];
  assert.match(
    sayCheck(record({ good: false, survives: -1, sites }), "docs"),
    /: not all good: bb has 2 missing and 1 damaged, kn could not be checked, lu has 1 damaged; something is lost\.$/,
  );
  assert.match(
    sayCheck(record({ good: false }), "docs"),
    /: not all good: a document, or the ledger, at a site; any 2 more of the sites may be lost\.$/,
  );
});

test("what no agent signed, or one that was revoked by then, is not shown as a check", () => {
  const show = (bytes: Uint8Array, at?: Date): string =>
    checkSentence({ known, document: () => bytes }, "00", at, () => "docs");
  const day = (date: number): Date => new Date(Date.UTC(2026, 5, date));
  assert.match(show(signRecord("check", said, by).bytes, now), /^A check of docs in full/);
  const forged = signRecord("check", said, { ...by, agent: stranger });
  assert.match(show(forged.bytes, now), /^A record that counts for nothing: .*not signed by any/);
  const receipt = signRecord(
    "receipt",
    {
      setId: "cd".repeat(16),
      generation: 1,
      index: 0,
      receipt: "00".repeat(32),
      request: "11".repeat(32),
    },
    by,
  );
  assert.match(show(receipt.bytes, now), /^A record that counts for nothing/);
  const before = signRecord("check", said, { ...by, agent: revoked, now: day(4) }).bytes;
  assert.match(show(before, day(4)), /^A check of docs/);
  // It dated back what the ledger had later.
  assert.match(show(before, day(6)), /counts for nothing: its agent was revoked/);
  const after = signRecord("check", said, { ...by, agent: revoked, now: day(5) }).bytes;
  assert.match(show(after), /counts for nothing: its agent was revoked/);
  const lost = (): never => {
    throw new ExclaveError("altered", "it is not there");
  };
  assert.match(
    checkSentence({ known, document: lost }, "00", now, () => "docs"),
    /does not have: exclave rebuild/,
  );
});
