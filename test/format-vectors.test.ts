/**
 * test/vectors/format.json, read and written again by the real code and by a stranger's
 * (test/support/stranger.ts, written from docs/format.md with nothing of src/). Whoever changes a label, an order
 * or an encoding breaks this. WRITE_VECTORS=1 writes the file anew: only for a new version of the format.
 */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { zstdCompressSync } from "node:zlib";
import { z } from "zod";
import { type Charter, type StoredCharter, writeCharter } from "../src/charter/charter.ts";
import { addSignature, openPaper, signPaper } from "../src/charter/decision.ts";
import { type HistoryEntry, openDecision, replay } from "../src/charter/history.ts";
import { recoveryKey } from "../src/charter/thresholds.ts";
import { aes256ctr } from "../src/crypto/aead.ts";
import { sha256 } from "../src/crypto/hash.ts";
import { kemKeyPairFromSeed } from "../src/crypto/kem.ts";
import { type SigningKey, signingKeyFromSeed } from "../src/crypto/signing.ts";
import { encodeJson } from "../src/crypto/strict-json.ts";
import { wrapTo } from "../src/crypto/wrap.ts";
import { combineShares, ofState, splitSecret } from "../src/custody/share-set.ts";
import { loadKernel } from "../src/erasure/kernel.ts";
import { encode } from "../src/erasure/reed-solomon.ts";
import { split } from "../src/erasure/shamir.ts";
import {
  openAnnex,
  type People,
  peopleOf,
  personOf,
  readPeople,
  sealAnnex,
} from "../src/governance/annex.ts";
import { checkpointName, fileName } from "../src/ledger/at-sites.ts";
import { signCheckpoint, verifyCheckpoint } from "../src/ledger/checkpoint.ts";
import { decodeLedgerEntry, encodeLedgerEntry } from "../src/ledger/entry.ts";
import { logKeyFromSeed, verifierKeysOf } from "../src/ledger/log-key.ts";
import { verifyInclusion } from "../src/ledger/merkle.ts";
import { formatVerifierKey } from "../src/ledger/note.ts";
import { decodeEntryBundle } from "../src/ledger/tiles.ts";
import { Chunker } from "../src/vault/chunker.ts";
import { counterBlock } from "../src/vault/dispersal.ts";
import {
  epochKeyIdOf,
  openDocument,
  signDocument,
  unwrapEpochKey,
  wrapEpochKey,
} from "../src/vault/documents.ts";
import { ContentWriter, type Entry, EntryDecoder, EntryEncoder } from "../src/vault/entries.ts";
import { deriveEpochKeys } from "../src/vault/epoch-keys.ts";
import { parseId } from "../src/vault/identifiers.ts";
import { decodeManifest, encodeManifest } from "../src/vault/manifest.ts";
import { decodeTable, encodeTable } from "../src/vault/pack.ts";
import { PackReader } from "../src/vault/pack-reader.ts";
import { readerKeyFromSeed, recoveryKeyFromSeed } from "../src/vault/recovery-key.ts";
import { BLOCK_BYTES, blockLeaves, encodeFronts, parseFront } from "../src/vault/shard.ts";
import * as stranger from "./support/stranger.ts";
import {
  writeBundle,
  writeKeyShares,
  writeManifest,
  writePack,
  writeShards,
} from "./support/stranger-writer.ts";
import {
  Arena,
  altered,
  noise,
  sealPacks,
  context as testContext,
  epochKey as testKey,
  keys as testKeys,
} from "./support/vault.ts";

const path = new URL("vectors/format.json", import.meta.url);

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");
const fromHex = (text: string): Buffer => Buffer.from(text, "hex");
const fromBase64 = (text: string): Buffer => Buffer.from(text, "base64");
const count = (from: number, length: number): Buffer =>
  Buffer.from(Array.from({ length }, (_, i) => (from + i) & 255));

const epochKey = count(0x00, 32);
const epoch = { state: hex(count(0x20, 32)), register: hex(count(0x40, 16)), epoch: 65_543 };
const pack = hex(count(0x50, 16));
const context = {
  state: parseId("StateId", epoch.state),
  register: parseId("RegisterId", epoch.register),
  epoch: epoch.epoch,
};
const packId = parseId("PackId", pack);
const keys = deriveEpochKeys(epochKey, context);
const recoverySeed = count(0x80, 32);
const agentSeed = count(0xa0, 32);
const agent = signingKeyFromSeed(agentSeed);
const recovery = recoveryKeyFromSeed(recoverySeed);
/** The machine that writes after the succession. */
const successor = signingKeyFromSeed(count(0xb0, 32));

const chunkTexts = ["abc", "Bridgetown 1966-11-30\n".repeat(40), "x".repeat(700)] as const;
const dispersalKey = count(0xc0, 32);
const coefficients = count(0xe0, 32);

const plain: Omit<Entry, "path" | "kind"> = {
  mode: 0o755,
  uid: 1000,
  gid: 100,
  userName: "registrar",
  groupName: "",
  mtimeSec: 1_700_000_000,
  mtimeNsec: 123_456_789,
  ctimeSec: 1_700_000_001,
  ctimeNsec: 0,
  ino: 2n ** 40n + 3n,
  dev: 2049,
  size: 0,
  linkTarget: "",
  rdevMajor: 0,
  rdevMinor: 0,
  xattrs: [],
};
const records: readonly (Entry | Uint8Array)[] = [
  { ...plain, path: "", kind: "directory" },
  { ...plain, path: "births", kind: "directory", mode: 0o2750 },
  {
    ...plain,
    path: "births/1966.csv",
    kind: "file",
    mode: 0o640,
    size: 4099,
    mtimeSec: -100_000_000,
    xattrs: [{ name: "user.class", value: Uint8Array.of(0, 1, 2, 3) }],
  },
  contentOf(),
  { ...plain, path: "births/again.csv", kind: "hardlink", linkTarget: "births/1966.csv" },
  { ...plain, path: "births.old", kind: "symlink", mode: 0o777, linkTarget: "births" },
  { ...plain, path: "null", kind: "char-device", mode: 0o666, rdevMajor: 1, rdevMinor: 3 },
  { ...plain, path: "n\xff\xfe\x01", kind: "fifo", mode: 0o600, mtimeNsec: 999_999_999 },
];

