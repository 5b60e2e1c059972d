import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { knownStateWith } from "../../test/support/known-state.ts";
import { altered, epochKey, noise, tries } from "../../test/support/vault.ts";
import { fromUtf8, toBase64, toHex, utf8 } from "../crypto/bytes.ts";
import { signEnvelope } from "../crypto/dsse.ts";
import { type SigningKey, signingKeyFromSeed } from "../crypto/signing.ts";
import { encodeJson } from "../crypto/strict-json.ts";
import { wrapTo } from "../crypto/wrap.ts";
import { type ErrorCode, isExclaveError } from "../errors.ts";
import {
  type Annex,
  agentKeys,
  decodeRoot,
  type EpochWrap,
  encodeRoot,
  epochKeyIdOf,
  firstEpochOf,
  openDocument,
  openStatement,
  openWrap,
  type SiteDocument,
  type SnapshotRoot,
  type Statement,
  signDocument,
  unwrapEpochKey,
  wrapEpochKey,
} from "./documents.ts";
import { epochContextBytes } from "./epoch-keys.ts";
import { parseId } from "./identifiers.ts";
import { readerKeyFromSeed, recoveryKeyFromSeed } from "./recovery-key.ts";

const code =
  (...codes: ErrorCode[]) =>
  (error: unknown): boolean =>
    codes.some((one) => isExclaveError(error, one));

const recovery = recoveryKeyFromSeed(noise(32, 1));
const stranger = recoveryKeyFromSeed(noise(32, 2));
const agents = [3, 4, 5].map((seed) => signingKeyFromSeed(noise(32, seed)));
const [agent, second, outsider] = agents as [SigningKey, SigningKey, SigningKey];
const { kem: reader, signing: readerSigning } = readerKeyFromSeed(noise(32, 6));

const known = knownStateWith(
  recovery,
  [
    { key: agent, term: 1 },
    { key: second, term: 2 },
  ],
  {
    reader: {
      kem: toBase64(reader.publicKey),
      signing: toBase64(readerSigning.publicKey.bytes),
    },
  },
);

/** The same payload in another envelope: one that anybody can write, who need not be able to sign. */
function respelled({ bytes }: { readonly bytes: Uint8Array }): { readonly bytes: Uint8Array } {
  return { bytes: utf8(`${JSON.stringify(JSON.parse(fromUtf8(bytes)), undefined, 1)}\n`) };
}

