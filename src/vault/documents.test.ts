import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { altered, epochKey, noise, tries } from "../../test/support/vault.ts";
import { toBase64, toHex, utf8 } from "../crypto/bytes.ts";
import { signEnvelope } from "../crypto/dsse.ts";
import { kemKeyPairFromSeed } from "../crypto/kem.ts";
import { type SigningKey, signingKeyFromSeed } from "../crypto/signing.ts";
import { encodeJson } from "../crypto/strict-json.ts";
import { type ErrorCode, isExclaveError } from "../errors.ts";
import {
  agentKeys,
  type Charter,
  decodeRoot,
  type EpochWrap,
  encodeRoot,
  openDocument,
  openStatement,
  type SnapshotRoot,
  type Statement,
  signCharter,
  signDocument,
  stateIdOf,
  unwrapEpochKey,
  verifyCharters,
  wrapEpochKey,
} from "./documents.ts";
import { parseId } from "./identifiers.ts";
import { recoveryKeyFromSeed } from "./recovery-key.ts";

const code =
  (...codes: ErrorCode[]) =>
  (error: unknown): boolean =>
    codes.some((one) => isExclaveError(error, one));

const recovery = recoveryKeyFromSeed(noise(32, 1));
const stranger = recoveryKeyFromSeed(noise(32, 2));
const agents = [3, 4, 5].map((seed) => signingKeyFromSeed(noise(32, seed)));
const [agent, second, outsider] = agents as [SigningKey, SigningKey, SigningKey];
const reader = kemKeyPairFromSeed(noise(32, 6));

const founding: Charter = {
  kind: "charter",
  format: 1,
  version: 1,
  name: "Test State",
  time: "2026-01-01T00:00:00.000Z",
  random: "00".repeat(16),
  term: 1,
  recovery: {
    kem: toBase64(recovery.kem.publicKey),
    signing: toBase64(recovery.signing.publicKey.bytes),
  },
  reader: { kem: toBase64(reader.publicKey) },
  agents: [{ signing: toBase64(agent.publicKey.bytes), term: 1 }],
};
const first = signCharter(founding, recovery.signing);

/** The charter after `previous`, with its own agent and term. */
function next(
  previous: { readonly id: string },
  version: number,
  change: Partial<Charter> = {},
  by: SigningKey = recovery.signing,
): ReturnType<typeof signCharter> {
  return signCharter(
    {
      ...founding,
      version,
      previous: previous.id,
      term: version,
      time: `2026-01-0${version}T00:00:00.000Z`,
      agents: [{ signing: toBase64(second.publicKey.bytes), term: version }],
      ...change,
    },
    by,
  );
}

const chainOf = (...charters: readonly { readonly bytes: Uint8Array }[]) =>
  verifyCharters(
    charters.map(({ bytes }) => bytes),
    recovery.signing.publicKey,
  );

const chain = chainOf(first, next(first, 2));
const statement: Statement = {
  kind: "statement",
  format: 1,
  state: chain.state,
  register: "b2".repeat(16),
  epoch: 3,
  term: 2,
  sequence: 7,
  agent: second.id,
  time: "2026-01-05T12:00:00.000Z",
  random: "11".repeat(16),
  previous: "22".repeat(32),
  root: { pack: "33".repeat(16), chunk: "44".repeat(32) },
  manifests: ["55".repeat(32)],
};
const signed = signDocument(statement, [second]);

test("charters are put in order whatever order they were found in, and give the State its id", () => {
  const two = next(first, 2);
  const three = next(two, 3);
  for (const order of [
    [first, two, three],
    [three, first, two],
    [two, three, first, two, first],
  ]) {
    const found = chainOf(...order);
    assert.deepEqual(
      found.charters.map(({ document }) => document.version),
      [1, 2, 3],
    );
    assert.equal(found.state, first.state);
    assert.equal(found.state, stateIdOf(encodeJson(founding)));
    assert.equal(found.currentId, three.id);
    assert.equal(found.current.term, 3);
    assert.deepEqual(found.envelopes, [first.bytes, two.bytes, three.bytes]);
    assert.deepEqual([...found.agents.keys()].toSorted(), [agent.id, second.id].toSorted());
  }
});

