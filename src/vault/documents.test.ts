import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { altered, epochKey, noise, tries } from "../../test/support/vault.ts";
import { fromUtf8, toBase64, toHex, utf8 } from "../crypto/bytes.ts";
import { signEnvelope } from "../crypto/dsse.ts";
import { kemKeyPairFromSeed } from "../crypto/kem.ts";
import { type SigningKey, signingKeyFromSeed } from "../crypto/signing.ts";
import { encodeJson } from "../crypto/strict-json.ts";
import { wrapTo } from "../crypto/wrap.ts";
import { type ErrorCode, isExclaveError } from "../errors.ts";
import {
  agentKeys,
  type Charter,
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
  signCharter,
  signDocument,
  stateIdOf,
  unwrapEpochKey,
  verifyCharters,
  wrapEpochKey,
} from "./documents.ts";
import { epochContextBytes } from "./epoch-keys.ts";
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
  previous: { readonly payloadId: string },
  version: number,
  change: Partial<Charter> = {},
  by: SigningKey = recovery.signing,
): ReturnType<typeof signCharter> & { readonly charter: Charter } {
  const charter = {
    ...founding,
    version,
    previous: previous.payloadId,
    term: version,
    time: `2026-01-0${version}T00:00:00.000Z`,
    agents: [{ signing: toBase64(second.publicKey.bytes), term: version }],
    ...change,
  };
  return { ...signCharter(charter, by), charter };
}

const chainOf = (...charters: readonly { readonly bytes: Uint8Array }[]) =>
  verifyCharters(
    charters.map(({ bytes }) => bytes),
    recovery.signing.publicKey,
  );

/** The same payload in another envelope: one that anybody can write, who need not be able to sign. */
function respelled({ bytes }: { readonly bytes: Uint8Array }): { readonly bytes: Uint8Array } {
  return { bytes: utf8(`${JSON.stringify(JSON.parse(fromUtf8(bytes)), undefined, 1)}\n`) };
}

const chain = chainOf(first, next(first, 2));
const epoch = {
  state: chain.state,
  register: parseId("RegisterId", "b2".repeat(16)),
  epoch: firstEpochOf(2) + 3,
};
const statement: Statement = {
  kind: "statement",
  format: 1,
  state: chain.state,
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
    assert.equal(found.state, first.payloadId);
    assert.equal(found.state, stateIdOf(encodeJson(founding)));
    assert.equal(found.currentId, three.payloadId);
    assert.equal(found.current.term, 3);
    assert.deepEqual(found.envelopes, [first.bytes, two.bytes, three.bytes]);
    assert.deepEqual([...found.agents.keys()].toSorted(), [agent.id, second.id].toSorted());
  }
});

test("charters by anyone but the recovery key count for nothing", () => {
  const forged = next(first, 2, {}, stranger.signing);
  assert.equal(chainOf(first, forged).currentId, first.payloadId);
  assert.equal(chainOf(first, next(first, 2, {}, agent)).currentId, first.payloadId);
  assert.throws(() => chainOf(signCharter(founding, stranger.signing)), code("untrusted"));
  assert.throws(() => chainOf(), code("untrusted"));
  assert.throws(() => chainOf({ bytes: utf8("{}") }, { bytes: noise(100, 1) }), code("untrusted"));
});

test("a line of charters that is broken ends where it breaks", () => {
  const two = next(first, 2);
  const three = next(two, 3);
  const current = (...more: { bytes: Uint8Array }[]) => chainOf(first, ...more).currentId;
  assert.equal(current(three), first.payloadId, "the one between is missing");
  assert.equal(current(next(first, 3)), first.payloadId, "a version is left out");
  assert.equal(current(next(first, 1)), first.payloadId, "the same version again");
  assert.equal(current(two, next(first, 3)), two.payloadId, "it names one before the last");
  const named = (payloadId: string) => current(next({ payloadId }, 2));
  assert.equal(named("77".repeat(32)), first.payloadId, "it names one unknown");
  assert.equal(named(first.id), first.payloadId, "it names an envelope");
  const orphan = { ...founding, version: 2, time: "2026-05-01T00:00:00.000Z" };
  assert.equal(current(signCharter(orphan, recovery.signing)), first.payloadId, "it names none");
  assert.throws(() => chainOf(two, three), code("untrusted"), "the founding one is missing");
});

test("a charter that a site put into another envelope does not cut the line", () => {
  const two = next(first, 2);
  const three = next(two, 3);
  const again = signCharter(two.charter, recovery.signing);
  assert.notEqual(again.id, two.id, "signed again it is another object");
  assert.equal(again.payloadId, two.payloadId, "that says the same");
  for (const found of [
    [respelled(first), two, three],
    [first, respelled(two), three],
    [first, again, three],
    [respelled(first), respelled(two), respelled(three)],
    [three, respelled(two), two, again, first, respelled(first), respelled(three)],
  ]) {
    const line = chainOf(...found);
    assert.equal(line.state, first.state);
    assert.equal(line.currentId, three.payloadId);
    assert.deepEqual(
      line.charters.map(({ payloadId }) => payloadId),
      [first, two, three].map(({ payloadId }) => payloadId),
      "each counts once",
    );
    const kept = found.map(({ bytes }) => bytes);
    assert.ok(line.envelopes.every((bytes) => kept.includes(bytes)));
  }
});