const epoch = {
  state: known.id,
  register: parseId("RegisterId", "b2".repeat(16)),
  epoch: firstEpochOf(2) + 3,
};
const statement: Statement = {
  kind: "statement",
  format: 1,
  state: known.id,
  register: epoch.register,
  epoch: epoch.epoch,
  epochKeyId: epochKeyIdOf(epochKey, epoch),
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

test("a statement is accepted from the agent of its term alone", () => {
  assert.deepEqual(openStatement(signed.bytes, known).document, statement);
  assert.equal(openStatement(signed.bytes, known).id, signed.id);
  assert.equal(openStatement(signed.bytes, known).payloadId, signed.payloadId);
  const same = openStatement(respelled(signed).bytes, known);
  assert.notEqual(same.id, signed.id, "in another envelope it is another object");
  assert.equal(same.payloadId, signed.payloadId, "and no other statement");
  const refused = (change: Partial<Statement>, by: readonly SigningKey[], why: ErrorCode): void => {
    const { bytes } = signDocument({ ...statement, ...change }, by);
    assert.throws(() => openStatement(bytes, known), code(why), JSON.stringify(change));
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
  const ofTerm1 = { ...statement, term: 1, epoch: firstEpochOf(1), agent: agent.id };
  const former = signDocument(ofTerm1, [agent]);
  assert.equal(openStatement(former.bytes, known).document.term, 1);
});

test("a statement of an epoch that is not of its term is refused", () => {
  const open = (epoch: number): unknown =>
    openStatement(signDocument({ ...statement, epoch }, [second]).bytes, known);
  for (const good of [2 * 65_536, 3 * 65_536 - 1]) assert.ok(open(good));
  for (const bad of [1, 3, 65_536, 2 * 65_536 - 1, 3 * 65_536, 0xffffffff]) {
    assert.throws(() => open(bad), code("untrusted"), `epoch ${bad}`);
  }
});

test("an agent that may write some registers alone writes no other", () => {
  const other = "c3".repeat(16);
  const limitedTo = (...registers: string[]) =>
    knownStateWith(recovery, [{ key: second, term: 2, registers }]);
  const openOf = (state: ReturnType<typeof limitedTo>, register: string): unknown =>
    openStatement(signDocument({ ...statement, state: state.id, register }, [second]).bytes, state);
  const one = limitedTo(statement.register);
  assert.ok(openOf(one, statement.register));
  assert.throws(() => openOf(one, other), code("untrusted"));
  const two = limitedTo("d4".repeat(16), other);
  assert.ok(openOf(two, other));
  assert.throws(() => openOf(two, statement.register), code("untrusted"));
  const every = limitedTo();
  assert.ok(openOf(every, other) && openOf(every, statement.register));
});

test("no altered byte of a signed document passes", () => {
  const trusted = agentKeys(known);
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
  const trusted = agentKeys(known);
  for (const kind of ["annex", "wrap", "site"] as const) {
    assert.throws(() => openDocument(kind, signed.bytes, trusted), code("malformed"));
  }
  // Nor when the envelope's type and the payload disagree.
  for (const type of ["annex", "wrap", "site"] as const) {
    const envelope = signEnvelope(
      `application/vnd.exclave.${type}.v1+json`,
      encodeJson(statement),
      [second],
    );
    assert.throws(() => openDocument(type, envelope, trusted), code("malformed"));
  }
});

test("fields that are missing, unknown or out of range are refused though they are signed", () => {
  const trusted = agentKeys(known);
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
    { ...statement, epochKeyId: "99".repeat(31) },
    { ...statement, epochKeyId: "BB".repeat(32) },
    { ...statement, time: "2026-01-05 12:00:00Z" },
    { ...statement, time: "2026-13-45T99:99:99Z" },
    { ...statement, time: "2026-01-05T12:00:00+01:00" },
    { ...statement, manifests: Array.from({ length: 4097 }, () => "55".repeat(32)) },
    { ...statement, root: { pack: "33".repeat(16) } },
    { ...statement, root: { pack: "33".repeat(16), chunk: "44".repeat(32), more: 1 } },
    { ...statement, manifests: "55".repeat(32) },
    { ...statement, sequence: "7" },
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
    const document = payload as Statement;
    if (payload.kind === "statement") {
      assert.throws(() => signDocument(document, [second]), code("usage"), "nor is it written");
    }
  }
});

const annex: Annex = {
  kind: "annex",
  format: 1,
  state: known.id,
  time: "2026-01-05T12:00:00.000Z",
  random: "11".repeat(16),
  digest: "66".repeat(32),
  recipient: "77".repeat(32),
  algorithm: "MLKEM1024-P384/HKDF-SHA256/A256GCM",
  encapsulation: toBase64(noise(1665, 7)),
  sealed: toBase64(noise(200, 8)),
};

test("an annex is read back from an agent of the State, and from nobody else", () => {
  const { bytes, id } = signDocument(annex, [agent]);
  const opened = openDocument("annex", bytes, agentKeys(known));
  assert.deepEqual(opened.document, annex);
  assert.equal(opened.id, id);
  assert.deepEqual(opened.keyIds, [agent.id]);
  for (const key of [outsider, recovery.signing]) {
    const forged = signDocument(annex, [key]).bytes;
    assert.throws(() => openDocument("annex", forged, agentKeys(known)), code("untrusted"));
  }
});

test("an annex of a form that is not known is refused, and not written", () => {
  const hostile: Record<string, unknown>[] = [
    { ...annex, more: 1 },
    { ...annex, format: 2 },
    { ...annex, digest: "66".repeat(31) },
    { ...annex, recipient: "GG".repeat(32) },
    { ...annex, algorithm: "none" },
    { ...annex, encapsulation: "A".repeat(16_388) },
    { ...annex, sealed: "A".repeat(512 * 1024 + 4) },
    { ...annex, sealed: [annex.sealed] },
    { ...annex, time: "yesterday" },
    ...Object.keys(annex).map((field) =>
      Object.fromEntries(Object.entries(annex).filter(([name]) => name !== field)),
    ),
  ];
  const type = "application/vnd.exclave.annex.v1+json";
  for (const payload of hostile) {
    const envelope = signEnvelope(type, encodeJson(payload), [agent]);
    const shown = JSON.stringify(payload).slice(0, 300);
    assert.throws(
      () => openDocument("annex", envelope, agentKeys(known)),
      code("malformed"),
      shown,
    );
    if (payload.kind !== "annex") continue;
    assert.throws(() => signDocument(payload as Annex, [agent]), code("usage"), shown);
  }
  const most = { ...annex, sealed: "A".repeat(512 * 1024) };
  assert.ok(openDocument("annex", signDocument(most, [agent]).bytes, agentKeys(known)));
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
    { epoch: epoch.epoch + 1 },
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
    { parts: Array.from({ length: 65 }, () => part) },
    { index: Array.from({ length: 65 }, () => root.index[0]!) },
  ] as Partial<SnapshotRoot>[]) {
    const bytes = encodeJson({ ...root, ...change });
    assert.throws(() => decodeRoot(bytes, statement), code("malformed"), JSON.stringify(change));
    assert.throws(() => encodeRoot({ ...root, ...change }), code("usage"), JSON.stringify(change));
  }
  const most = { ...root, parts: Array.from({ length: 64 }, () => part) };
  assert.deepEqual(decodeRoot(encodeRoot(most), statement), most);
});