test("charters by anyone but the recovery key count for nothing", () => {
  const forged = next(first, 2, {}, stranger.signing);
  assert.equal(chainOf(first, forged).currentId, first.id);
  assert.equal(chainOf(first, next(first, 2, {}, agent)).currentId, first.id);
  assert.throws(() => chainOf(signCharter(founding, stranger.signing)), code("untrusted"));
  assert.throws(() => chainOf(), code("untrusted"));
  assert.throws(() => chainOf({ bytes: utf8("{}") }, { bytes: noise(100, 1) }), code("untrusted"));
});

test("a line of charters that is broken ends where it breaks", () => {
  const two = next(first, 2);
  const three = next(two, 3);
  const current = (...more: { bytes: Uint8Array }[]) => chainOf(first, ...more).currentId;
  assert.equal(current(three), first.id, "the one between is missing");
  assert.equal(current(next(first, 3)), first.id, "a version is left out");
  assert.equal(current(next(first, 1)), first.id, "the same version again");
  assert.equal(current(two, next(first, 3)), two.id, "it names one before the last");
  assert.equal(current(next({ id: "77".repeat(32) }, 2)), first.id, "it names one unknown");
  assert.equal(current(next({ id: first.state }, 2)), first.id, "it names the State");
  const { previous: _, ...orphan } = {
    ...founding,
    version: 2,
    time: "2026-05-01T00:00:00.000Z",
    previous: "",
  };
  assert.equal(current(signCharter(orphan, recovery.signing)), first.id, "it names none");
  assert.throws(() => chainOf(two, three), code("untrusted"), "the founding one is missing");
});

test("of two lines the longer counts; of two as long the later; of two as late always the same", () => {
  const a = next(first, 2, { time: "2026-03-01T00:00:00.000Z" });
  const b = next(first, 2, { time: "2026-02-01T00:00:00.000Z" });
  assert.equal(chainOf(first, a, b).currentId, a.id);
  assert.equal(chainOf(first, b, a).currentId, a.id);
  const longer = next(b, 3, { time: "2026-02-02T00:00:00.000Z" });
  assert.equal(chainOf(first, a, b, longer).currentId, longer.id);
  // Later by half a second, though it would sort before as text.
  const half = next(first, 2, { time: "2026-03-01T00:00:00.500Z" });
  const whole = next(first, 2, { time: "2026-03-01T00:00:00Z" });
  assert.equal(chainOf(first, whole, half).currentId, half.id);
  assert.equal(chainOf(first, half, whole).currentId, half.id);
  const twin = next(first, 2, { time: a.id ? "2026-03-01T00:00:00.000Z" : "", name: "Twin" });
  assert.equal(chainOf(first, a, twin).currentId, chainOf(first, twin, a).currentId);
});

test("a statement is accepted from the agent of its term alone", () => {
  assert.deepEqual(openStatement(signed.bytes, chain).document, statement);
  assert.equal(openStatement(signed.bytes, chain).id, signed.id);
  const refused = (change: Partial<Statement>, by: readonly SigningKey[], why: ErrorCode): void => {
    const { bytes } = signDocument({ ...statement, ...change }, by);
    assert.throws(() => openStatement(bytes, chain), code(why), JSON.stringify(change));
  };
  refused({}, [outsider], "untrusted");
  refused({ agent: outsider.id }, [outsider], "untrusted");
  refused({ agent: outsider.id }, [second], "untrusted");
  refused({}, [agent], "untrusted");
  refused({ agent: agent.id }, [second], "untrusted");
  refused({ agent: agent.id }, [agent], "untrusted");
  refused({ term: 1 }, [second], "untrusted");
  refused({ term: 3 }, [second], "untrusted");
  refused({ state: "99".repeat(32) }, [second], "foreign-state");
  refused({}, [recovery.signing], "untrusted");
  // A former agent's statement of its own term stays good.
  const former = signDocument({ ...statement, term: 1, agent: agent.id }, [agent]);
  assert.equal(openStatement(former.bytes, chain).document.term, 1);
});