function contentOf(): Uint8Array {
  const writer = new ContentWriter();
  writer.chunk(keys.chunkId(Buffer.from("abc")), 3);
  writer.hole(4096);
  return writer.take()[0]!;
}

/** Two seats that sign everything together, three key holders of whom two are needed, one site. */
const seats = ["pm", "justice"] as const;
const seatKey = (name: string): SigningKey =>
  signingKeyFromSeed(sha256(Buffer.from(`seat ${name}`)));
const threshold = { signatures: 2, groups: [], timelockSeconds: 86_400, vetoSignatures: 1 };
const shareSet = { setId: hex(count(0x30, 16)), generation: 1, k: 2, n: 3 };
const ledgerKeys = [1, 2].map((generation) =>
  logKeyFromSeed(count(0x10 * generation, 32), `exclave/0123456789abcdef/${generation}`),
);
const verifierKeys = ledgerKeys.map((key) => verifierKeysOf(key).map(formatVerifierKey));
const salt = hex(count(0x11, 32));
const people: People = { ...peopleOf(["Ada Bell"], salt), random: hex(count(0x22, 16)) };

function ledgerOf(generation: 1 | 2): Charter["ledger"] {
  const keys = verifierKeys[generation - 1] ?? [];
  const origin = ledgerKeys[generation - 1]?.name ?? "";
  return { origin, generation, keys: [...keys], witnesses: [], quorum: 0 };
}

function agentOf(key: SigningKey, term: number): Charter["agents"][number] {
  const signing = base64(key.publicKey.bytes);
  return { signing, term, registers: [], quotaBytesPerDay: 10 ** 12, quotaObjectsPerDay: 10 ** 6 };
}

const shares = writeKeyShares(recoverySeed, shareSet.k, shareSet.n, coefficients);
const founding: StoredCharter = writeCharter({
  kind: "charter",
  format: 2,
  version: 1,
  name: "Test State",
  time: "2026-11-01T00:00:00Z",
  random: hex(count(0x01, 16)),
  term: 1,
  review: "2027-11-01T00:00:00Z",
  crypto: "exclave/v1",
  constitution: {
    preset: "pilot",
    seats: seats.map((name) => ({
      name,
      office: `The office of ${name}`,
      institution: "Government",
      jurisdiction: "BB",
      until: "2036-01-01T00:00:00Z",
      people: [
        {
          person: stranger.personOf(fromHex(salt), name),
          key: base64(seatKey(name).publicKey.bytes),
        },
      ],
    })),
    thresholds: {
      ordinary: threshold,
      constitutional: threshold,
      destructive: threshold,
      release: threshold,
    },
    freezeSignatures: 1,
  },
  recovery: {
    kem: base64(recovery.kem.publicKey),
    signing: base64(recovery.signing.publicKey.bytes),
    shares: {
      ...shareSet,
      secretCommitment: stranger.secretCommitment(recoverySeed, shareSet),
      shareCommitments: shares.map((share, i) => stranger.shareCommitment(share, shareSet, i)),
    },
    holders: [0, 1, 2].map((index) => ({
      index,
      office: `Key holder ${index + 1}`,
      jurisdiction: "BB",
      person: stranger.personOf(fromHex(salt), `holder ${index + 1}`),
    })),
  },
  agents: [agentOf(agent, 1)],
  sites: [],
  registers: [],
  ledger: ledgerOf(1),
  retentionSeconds: 0,
  releaseDelaySeconds: 86_400,
  annex: hex(sha256(encodeJson(people))),
});
const site = { name: "lu", country: "LU", operator: "An archive", hazardZone: "Rhine" };
/** When the ledger had the decision; a day later it takes effect. */
const decidedAt = new Date("2026-11-10T12:00:00Z");
const enactedAt = "2026-11-11T12:00:00Z";
const succeededAt = "2026-11-20T00:00:00Z";