test("names that could lead elsewhere are refused when they are written and when they are read", () => {
  const site: SiteDocument = {
    kind: "site",
    format: 1,
    state: known.id,
    stateName: "Test State",
    time: "2026-01-01T00:00:00Z",
    random: "11".repeat(16),
    name: "bb",
    country: "BB",
    operator: "op",
    hazardZone: "zone",
  };
  const siteOf = (name: string): SiteDocument => ({ ...site, name });
  const roots = (name: string): SnapshotRoot[] => [
    { ...root, name },
    { ...root, parts: [{ ...root.parts[0]!, name }] },
    { ...root, sites: [{ ...root.sites[0]!, name }] },
  ];
  for (const name of ["a", "0", "civil-status_2.old", "a".repeat(63)]) {
    const { bytes } = signDocument(siteOf(name), [second]);
    assert.equal(openDocument("site", bytes, agentKeys(known)).document.name, name);
    for (const good of roots(name)) assert.deepEqual(decodeRoot(encodeRoot(good), statement), good);
  }
  for (const name of ["", ".", "..", "../x", "a/b", "/a", ".a", "-a", "A", "a\0", "a\n", "é"]) {
    for (const bad of [name, `${name}${"a".repeat(64)}`]) {
      const refused = JSON.stringify(bad);
      assert.throws(() => signDocument(siteOf(bad), [second]), code("usage"), refused);
      const type = "application/vnd.exclave.site.v1+json";
      const envelope = signEnvelope(type, encodeJson(siteOf(bad)), [second]);
      const read = () => openDocument("site", envelope, agentKeys(known));
      assert.throws(read, code("malformed"), refused);
      for (const one of roots(bad)) {
        assert.throws(() => encodeRoot(one), code("usage"), refused);
        assert.throws(() => decodeRoot(encodeJson(one), statement), code("malformed"), refused);
      }
    }
  }
});

const by = { agent: second, term: 2, time: new Date("2026-01-02T00:00:00Z") };
const wrapped = (recipient: EpochWrap["recipient"], publicKey: Uint8Array): EpochWrap =>
  openWrap(wrapEpochKey(epochKey, epoch, { recipient, publicKey }, by).bytes, known).document;

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
    { epoch: epoch.epoch + 1 },
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
  assert.throws(() => signDocument(wrap, [second]), code("usage"));
  const bytes = signEnvelope("application/vnd.exclave.wrap.v1+json", encodeJson(wrap), [second]);
  assert.throws(() => openWrap(bytes, known), code("malformed"));
});

test("a wrap that holds another key than it says is refused", () => {
  const wrap = wrapped("recovery", recovery.kem.publicKey);
  assert.equal(wrap.epochKeyId, statement.epochKeyId, "a statement names the key in the same way");
  for (const epochKeyId of [
    "99".repeat(32),
    epochKeyIdOf(noise(32, 9), epoch),
    epochKeyIdOf(epochKey, { ...epoch, epoch: epoch.epoch + 1 }),
    epochKeyIdOf(epochKey, { ...epoch, register: parseId("RegisterId", "99".repeat(16)) }),
  ]) {
    assert.throws(() => unwrapEpochKey({ ...wrap, epochKeyId }, recovery.kem), code("altered"));
  }
  // Nor one that opens, and to what is no key.
  const to = { recipient: "recovery", publicKey: recovery.kem.publicKey } as const;
  const context = Buffer.concat([
    utf8("exclave/v1 epoch key\0recovery\0"),
    epochContextBytes(epoch),
  ]);
  const { encapsulation, sealed } = wrapTo(to.publicKey, noise(31, 1), context);
  const short = {
    ...wrap,
    encapsulation: toBase64(encapsulation),
    sealed: toBase64(sealed),
  };
  assert.throws(() => unwrapEpochKey(short, recovery.kem), code("altered"));
});

test("a wrap is accepted from the agent of its term, for an epoch of that term or an earlier one, alone", () => {
  const wrap = wrapped("recovery", recovery.kem.publicKey);
  const refused = (change: Partial<EpochWrap>, by: SigningKey, why: ErrorCode): void => {
    const { bytes } = signDocument({ ...wrap, ...change }, [by]);
    assert.throws(() => openWrap(bytes, known), code(why), JSON.stringify(change));
  };
  refused({}, agent, "untrusted");
  refused({}, outsider, "untrusted");
  refused({}, recovery.signing, "untrusted");
  refused({ term: 1 }, second, "untrusted");
  refused({ term: 1 }, agent, "untrusted");
  refused({ term: 1, epoch: firstEpochOf(1) }, second, "untrusted");
  refused({ term: 3, epoch: firstEpochOf(3) }, second, "untrusted");
  refused({ epoch: firstEpochOf(3) }, second, "untrusted");
  refused({ epoch: 1 }, second, "untrusted");
  refused({ state: "99".repeat(32) }, second, "foreign-state");
  // A former agent's wrap of its own term stays good.
  const former = signDocument({ ...wrap, term: 1, epoch: firstEpochOf(2) - 1 }, [agent]);
  assert.equal(openWrap(former.bytes, known).document.term, 1);
  // A later agent wraps it again, to a recovery key that replaced another.
  for (const epoch of [firstEpochOf(1), firstEpochOf(2) - 1]) {
    const again = signDocument({ ...wrap, epoch }, [second]);
    assert.equal(openWrap(again.bytes, known).document.epoch, epoch);
  }
});