test("no altered byte of a signed document passes", () => {
  const trusted = agentKeys(chain);
  fc.assert(
    fc.property(fc.nat(signed.bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
      assert.throws(
        () => openDocument("statement", altered(signed.bytes, at, mask), trusted),
        code("altered", "malformed", "untrusted"),
      );
    }),
    tries(300),
  );
});

test("a document is not taken for one of another kind", () => {
  const trusted = agentKeys(chain);
  for (const kind of ["charter", "wrap", "site"] as const) {
    assert.throws(() => openDocument(kind, signed.bytes, trusted), code("malformed"));
  }
  // Nor when the envelope's type and the payload disagree.
  for (const type of ["charter", "wrap", "site"] as const) {
    const envelope = signEnvelope(
      `application/vnd.exclave.${type}.v1+json`,
      encodeJson(statement),
      [second],
    );
    assert.throws(() => openDocument(type, envelope, trusted), code("malformed"));
  }
});

test("fields that are missing, unknown or out of range are refused though they are signed", () => {
  const trusted = agentKeys(chain);
  const payloads: Record<string, unknown>[] = [
    { ...statement, more: 1 },
    { ...statement, format: 2 },
    { ...statement, kind: "charter" },
    { ...statement, epoch: 0 },
    { ...statement, epoch: 2 ** 32 },
    { ...statement, term: 0 },
    { ...statement, sequence: 0 },
    { ...statement, register: "B2".repeat(16) },
    { ...statement, register: "b2".repeat(17) },
    { ...statement, time: "2026-01-05 12:00:00Z" },
    { ...statement, time: "2026-13-45T99:99:99Z" },
    { ...statement, time: "2026-01-05T12:00:00+01:00" },
    { ...statement, manifests: Array.from({ length: 4097 }, () => "55".repeat(32)) },
    { ...statement, root: { pack: "33".repeat(16) } },
  ];
  for (const field of Object.keys(statement)) {
    if (field === "previous") continue;
    payloads.push(Object.fromEntries(Object.entries(statement).filter(([key]) => key !== field)));
  }
  for (const payload of payloads) {
    const envelope = signEnvelope(
      "application/vnd.exclave.statement.v1+json",
      encodeJson(payload),
      [second],
    );
    const refused = code("malformed");
    assert.throws(
      () => openDocument("statement", envelope, trusted),
      refused,
      Object.keys(payload).join(),
    );
  }
});

const root: SnapshotRoot = {
  kind: "snapshot",
  format: 1,
  state: statement.state,
  register: statement.register,
  epoch: statement.epoch,
  term: statement.term,
  sequence: statement.sequence,
  time: statement.time,
  name: "civil-status",
  complete: true,
  k: 3,
  survive: 1,
  sites: [{ name: "bb", country: "BB", operator: "op", hazardZone: "atlantic" }],
  parts: [
    {
      name: "files",
      kind: "files",
      source: "/srv/registers",
      excludes: ["*.tmp"],
      oneFileSystem: false,
      entries: { depth: 0, bytes: 100, chunks: [{ id: "66".repeat(32), bytes: 100 }] },
      files: 2,
      bytes: 4000,
    },
  ],
  index: [
    {
      packs: ["77".repeat(16)],
      segment: { depth: 0, bytes: 56, chunks: [{ id: "88".repeat(32), bytes: 56 }] },
    },
  ],
};