const text = z.string();
const following = z.strictObject({
  id: text,
  version: z.int(),
  previous: text,
  decision: text,
  time: text,
  random: text,
});
const schema = z.strictObject({
  comment: text,
  epoch: z.strictObject({
    epochKey: text,
    state: text,
    register: text,
    epoch: z.int(),
    idKey: text,
    gearTableSha256: text,
    epochKeyId: text,
    chunkText: text,
    chunkId: text,
  }),
  cuts: z.strictObject({ recipe: text, lengths: z.array(z.int()) }),
  pack: z.strictObject({
    pack: text,
    kind: text,
    context: text,
    packKey: text,
    commitment: text,
    chunkTexts: z.array(text),
    zstdFrame: text,
    table: text,
    locator: text,
    sealedWithoutPadding: text,
    packBytes: z.int(),
    sha256: text,
  }),
  dispersal: z.strictObject({
    k: z.int(),
    n: z.int(),
    dispersalKey: text,
    coefficients: text,
    keyShares: z.array(text),
    id: text,
    shardSha256: z.array(text),
    shardsBase64: z.record(text, text),
  }),
  manifest: z.strictObject({ bytes: text, sha256: text }),
  entries: z.strictObject({ stream: text, read: z.array(z.record(text, z.unknown())) }),
  statement: z.strictObject({
    agentSeed: text,
    agentId: text,
    envelopeText: text,
    id: text,
    payloadId: text,
  }),
  wrap: z.strictObject({ recoverySeed: text, envelopeText: text, epochKey: text }),
  charter: z.strictObject({ payloadText: text, id: text }),
  decision: z.strictObject({ envelopeText: text, id: text, payloadId: text, charter: following }),
  succession: z.strictObject({ envelopeText: text, id: text, payloadId: text, charter: following }),
  ledger: z.strictObject({
    seed: text,
    keys: z.array(text),
    entries: z.array(text),
    bundle: text,
    tile: text,
    fileNames: z.array(text),
    checkpoints: z.array(
      z.strictObject({
        size: z.int(),
        root: text,
        seconds: z.int(),
        noteText: text,
        objectName: text,
      }),
    ),
    inclusion: z.strictObject({ index: z.int(), size: z.int(), hashes: z.array(text) }),
  }),
  annex: z.strictObject({
    salt: text,
    name: text,
    person: text,
    contentText: text,
    digest: text,
    envelopeText: text,
  }),
  shareSet: z.strictObject({
    secret: text,
    coefficients: text,
    setId: text,
    generation: z.int(),
    k: z.int(),
    n: z.int(),
    shares: z.array(text),
    secretCommitment: text,
    shareCommitments: z.array(text),
  }),
});
type Vectors = z.infer<typeof schema>;

/** A long text whose cuts are of all three kinds: noise that repeats would be cut alike. */
function cutData(): Buffer {
  return Buffer.concat([noise(2_000_000, 1), Buffer.alloc(700_000, "a")]);
}

/** The vectors from their fixed inputs, by the stranger's writer; what signing and zstd make is given. */
function made(given: {
  readonly zstdFrame: string;
  readonly statement: string;
  readonly wrap: string;
  readonly decision: string;
  readonly succession: string;
  readonly annex: string;
  readonly checkpoints: readonly string[];
}): Vectors {
  const chunks = chunkTexts.map((chunk) => Buffer.from(chunk));
  const sealed = writePack(epochKey, epoch, pack, "data", [
    { codec: 0, plain: chunks[0]!, chunks: [chunks[0]!] },
    { codec: 1, plain: fromHex(given.zstdFrame), chunks: chunks.slice(1) },
  ]);
  const { id, shards } = writeShards(epoch, pack, sealed.whole, 2, 3, dispersalKey, coefficients);
  const manifest = writeManifest(epoch, [{ pack, id, k: 2, n: 3, packBytes: sealed.whole.length }]);
  const encoder = new EntryEncoder();
  for (const record of records) {
    if (record instanceof Uint8Array) encoder.content(record);
    else encoder.entry(record);
  }
  const stream = Buffer.from(encoder.out.view());
  return {
    comment:
      "Test vectors for docs/format.md. Byte strings are lower-case hexadecimal unless named otherwise. " +
      "Padding, which is random in a real pack, is zeros here.",
    epoch: {
      epochKey: hex(epochKey),
      ...epoch,
      idKey: hex(stranger.idKey(epochKey, epoch)),
      gearTableSha256: hex(sha256(stranger.gearTable(epochKey, epoch))),
      epochKeyId: stranger.epochKeyId(epochKey, epoch),
      chunkText: "abc",
      chunkId: hex(stranger.chunkId(epochKey, epoch, Buffer.from("abc"))),
    },
    cuts: {
      recipe:
        "2000000 bytes of the AES-128-CTR keystream with a zero IV under the first 16 bytes of " +
        "SHA-256('noise 1'), then 700000 bytes of 'a'",
      lengths: stranger.cuts(stranger.gearTable(epochKey, epoch), cutData()),
    },
    pack: {
      pack,
      kind: "data",
      context: hex(sealed.context),
      packKey: hex(sealed.key),
      commitment: hex(stranger.commitment(sealed.key, sealed.context)),
      chunkTexts: [...chunkTexts],
      zstdFrame: given.zstdFrame,
      table: hex(sealed.table),
      locator: hex(sealed.locator),
      sealedWithoutPadding: hex(sealed.used),
      packBytes: sealed.whole.length,
      sha256: hex(sha256(sealed.whole)),
    },
    dispersal: {
      k: 2,
      n: 3,
      dispersalKey: hex(dispersalKey),
      coefficients: hex(coefficients),
      keyShares: shards.map(({ bytes }) => hex(bytes.subarray(104, 136))),
      id,
      shardSha256: shards.map(({ bytes }) => hex(sha256(bytes))),
      shardsBase64: Object.fromEntries(
        shards.slice(1).map(({ name, bytes }) => [name, base64(bytes)]),
      ),
    },
    manifest: { bytes: hex(manifest), sha256: hex(sha256(manifest)) },
    entries: { stream: hex(stream), read: stranger.readEntries(stream) },
    statement: {
      agentSeed: hex(agentSeed),
      agentId: agent.id,
      envelopeText: given.statement,
      id: hex(sha256(Buffer.from(given.statement))),
      payloadId: stranger.readEnvelope(given.statement, "statement", agent.publicKey.bytes)
        .payloadId,
    },
    wrap: {
      recoverySeed: hex(recoverySeed),
      envelopeText: given.wrap,
      epochKey: hex(epochKey),
    },
    charter: { payloadText: Buffer.from(founding.payload).toString(), id: founding.id },
    ...governing(given.decision, given.succession),
    ledger: ledger(given.statement, given.decision, given.checkpoints),
    annex: {
      salt,
      name: "Ada Bell",
      person: stranger.personOf(fromHex(salt), "Ada Bell"),
      contentText: JSON.stringify(people),
      digest: hex(sha256(encodeJson(people))),
      envelopeText: given.annex,
    },
    shareSet: {
      secret: hex(recoverySeed),
      coefficients: hex(coefficients),
      ...founding.charter.recovery.shares,
      shares: shares.map(hex),
    },
  };
}

