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
import { aes256ctr } from "../src/crypto/aead.ts";
import { sha256 } from "../src/crypto/hash.ts";
import { kemKeyPairFromSeed } from "../src/crypto/kem.ts";
import { signingKeyFromSeed } from "../src/crypto/signing.ts";
import { loadKernel } from "../src/erasure/kernel.ts";
import { encode } from "../src/erasure/reed-solomon.ts";
import { split } from "../src/erasure/shamir.ts";
import { Chunker } from "../src/vault/chunker.ts";
import { counterBlock } from "../src/vault/dispersal.ts";
import {
  agentKeys,
  epochKeyIdOf,
  openDocument,
  openStatement,
  signCharter,
  signDocument,
  unwrapEpochKey,
  verifyCharters,
  wrapEpochKey,
} from "../src/vault/documents.ts";
import { ContentWriter, type Entry, EntryDecoder, EntryEncoder } from "../src/vault/entries.ts";
import { deriveEpochKeys } from "../src/vault/epoch-keys.ts";
import { parseId } from "../src/vault/identifiers.ts";
import { decodeManifest, encodeManifest } from "../src/vault/manifest.ts";
import { decodeTable, encodeTable } from "../src/vault/pack.ts";
import { PackReader } from "../src/vault/pack-reader.ts";
import { recoveryKeyFromSeed } from "../src/vault/recovery-key.ts";
import { BLOCK_BYTES, blockLeaves, encodeFronts, parseFront } from "../src/vault/shard.ts";
import * as stranger from "./support/stranger.ts";
import { writeManifest, writePack, writeShards } from "./support/stranger-writer.ts";
import {
  Arena,
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

const text = z.string();
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
  return { zstdFrame: hex(frame), statement: utf8(statement.bytes), wrap: utf8(wrap.bytes) };
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
  const { pack, statement, wrap } = vectors;
  const again = made({
    zstdFrame: pack.zstdFrame,
    statement: statement.envelopeText,
    wrap: wrap.envelopeText,
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

test("a stranger reads the real code's charter", () => {
  const charter = signCharter(
    {
      kind: "charter",
      format: 1,
      version: 1,
      name: "Test State",
      time: "2026-01-01T00:00:00.000Z",
      random: "00".repeat(16),
      term: 1,
      recovery: {
        kem: base64(recovery.kem.publicKey),
        signing: base64(recovery.signing.publicKey.bytes),
      },
      agents: [{ signing: base64(agent.publicKey.bytes), term: 1 }],
    },
    recovery.signing,
  );
  const chain = verifyCharters([charter.bytes], recovery.signing.publicKey);
  const envelope = Buffer.from(charter.bytes).toString();
  const read = stranger.readEnvelope(envelope, "charter", recovery.signing.publicKey.bytes);
  assert.deepEqual(read, { payloadId: chain.currentId, document: chain.current });
  assert.equal(read.payloadId, chain.state);
  assert.equal(agentKeys(chain).get(agent.id)?.id, agent.id);
  assert.throws(() => openStatement(Buffer.from(vectors.statement.envelopeText), chain));
});