test("of two lines the longer counts; of two as long the later; of two as late always the same", () => {
  const a = next(first, 2, { time: "2026-03-01T00:00:00.000Z" });
  const b = next(first, 2, { time: "2026-02-01T00:00:00.000Z" });
  assert.equal(chainOf(first, a, b).currentId, a.payloadId);
  assert.equal(chainOf(first, b, a).currentId, a.payloadId);
  const longer = next(b, 3, { time: "2026-02-02T00:00:00.000Z" });
  assert.equal(chainOf(first, a, b, longer).currentId, longer.payloadId);
  // Later by half a second, though it would sort before as text.
  const half = next(first, 2, { time: "2026-03-01T00:00:00.500Z" });
  const whole = next(first, 2, { time: "2026-03-01T00:00:00Z" });
  assert.equal(chainOf(first, whole, half).currentId, half.payloadId);
  assert.equal(chainOf(first, half, whole).currentId, half.payloadId);
  const twin = next(first, 2, { time: "2026-03-01T00:00:00.000Z", name: "Twin" });
  assert.equal(chainOf(first, a, twin).currentId, chainOf(first, twin, a).currentId);
  const greater = [a, twin]
    .map(({ payloadId }) => payloadId)
    .toSorted()
    .at(-1);
  assert.equal(chainOf(first, a, twin).currentId, greater);
});

test("a statement is accepted from the agent of its term alone", () => {
  assert.deepEqual(openStatement(signed.bytes, chain).document, statement);
  assert.equal(openStatement(signed.bytes, chain).id, signed.id);
  assert.equal(openStatement(signed.bytes, chain).payloadId, signed.payloadId);
  const same = openStatement(respelled(signed).bytes, chain);
  assert.notEqual(same.id, signed.id, "in another envelope it is another object");
  assert.equal(same.payloadId, signed.payloadId, "and no other statement");
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
  const ofTerm1 = { ...statement, term: 1, epoch: firstEpochOf(1), agent: agent.id };
  const former = signDocument(ofTerm1, [agent]);
  assert.equal(openStatement(former.bytes, chain).document.term, 1);
});

test("a statement of an epoch that is not of its term is refused", () => {
  const open = (epoch: number): unknown =>
    openStatement(signDocument({ ...statement, epoch }, [second]).bytes, chain);
  for (const good of [2 * 65_536, 3 * 65_536 - 1]) assert.ok(open(good));
  for (const bad of [1, 3, 65_536, 2 * 65_536 - 1, 3 * 65_536, 0xffffffff]) {
    assert.throws(() => open(bad), code("untrusted"), `epoch ${bad}`);
  }
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
    { ...statement, epochKeyId: "99".repeat(31) },
    { ...statement, epochKeyId: "BB".repeat(32) },
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
    const document = payload as Statement;
    if (payload.kind === "statement") {
      assert.throws(() => signDocument(document, [second]), code("usage"), "nor is it written");
    }
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
    state: chain.state,
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
    assert.equal(openDocument("site", bytes, agentKeys(chain)).document.name, name);
    for (const good of roots(name)) assert.deepEqual(decodeRoot(encodeRoot(good), statement), good);
  }
  for (const name of ["", ".", "..", "../x", "a/b", "/a", ".a", "-a", "A", "a\0", "a\n", "é"]) {
    for (const bad of [name, `${name}${"a".repeat(64)}`]) {
      const refused = JSON.stringify(bad);
      assert.throws(() => signDocument(siteOf(bad), [second]), code("usage"), refused);
      const type = "application/vnd.exclave.site.v1+json";
      const envelope = signEnvelope(type, encodeJson(siteOf(bad)), [second]);
      const read = () => openDocument("site", envelope, agentKeys(chain));
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
  openWrap(wrapEpochKey(epochKey, epoch, { recipient, publicKey }, by).bytes, chain).document;

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
  assert.throws(() => openWrap(bytes, chain), code("malformed"));
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

test("a wrap is accepted from the agent of its term, for an epoch of that term, alone", () => {
  const wrap = wrapped("recovery", recovery.kem.publicKey);
  const refused = (change: Partial<EpochWrap>, by: SigningKey, why: ErrorCode): void => {
    const { bytes } = signDocument({ ...wrap, ...change }, [by]);
    assert.throws(() => openWrap(bytes, chain), code(why), JSON.stringify(change));
  };
  refused({}, agent, "untrusted");
  refused({}, outsider, "untrusted");
  refused({}, recovery.signing, "untrusted");
  refused({ term: 1 }, second, "untrusted");
  refused({ term: 1 }, agent, "untrusted");
  refused({ term: 1, epoch: firstEpochOf(1) }, second, "untrusted");
  refused({ term: 3, epoch: firstEpochOf(3) }, second, "untrusted");
  refused({ epoch: firstEpochOf(1) }, second, "untrusted");
  refused({ epoch: firstEpochOf(3) }, second, "untrusted");
  refused({ epoch: firstEpochOf(2) - 1 }, second, "untrusted");
  refused({ epoch: 1 }, second, "untrusted");
  refused({ state: "99".repeat(32) }, second, "foreign-state");
  // A former agent's wrap of its own term stays good.
  const former = signDocument({ ...wrap, term: 1, epoch: firstEpochOf(2) - 1 }, [agent]);
  assert.equal(openWrap(former.bytes, chain).document.term, 1);
});