/** The charter after the founding one by the decision, and the one after that by the succession. */
function followers(decision: string, succession: string): readonly [string, string] {
  const payload = Buffer.from(founding.payload).toString();
  const admitted = stranger.nextCharter(payload, { sites: [site] }, decision, enactedAt);
  const { agents } = founding.charter;
  const changes = { term: 2, agents: [...agents, agentOf(successor, 2)], ledger: ledgerOf(2) };
  return [admitted, stranger.nextCharter(admitted, changes, succession, succeededAt)];
}

function governing(decision: string, succession: string): Pick<Vectors, "decision" | "succession"> {
  const payloadIds = [
    stranger.readEnvelope(decision, "decision", seatKey("pm").publicKey.bytes).payloadId,
    stranger.readEnvelope(succession, "succession", recovery.signing.publicKey.bytes).payloadId,
  ] as const;
  const [admitted, succeeded] = followers(...payloadIds);
  const shown = (payload: string): z.infer<typeof following> => {
    const fields = following.omit({ id: true }).loose().parse(JSON.parse(payload));
    const { version, previous, decision: by, time, random } = fields;
    return { id: stranger.charterId(payload), version, previous, decision: by, time, random };
  };
  return {
    decision: {
      envelopeText: decision,
      id: hex(sha256(Buffer.from(decision))),
      payloadId: payloadIds[0],
      charter: shown(admitted),
    },
    succession: {
      envelopeText: succession,
      id: hex(sha256(Buffer.from(succession))),
      payloadId: payloadIds[1],
      charter: shown(succeeded),
    },
  };
}

/** The founding charter, the decision, the charter that follows from it, and a statement. */
function entriesOf(statement: string, decision: string): readonly string[] {
  const opened = stranger.readEnvelope(decision, "decision", seatKey("pm").publicKey.bytes);
  const [admitted] = followers(opened.payloadId, "");
  const idOf = (envelope: string): string => hex(sha256(Buffer.from(envelope)));
  return [
    `exclave/v1 charter ${founding.id}\n`,
    `exclave/v1 decision ${idOf(decision)}\n`,
    `exclave/v1 charter ${stranger.charterId(admitted)}\n`,
    `exclave/v1 statement ${idOf(statement)}\n`,
  ];
}

/** Sizes that were signed: the second entry is the decision's. */
const SIGNED_SIZES = [2, 4] as const;
const signedAt = (size: number): number =>
  Math.floor((size === 2 ? decidedAt : new Date(enactedAt)).getTime() / 1000);

function ledger(statement: string, decision: string, notes: readonly string[]): Vectors["ledger"] {
  const entries = entriesOf(statement, decision);
  const leaves = entries.map(stranger.ledgerLeaf);
  const [first, , third, fourth] = leaves;
  assert.ok(first && third && fourth);
  const { origin } = ledgerOf(1);
  const digits = hex(sha256(Buffer.from(origin))).slice(0, 8);
  return {
    seed: hex(count(0x10, 32)),
    keys: ledgerOf(1).keys,
    entries: [...entries],
    bundle: hex(writeBundle(entries)),
    tile: hex(Buffer.concat(leaves)),
    fileNames: ["tile.0.000.p.4", "tile.entries.000.p.4"].map((path) => `ledger/${digits}.${path}`),
    checkpoints: notes.map((noteText, i) => {
      const size = SIGNED_SIZES[i] ?? 0;
      const note = hex(sha256(Buffer.from(noteText))).slice(0, 16);
      return {
        size,
        root: hex(stranger.merkleRoot(leaves.slice(0, size))),
        seconds: signedAt(size),
        noteText,
        objectName: `checkpoint/${digits}.${size}.${note}`,
      };
    }),
    inclusion: {
      index: 1,
      size: 4,
      hashes: [first, stranger.merkleRoot([third, fourth])].map(hex),
    },
  };
}

/** A signature and an encapsulation have randomness that cannot be given; they are made once, and kept. */
function fresh(): Parameters<typeof made>[0] {
  const time = "2026-11-21T00:00:00.000Z";
  const statement = signDocument(
    {
      kind: "statement",
      format: 1,
      ...epoch,
      epochKeyId: epochKeyIdOf(epochKey, context),
      term: 1,
      sequence: 1,
      agent: agent.id,
      time,
      random: hex(count(0x60, 16)),
      root: { pack, chunk: hex(keys.chunkId(Buffer.from("abc"))) },
      manifests: [hex(count(0x70, 32))],
    },
    [agent],
  );
  const wrap = wrapEpochKey(
    epochKey,
    context,
    { recipient: "recovery", publicKey: recovery.kem.publicKey },
    { agent, term: 1, time: new Date(time) },
  );
  const frame = zstdCompressSync(Buffer.from(chunkTexts.slice(1).join("")));
  const utf8 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("utf8");
  const decision = signedDecision();
  const { origin } = ledgerOf(1);
  const leaves = entriesOf(utf8(statement.bytes), decision).map(stranger.ledgerLeaf);
  const checkpoints = SIGNED_SIZES.map((size) => {
    const head = { origin, size, root: stranger.merkleRoot(leaves.slice(0, size)) };
    assert.ok(ledgerKeys[0]);
    return utf8(signCheckpoint(ledgerKeys[0], head, signedAt(size)));
  });
  const annex = sealAnnex(
    people,
    { state: founding.id, recovery: founding.charter.recovery },
    { agent, time: new Date(time) },
  );
  return {
    zstdFrame: hex(frame),
    statement: utf8(statement.bytes),
    wrap: utf8(wrap.bytes),
    decision,
    succession: signedSuccession(decision, hex(stranger.merkleRoot(leaves))),
    annex: utf8(annex.bytes),
    checkpoints,
  };
}