test("a root is read back, and belongs to no other statement", () => {
  assert.deepEqual(decodeRoot(encodeRoot(root), statement), root);
  for (const change of [
    { state: "99".repeat(32) },
    { register: "99".repeat(16) },
    { epoch: 4 },
    { term: 3 },
    { sequence: 8 },
    { time: "2026-01-05T12:00:00.001Z" },
  ]) {
    const other = { ...statement, ...change };
    assert.throws(
      () => decodeRoot(encodeRoot(root), other),
      code("altered"),
      JSON.stringify(change),
    );
  }
});

test("a root with impossible numbers is refused before anything uses them", () => {
  const part = root.parts[0]!;
  const chunk = (bytes: number): Partial<SnapshotRoot> => ({
    parts: [{ ...part, entries: { depth: 0, bytes, chunks: [{ id: "66".repeat(32), bytes }] } }],
  });
  for (const change of [
    { k: 0 },
    { k: 33 },
    { survive: -1 },
    { epoch: 2 ** 32 },
    { parts: [] },
    chunk(0),
    chunk(2 ** 20 + 1),
    chunk(2 ** 40),
    { parts: [{ ...part, entries: { ...part.entries, depth: 9 } }] },
    { index: Array.from({ length: 65 }, () => root.index[0]!) },
  ] as Partial<SnapshotRoot>[]) {
    const bytes = encodeJson({ ...root, ...change });
    assert.throws(() => decodeRoot(bytes, statement), code("malformed"), JSON.stringify(change));
  }
});

const by = { agent: second, term: 2, time: new Date("2026-01-02T00:00:00Z") };
const epoch = {
  state: chain.state,
  register: parseId("RegisterId", statement.register),
  epoch: statement.epoch,
};
const wrapped = (recipient: EpochWrap["recipient"], publicKey: Uint8Array): EpochWrap =>
  openDocument(
    "wrap",
    wrapEpochKey(epochKey, epoch, { recipient, publicKey }, by).bytes,
    agentKeys(chain),
  ).document;

test("a wrap opens with the key it is addressed to, and with no other", () => {
  const toRecovery = wrapped("recovery", recovery.kem.publicKey);
  const toReader = wrapped("reader", reader.publicKey);
  assert.equal(toHex(unwrapEpochKey(toRecovery, recovery.kem)), toHex(epochKey));
  assert.equal(toHex(unwrapEpochKey(toReader, reader)), toHex(epochKey));
  assert.throws(() => unwrapEpochKey(toRecovery, reader), code("altered"));
  assert.throws(() => unwrapEpochKey(toReader, recovery.kem), code("altered"));
  assert.throws(() => unwrapEpochKey(toRecovery, stranger.kem), code("altered"));
});

test("a wrap that is passed off as another epoch's, register's, State's or recipient's does not open", () => {
  const wrap = wrapped("recovery", recovery.kem.publicKey);
  for (const change of [
    { state: "99".repeat(32) },
    { register: "99".repeat(16) },
    { epoch: 4 },
    { recipient: "reader" as const },
    { sealed: wrapped("recovery", recovery.kem.publicKey).sealed },
    { sealed: "" },
    { encapsulation: "" },
    { encapsulation: wrapped("recovery", recovery.kem.publicKey).encapsulation },
  ]) {
    const other = { ...wrap, ...change };
    assert.throws(
      () => unwrapEpochKey(other, recovery.kem),
      code("altered"),
      Object.keys(change)[0],
    );
  }
  for (const sealed of ["?", "AAA", "AB=="]) {
    assert.throws(() => unwrapEpochKey({ ...wrap, sealed }, recovery.kem), code("malformed"));
  }
});

test("a signed wrap with an impossible epoch is refused, so that it cannot stop a recovery", () => {
  const wrap = { ...wrapped("recovery", recovery.kem.publicKey), epoch: 2 ** 40 };
  const { bytes } = signDocument(wrap, [second]);
  assert.throws(() => openDocument("wrap", bytes, agentKeys(chain)), code("malformed"));
});