function signedDecision(): string {
  const paper = {
    kind: "decision",
    format: 1,
    state: founding.id,
    order: { kind: "admit-site", site },
    reason: "A first site abroad",
    citation: "Archives Act, section 3",
    charter: founding.id,
    notBefore: "2026-11-09T00:00:00Z",
    notAfter: "2026-12-09T00:00:00Z",
    random: hex(count(0x03, 16)),
  } as const;
  const [one, other] = seats.map(seatKey);
  assert.ok(one && other);
  const opened = openDecision(signPaper(paper, one), founding.id, founding.charter);
  return Buffer.from(addSignature(opened, other)).toString();
}

function signedSuccession(decision: string, root: string): string {
  const read = stranger.readEnvelope(decision, "decision", seatKey("pm").publicKey.bytes);
  const [admitted] = followers(read.payloadId, "");
  const envelope = signPaper(
    {
      kind: "succession",
      format: 1,
      state: founding.id,
      charter: stranger.charterId(admitted),
      closes: { origin: ledgerOf(1).origin, size: 4, root },
      ledger: ledgerOf(2),
      agent: agentOf(successor, 2),
      time: succeededAt,
      random: hex(count(0x04, 16)),
    },
    recovery.signing,
  );
  return Buffer.from(envelope).toString();
}

if (process.env.WRITE_VECTORS) {
  writeFileSync(path, `${JSON.stringify(made(fresh()), undefined, 2)}\n`);
}

const vectors = schema.parse(JSON.parse(readFileSync(path, "utf8")));
const shardOf = (index: number): Buffer =>
  fromBase64(vectors.dispersal.shardsBase64[`shard/${vectors.dispersal.id}.0${index}`] ?? "");
const wholePack = Buffer.concat(
  [fromHex(vectors.pack.sealedWithoutPadding)],
  vectors.pack.packBytes,
);

test("the vectors are what the stranger's writer makes of their fixed inputs", () => {
  const { pack, statement, wrap, decision, succession, annex, ledger: log } = vectors;
  const again = made({
    zstdFrame: pack.zstdFrame,
    statement: statement.envelopeText,
    wrap: wrap.envelopeText,
    decision: decision.envelopeText,
    succession: succession.envelopeText,
    annex: annex.envelopeText,
    checkpoints: log.checkpoints.map(({ noteText }) => noteText),
  });
  assert.deepEqual(JSON.parse(JSON.stringify(again)), vectors);
});

test("the stranger's code has nothing of the project in it", () => {
  const imports = (file: string): (string | undefined)[] =>
    [
      ...readFileSync(new URL(`support/${file}`, import.meta.url), "utf8").matchAll(
        /(?:from|import\(|require\()\s*"([^"]*)"/g,
      ),
    ].map(([, name]) => name);
  assert.deepEqual(imports("stranger.ts"), ["node:crypto", "node:zlib"]);
  assert.deepEqual(imports("stranger-writer.ts"), ["node:crypto", "./stranger.ts"]);
});

test("a stranger with two shards and the epoch key reads every chunk", () => {
  const shards = Object.entries(vectors.dispersal.shardsBase64).map(([name, shard]) =>
    stranger.readShard(name, fromBase64(shard)),
  );
  assert.deepEqual(
    shards.map(({ index }) => index),
    [1, 2],
    "one data piece and one of parity",
  );
  const sealed = stranger.gather(shards);
  assert.equal(hex(sha256(sealed)), vectors.pack.sha256);
  const { kind, chunks } = stranger.openPack(sealed, epochKey, epoch, pack);
  assert.equal(kind, "data");
  assert.deepEqual(
    chunks.map(({ bytes }) => bytes.toString()),
    vectors.pack.chunkTexts,
  );
  assert.equal(chunks[0]?.id, vectors.epoch.chunkId);
});

test("vector: what follows from an epoch key", () => {
  assert.equal(hex(keys.chunkId(Buffer.from(vectors.epoch.chunkText))), vectors.epoch.chunkId);
  assert.equal(hex(sha256(keys.gearTable)), vectors.epoch.gearTableSha256);
  assert.equal(hex(keys.packKey(fromHex(vectors.pack.context))), vectors.pack.packKey);
  assert.equal(epochKeyIdOf(epochKey, context), vectors.epoch.epochKeyId);
});

test("vector: where content is cut", () => {
  const data = cutData();
  const kernel = loadKernel(data.length + 4096);
  const offset = kernel.alloc(data.length);
  kernel.view(offset, data.length).set(data);
  const chunker = new Chunker(kernel, keys.gearTable);
  const lengths: number[] = [];
  for (let at = 0; at < data.length; at += lengths.at(-1)!) {
    lengths.push(chunker.nextCut(offset + at, data.length - at, true));
  }
  assert.deepEqual(lengths, vectors.cuts.lengths);
  assert.ok(lengths.includes(524_288) && lengths.some((l) => l < 196_608 && l > 65_536));
});

test("vector: a sealed pack", () => {
  const reader = new PackReader(keys, packId, wholePack.length, (offset, length) =>
    wholePack.subarray(offset, offset + length),
  );
  assert.equal(hex(reader.table()), vectors.pack.table);
  assert.equal(hex(encodeTable(reader.frames())), vectors.pack.table);
  assert.equal(decodeTable(fromHex(vectors.pack.table), wholePack.length).length, 2);
  const found = reader.frames().flatMap((frame, position) => {
    const raw = reader.readFrame(position, frame);
    return frame.chunks.map(({ offset, bytes }) =>
      Buffer.from(raw.subarray(offset, offset + bytes)).toString(),
    );
  });
  assert.deepEqual(found, vectors.pack.chunkTexts);
});

test("vector: a dispersal, and its shards", () => {
  const { k, n, id, keyShares, shardSha256 } = vectors.dispersal;
  // The steps of `disperse`, whose key is random, with the key of the vector.
  const kernel = loadKernel(n * BLOCK_BYTES + 4096);
  const pieces = Array.from({ length: n }, () => kernel.alloc(BLOCK_BYTES));
  const ciphertext = aes256ctr(dispersalKey, counterBlock(0), wholePack);
  for (let i = 0; i < k; i++) {
    kernel
      .view(pieces[i]!, BLOCK_BYTES)
      .set(ciphertext.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES));
  }
  encode(kernel, { k, n, pieceBytes: BLOCK_BYTES, pieces });
  const shares = split(dispersalKey, k, n, () => coefficients);
  assert.deepEqual(shares.map(hex), keyShares);
  const views = pieces.map((offset) => kernel.view(offset, BLOCK_BYTES));
  const encoded = encodeFronts(
    { ...context, pack: packId, k, n, packBytes: wholePack.length },
    shares,
    views.map(blockLeaves),
  );
  assert.equal(encoded.id, id);
  assert.deepEqual(
    encoded.fronts.map((front, i) => hex(sha256(front, views[i]!))),
    shardSha256,
  );

  const arena = new Arena();
  const ref = { pack: packId, id: encoded.id, k, n, packBytes: wholePack.length };
  const { pack: gathered, problems } = arena.gather(ref, (i) => (i === 0 ? undefined : shardOf(i)));
  assert.ok(wholePack.equals(gathered.range(0, wholePack.length)));
  assert.equal(problems.length, 1);
  assert.equal(hex(parseFront(shardOf(2), encoded.id, 2).keyShare), keyShares[2]);
});

test("vector: a manifest", () => {
  const bytes = fromHex(vectors.manifest.bytes);
  const manifest = decodeManifest(bytes);
  assert.deepEqual(manifest.context, context);
  assert.equal(manifest.refs[0]?.id, vectors.dispersal.id);
  assert.equal(hex(encodeManifest(manifest.context, manifest.refs)), vectors.manifest.bytes);
  const { rows, ...of } = stranger.readManifest(bytes);
  assert.deepEqual(of, epoch);
  assert.deepEqual(rows, manifest.refs);
});

test("vector: an entry stream", () => {
  const stream = fromHex(vectors.entries.stream);
  const found = [...new EntryDecoder().push(stream)].map((record) =>
    record.type === "entry" ? record.entry : Uint8Array.from(record.items),
  );
  assert.deepEqual(found, records);
  const latin1 = (value: string): string => hex(Buffer.from(value, "latin1"));
  const expected = records.flatMap((record) => {
    if (record instanceof Uint8Array) return [];
    const { path, userName, groupName, linkTarget, ino, xattrs, ...rest } = record;
    return {
      ...rest,
      path: latin1(path),
      userName: latin1(userName),
      groupName: latin1(groupName),
      linkTarget: latin1(linkTarget),
      ino: String(ino),
      xattrs: xattrs.map(({ name, value }) => [latin1(name), hex(value)]),
      content:
        record.kind === "file" ? [{ bytes: 3, id: vectors.epoch.chunkId }, { bytes: 4096 }] : [],
    };
  });
  assert.deepEqual(vectors.entries.read, JSON.parse(JSON.stringify(expected)));
});

test("vector: a statement verifies", () => {
  const { envelopeText, id, payloadId, agentId } = vectors.statement;
  const trusted = new Map([[agent.id, agent.publicKey]]);
  const opened = openDocument("statement", Buffer.from(envelopeText), trusted);
  assert.equal(opened.id, id);
  assert.equal(opened.payloadId, payloadId);
  assert.equal(opened.document.agent, agentId);
  assert.equal(opened.document.epochKeyId, vectors.epoch.epochKeyId);
  const read = stranger.readEnvelope(envelopeText, "statement", agent.publicKey.bytes);
  assert.deepEqual(read, { payloadId, document: opened.document });
  // In another envelope it is another object, that says the same.
  const respelled = JSON.stringify(JSON.parse(envelopeText), undefined, 1);
  const same = openDocument("statement", Buffer.from(respelled), trusted);
  assert.notEqual(same.id, id);
  assert.equal(same.payloadId, payloadId);
  assert.deepEqual(stranger.readEnvelope(respelled, "statement", agent.publicKey.bytes), read);
  const forged = envelopeText.replace(/"payload":"e/, '"payload":"f');
  assert.notEqual(forged, envelopeText);
  assert.throws(() => stranger.readEnvelope(forged, "statement", agent.publicKey.bytes));
});

test("the keys of a reader seed are those that section 4 says", () => {
  const seeds = stranger.readerSeeds(recoverySeed);
  const { kem, signing } = readerKeyFromSeed(recoverySeed);
  assert.deepEqual(kem.publicKey, kemKeyPairFromSeed(seeds.kem).publicKey);
  assert.equal(signing.id, signingKeyFromSeed(seeds.signing).id);
  assert.notEqual(signing.id, recovery.signing.id);
});

test("vector: a wrap opens", () => {
  const { envelopeText } = vectors.wrap;
  const trusted = new Map([[agent.id, agent.publicKey]]);
  const { document } = openDocument("wrap", Buffer.from(envelopeText), trusted);
  assert.equal(hex(unwrapEpochKey(document, recovery.kem)), vectors.wrap.epochKey);
  // docs/format.md, section 4: the KEM seed of a recovery seed.
  const kemSeed = stranger.recoveryKemSeed(recoverySeed);
  assert.deepEqual(kemKeyPairFromSeed(kemSeed).publicKey, recovery.kem.publicKey);
  const read = stranger.readEnvelope(envelopeText, "wrap", agent.publicKey.bytes);
  const wrap = read.document as Parameters<typeof stranger.openWrap>[0];
  assert.equal(hex(stranger.openWrap(wrap, kemSeed)), vectors.wrap.epochKey);
  assert.equal(wrap.epochKeyId, vectors.epoch.epochKeyId);
  const other = { epochKeyId: "99".repeat(32) };
  assert.throws(() => stranger.openWrap({ ...wrap, ...other }, kemSeed));
  assert.throws(() => unwrapEpochKey({ ...document, ...other }, recovery.kem));
});

test("a stranger reads what the real code seals and disperses, from any k shards", () => {
  const arena = new Arena();
  const chunks = [noise(70_000, 1), Buffer.alloc(90_000, "deed; "), noise(5, 2)];
  const sealed = sealPacks(chunks)[0]!;
  for (const [k, n] of [
    [1, 2],
    [2, 3],
    [3, 5],
    [5, 8],
  ] as const) {
    const { ref, shards } = arena.disperse(sealed.bytes, k, n, sealed.pack);
    const read = shards
      .map((shard, i) => stranger.readShard(`shard/${ref.id}.0${i}`, Buffer.from(shard)))
      .slice(n - k)
      .toReversed();
    const bytes = stranger.gather(read);
    assert.ok(bytes.equals(sealed.bytes));
    const opened = stranger.openPack(bytes, testKey, testContext, sealed.pack);
    assert.equal(hex(opened.table), hex(sealed.table));
    assert.deepEqual(
      opened.chunks.map((chunk) => hex(chunk.bytes)),
      chunks.map(hex),
    );
    assert.equal(opened.chunks[0]?.id, hex(testKeys.chunkId(chunks[0]!)));
  }
});

test("vector: a State from its founding charter to its succession, as the real code replays it", () => {
  const { charter, decision, succession, ledger: log } = vectors;
  const payload = Buffer.from(charter.payloadText);
  const [admitted, succeeded] = followers(decision.payloadId, succession.payloadId);
  const at = decidedAt;
  const [enacted, later] = [enactedAt, succeededAt].map((time) => new Date(time));
  assert.ok(enacted && later);
  const one = { generation: 1 } as const;
  const two = { generation: 2 } as const;
  const entries: HistoryEntry[] = [
    { ...one, position: 0, at, kind: "charter", bytes: payload },
    { ...one, position: 1, at, kind: "decision", bytes: Buffer.from(decision.envelopeText) },
    { ...one, position: 2, at: enacted, kind: "charter", bytes: Buffer.from(admitted) },
    {
      ...two,
      position: 0,
      at: later,
      kind: "succession",
      bytes: Buffer.from(succession.envelopeText),
    },
    { ...two, position: 1, at: later, kind: "charter", bytes: Buffer.from(succeeded) },
  ];
  const { history, quarantined, successions } = replay(founding, charter.id, entries, {
    hadCheckpoint: () => false,
    now: later,
  });
  assert.deepEqual(quarantined, []);
  assert.deepEqual(
    history.map(({ id }) => id),
    [charter.id, decision.charter.id, succession.charter.id],
  );
  assert.deepEqual(history[1]?.charter.sites, [site]);
  assert.equal(history[2]?.charter.term, 2);
  assert.equal(history[2]?.charter.ledger.origin, ledgerOf(2).origin);
  assert.deepEqual(successions[0]?.paper.closes, {
    origin: ledgerOf(1).origin,
    size: 4,
    root: log.checkpoints[1]?.root,
  });
});

test("a stranger finds the State's id, who signed, and every charter that follows", () => {
  const { charter, decision, succession } = vectors;
  assert.equal(stranger.charterId(charter.payloadText), charter.id);
  for (const name of seats) {
    const key = seatKey(name).publicKey.bytes;
    const read = stranger.readEnvelope(decision.envelopeText, "decision", key);
    assert.equal(read.payloadId, decision.payloadId);
    assert.equal(read.document.charter, charter.id);
  }
  const recoverySigning = recovery.signing.publicKey.bytes;
  assert.throws(() => stranger.readEnvelope(decision.envelopeText, "decision", recoverySigning));
  const read = stranger.readEnvelope(succession.envelopeText, "succession", recoverySigning);
  assert.equal(read.payloadId, succession.payloadId);
  assert.equal(read.document.charter, decision.charter.id);
  const trusted = recoveryKey(founding.charter);
  const opened = openPaper("succession", Buffer.from(succession.envelopeText), charter.id, trusted);
  assert.deepEqual(read, { payloadId: opened.id, document: opened.paper });
});

test("vector: a ledger, from its entries to its checkpoints, for the real code and a stranger", () => {
  const {
    entries,
    bundle,
    tile,
    fileNames,
    checkpoints,
    inclusion,
    keys: signers,
  } = vectors.ledger;
  const [ed25519 = "", mlDsa44 = ""] = signers;
  const { origin } = ledgerOf(1);
  assert.deepEqual(stranger.bundleEntries(fromHex(bundle)), entries);
  const decoded = decodeEntryBundle(fromHex(bundle), 4).map((entry) => decodeLedgerEntry(entry));
  assert.deepEqual(
    decoded.map((entry) => Buffer.from(encodeLedgerEntry(entry)).toString()),
    entries,
  );
  const paths = ["tile/0/000.p/4", "tile/entries/000.p/4"];
  assert.deepEqual(
    fileNames,
    paths.map((path) => fileName(origin, path)),
  );
  const leaves = entries.map(stranger.ledgerLeaf);
  assert.equal(hex(Buffer.concat(leaves)), tile);
  const logKey = ledgerKeys[0];
  assert.ok(logKey);
  for (const { size, root, seconds, noteText, objectName } of checkpoints) {
    const head = { origin, size, root: fromHex(root) };
    const read = stranger.openCheckpoint(noteText, [ed25519, mlDsa44]);
    assert.deepEqual(read, { origin, size, root, seconds });
    assert.equal(hex(stranger.merkleRoot(leaves.slice(0, size))), root);
    const real = verifyCheckpoint(Buffer.from(noteText), verifierKeysOf(logKey));
    assert.equal(real.seconds, seconds);
    assert.equal(hex(real.head.root), root);
    assert.equal(checkpointName(head, Buffer.from(noteText)), objectName);
    const forged = noteText.replace(`\n${size}\n`, `\n${size + 1}\n`);
    assert.throws(() => stranger.openCheckpoint(forged, [ed25519, mlDsa44]));
    assert.throws(() => stranger.openCheckpoint(noteText, [mlDsa44, ed25519]));
  }
  const { index, size, hashes } = inclusion;
  const leaf = leaves[index];
  assert.ok(leaf);
  const path = hashes.map(fromHex);
  const last = checkpoints.at(-1)?.root ?? "";
  assert.equal(hex(stranger.inclusionRoot(leaf, index, size, path)), last);
  assert.ok(verifyInclusion(leaf, index, size, path, fromHex(last)));
  const moved = stranger.inclusionRoot(leaf, index + 1, size, path);
  assert.notEqual(hex(moved), last, "at another place it leads elsewhere");
});

test("vector: an annex opens with the recovery seed, and names a person", () => {
  const { annex, charter } = vectors;
  const trusted = new Map([[agent.id, agent.publicKey]]);
  const { document } = openDocument("annex", Buffer.from(annex.envelopeText), trusted);
  assert.deepEqual(readPeople(openAnnex(document, recovery.kem)), people);
  assert.equal(annex.digest, founding.charter.annex);
  assert.equal(annex.person, personOf(salt, annex.name));
  const read = stranger.readEnvelope(annex.envelopeText, "annex", agent.publicKey.bytes);
  const wrapped = read.document as Parameters<typeof stranger.openAnnex>[0];
  assert.equal(wrapped.state, charter.id);
  const seed = stranger.recoveryKemSeed(recoverySeed);
  assert.equal(stranger.openAnnex(wrapped, seed), annex.contentText);
  const passedOff = { ...wrapped, state: "99".repeat(32) };
  assert.throws(() => stranger.openAnnex(passedOff, seed));
  assert.throws(() => openAnnex({ ...document, state: "99".repeat(32) }, recovery.kem));
  // Nor one that opens, and to something else than it says.
  const digest = "66".repeat(32);
  const context = Buffer.concat([
    Buffer.from("exclave/v1 annex\0"),
    fromHex(document.state),
    fromHex(digest),
  ]);
  const wrap = wrapTo(recovery.kem.publicKey, encodeJson(people), context);
  const lying = {
    ...document,
    digest,
    encapsulation: base64(wrap.encapsulation),
    sealed: base64(wrap.sealed),
  };
  assert.throws(() => openAnnex(lying, recovery.kem), /something else/);
  assert.throws(() => stranger.openAnnex(lying, seed), /something else/);
});

test("vector: a share set; two shares give the recovery seed, and fit what the charter says", () => {
  const { shares: held, secret, coefficients: drawn, ...publicPart } = vectors.shareSet;
  assert.deepEqual(publicPart, founding.charter.recovery.shares);
  const given = [fromHex(publicPart.setId), fromHex(drawn)];
  const made = splitSecret(fromHex(secret), shareSet, () => Uint8Array.from(given.shift() ?? []));
  assert.deepEqual(made.publicPart, publicPart);
  assert.deepEqual(
    made.shares.map(({ share }) => hex(share)),
    held,
  );
  const state = founding.id;
  const two = ofState(made.shares.slice(1), state);
  assert.equal(hex(combineShares(two, publicPart, state).secret), secret);
  const points = held.map((share, i) => [i, fromHex(share)] as const);
  assert.equal(hex(stranger.interpolate(points.slice(1))), secret);
  assert.equal(stranger.secretCommitment(fromHex(secret), shareSet), publicPart.secretCommitment);
  for (const [i, share] of points) {
    assert.equal(stranger.shareCommitment(share, shareSet, i), publicPart.shareCommitments[i]);
    const other = stranger.shareCommitment(altered(share, 5, 1), shareSet, i);
    assert.notEqual(other, publicPart.shareCommitments[i]);
  }
});
