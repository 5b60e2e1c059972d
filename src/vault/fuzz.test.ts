/** Random and altered bytes at every reader: each refuses them with an `ExclaveError`, or makes sense of them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { knownStateWith } from "../../test/support/known-state.ts";
import {
  Arena,
  context,
  epochKey,
  keys,
  noise,
  packId,
  sealPacks,
  tries,
} from "../../test/support/vault.ts";
import { fromHex, toBase64 } from "../crypto/bytes.ts";
import { signEnvelope } from "../crypto/dsse.ts";
import { signingKeyFromSeed } from "../crypto/signing.ts";
import { isExclaveError } from "../errors.ts";
import { parseObjectName } from "../sites/site.ts";
import { encodeSegmentRecord, SegmentDecoder, tableChunkIds } from "./chunk-reader.ts";
import {
  type DocumentKind,
  decodeRoot,
  encodeRoot,
  epochKeyIdOf,
  openDocument,
  openStatement,
  openWrap,
  type Statement,
  signDocument,
  unwrapEpochKey,
  wrapEpochKey,
} from "./documents.ts";
import {
  ContentWriter,
  contentBytes,
  contentItems,
  type Entry,
  EntryDecoder,
  EntryEncoder,
} from "./entries.ts";
import { idFromBytes, parseId } from "./identifiers.ts";
import { decodeManifest, encodeManifest } from "./manifest.ts";
import { decodeLocator, decodeTable, encodeLocator, packContext, readPackContext } from "./pack.ts";
import { PackReader } from "./pack-reader.ts";
import { recoveryKeyFromSeed } from "./recovery-key.ts";
import {
  FRONT_START_BYTES,
  frontBytes,
  frontBytesOf,
  parseFront,
  parseShardName,
  shardName,
} from "./shard.ts";
import { ByteReader } from "./varint.ts";
import { verifyShard } from "./verify-shard.ts";

/** A mistake of ours is no answer to bytes from outside; nor is memory beyond all measure. */
function survives(read: () => unknown): "read" | "refused" {
  try {
    read();
    return "read";
  } catch (error) {
    if (!isExclaveError(error) || error.code === "bug") throw error;
    return "refused";
  }
}

function drain(items: Iterable<unknown>): void {
  let count = 0;
  for (const _ of items) count++;
  assert.ok(count < 1_000_000);
}

const arena = new Arena();
const sealed = sealPacks([noise(3000, 1), new Uint8Array(9000), noise(10, 2)])[0]!;
const { ref, shards } = arena.disperse(sealed.bytes, 2, 3, sealed.pack);
const recovery = recoveryKeyFromSeed(noise(32, 3));
const agent = signingKeyFromSeed(noise(32, 4));
const known = knownStateWith(recovery, [{ key: agent, term: 1 }]);
const trusted = new Map([
  [agent.id, agent.publicKey],
  [recovery.signing.id, recovery.signing.publicKey],
]);
const epoch = { ...context, state: known.id };
const statement: Statement = {
  kind: "statement",
  format: 1,
  ...epoch,
  epochKeyId: epochKeyIdOf(epochKey, epoch),
  term: 1,
  sequence: 1,
  agent: agent.id,
  time: "2026-01-05T12:00:00.000Z",
  random: "11".repeat(16),
  root: { pack: "33".repeat(16), chunk: "44".repeat(32) },
  manifests: ["55".repeat(32)],
};
const wrap = wrapEpochKey(
  epochKey,
  epoch,
  { recipient: "recovery", publicKey: recovery.kem.publicKey },
  { agent, term: 1, time: new Date(0) },
);
const annex = signDocument(
  {
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
  },
  [agent],
);
const site = signDocument(
  {
    kind: "site",
    format: 1,
    state: known.id,
    stateName: "Test State",
    time: "2026-01-05T12:00:00Z",
    random: "11".repeat(16),
    name: "bb",
    country: "BB",
    operator: "op",
    hazardZone: "zone",
  },
  [agent],
);
const root = encodeRoot({
  kind: "snapshot",
  format: 1,
  state: statement.state,
  register: statement.register,
  epoch: statement.epoch,
  term: 1,
  sequence: 1,
  time: statement.time,
  name: "civil-status",
  complete: true,
  k: 2,
  survive: 1,
  sites: [{ name: "bb", country: "BB", operator: "op", hazardZone: "zone" }],
  parts: [
    {
      name: "files",
      kind: "files",
      source: "/srv",
      excludes: [],
      oneFileSystem: false,
      entries: { depth: 1, bytes: 100, chunks: [{ id: "66".repeat(32), bytes: 100 }] },
      files: 2,
      bytes: 4000,
    },
  ],
  index: [{ packs: ["77".repeat(16)], segment: { depth: 0, bytes: 0, chunks: [] } }],
});

const writer = new ContentWriter();
writer.chunk(noise(32, 5), 1000);
writer.hole(5000);
const [content] = writer.take();
const entry: Entry = {
  path: "",
  kind: "directory",
  mode: 0o755,
  uid: 0,
  gid: 0,
  userName: "root",
  groupName: "root",
  mtimeSec: -1,
  mtimeNsec: 0,
  ctimeSec: 0,
  ctimeNsec: 0,
  ino: 5n,
  dev: 1,
  size: 0,
  linkTarget: "",
  rdevMajor: 0,
  rdevMinor: 0,
  xattrs: [{ name: "user.a", value: noise(5, 6) }],
};
const encoder = new EntryEncoder();
encoder.entry(entry);
encoder.entry({ ...entry, path: "a", kind: "file" });
encoder.content(content!);
encoder.entry({ ...entry, path: "b", kind: "hardlink", linkTarget: "a" });
const entries = Uint8Array.from(encoder.out.view());

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");
const ascii = (string: string): Uint8Array => Uint8Array.from(Buffer.from(string, "latin1"));

/** A document, signed though it says whatever the payload says: what a hostile agent may write. */
function openSigned(kind: DocumentKind, payload: Uint8Array): unknown {
  const type = `application/vnd.exclave.${kind}.v1+json`;
  return openDocument(kind, signEnvelope(type, payload, [agent]), trusted).document;
}

function payloadOf(envelope: Uint8Array): Uint8Array {
  const { payload } = JSON.parse(Buffer.from(envelope).toString()) as { payload: string };
  return Uint8Array.from(Buffer.from(payload, "base64"));
}

type Reader = {
  readonly name: string;
  readonly good: Uint8Array;
  readonly read: (bytes: Uint8Array) => unknown;
  /** Tries compared with the others: signing is slow. */
  readonly share?: number;
};

const envelopes = { statement: signDocument(statement, [agent]), wrap, annex, site };
const kinds = Object.keys(envelopes) as DocumentKind[];

const readers: readonly Reader[] = [
  {
    name: "parseFront",
    good: shards[0]!.subarray(0, frontBytes(ref)),
    read: (bytes) => parseFront(bytes, ref.id, 0),
  },
  { name: "frontBytesOf", good: shards[0]!.subarray(0, FRONT_START_BYTES), read: frontBytesOf },
  {
    name: "verifyShard",
    good: shards[1]!,
    share: 0.3,
    read: (bytes) =>
      verifyShard(
        arena.kernel,
        arena.memory,
        arena.fetch(() => bytes),
        ref.id,
        1,
      ),
  },
  {
    name: "a gathered and opened pack",
    good: shards[0]!,
    share: 0.3,
    read: (bytes) => {
      const { pack } = arena.gather(ref, (i) => [bytes, shards[1], undefined][i]);
      const range = (offset: number, length: number) => pack.range(offset, length);
      return new PackReader(keys, ref.pack, ref.packBytes, range).frames();
    },
  },
  {
    name: "PackReader",
    good: sealed.bytes.subarray(0, sealed.storedBytes),
    read: (bytes) => {
      const range = (at: number, length: number) => bytes.subarray(at, at + length);
      const reader = new PackReader(keys, sealed.pack, bytes.length, range);
      for (const [i, frame] of reader.frames().entries()) reader.readFrame(i, frame);
    },
  },
  { name: "readPackContext", good: packContext(context, packId, "data"), read: readPackContext },
  {
    name: "decodeLocator",
    good: encodeLocator({ offset: 136, sealedBytes: 100 }),
    read: (bytes) => decodeLocator(bytes, 32_768),
  },
  {
    name: "decodeTable",
    good: sealed.table,
    read: (bytes) => decodeTable(bytes, sealed.bytes.length),
  },
  { name: "tableChunkIds", good: sealed.table, read: (bytes) => drain(tableChunkIds(bytes)) },
  {
    name: "SegmentDecoder",
    good: encodeSegmentRecord(noise(16, 1), sealed.table),
    read: (bytes) => {
      const decoder = new SegmentDecoder();
      for (let at = 0; at < bytes.length; at += 33)
        drain(decoder.push(bytes.subarray(at, at + 33)));
      decoder.end();
    },
  },
  { name: "decodeManifest", good: encodeManifest(context, [ref, ref]), read: decodeManifest },
  {
    name: "EntryDecoder",
    good: entries,
    read: (bytes) => {
      const decoder = new EntryDecoder();
      for (let at = 0; at < bytes.length; at += 50)
        drain(decoder.push(bytes.subarray(at, at + 50)));
      decoder.end();
    },
  },
  { name: "contentItems", good: content!, read: (bytes) => drain(contentItems(bytes)) },
  { name: "contentBytes", good: content!, read: contentBytes },
  {
    name: "ByteReader",
    good: Uint8Array.of(0xac, 0x02, 3, 1, 2, 3, 1, 9, 5),
    read: (bytes) => {
      const reader = new ByteReader(bytes);
      reader.varint();
      reader.bytes(10);
      reader.binary(10);
      reader.signed();
    },
  },
  ...kinds.map((kind) => ({
    name: `openDocument, ${kind}`,
    good: envelopes[kind].bytes,
    read: (bytes: Uint8Array) => openDocument(kind, bytes, trusted),
  })),
  ...kinds.map((kind) => ({
    name: `openDocument, ${kind}, signed as it is`,
    good: payloadOf(envelopes[kind].bytes),
    share: 0.15,
    read: (bytes: Uint8Array) => openSigned(kind, bytes),
  })),
  {
    name: "openStatement",
    good: envelopes.statement.bytes,
    read: (bytes) => openStatement(bytes, known),
  },
  { name: "openWrap", good: wrap.bytes, read: (bytes) => openWrap(bytes, known) },
  {
    name: "unwrapEpochKey",
    good: payloadOf(wrap.bytes),
    share: 0.15,
    read: (bytes) => {
      const document = openSigned("wrap", bytes) as Parameters<typeof unwrapEpochKey>[0];
      return unwrapEpochKey(document, recovery.kem);
    },
  },
  { name: "decodeRoot", good: root, read: (bytes) => decodeRoot(bytes, statement) },
  {
    name: "parseShardName",
    good: ascii(shardName(ref.id, 2)),
    read: (bytes) => parseShardName(text(bytes)),
  },
  {
    name: "parseObjectName",
    good: ascii(shardName(ref.id, 2)),
    read: (bytes) => {
      const name = text(bytes);
      const parsed = parseObjectName(name);
      // It becomes a path: nothing in it may lead elsewhere.
      if (parsed) assert.ok(!parsed.rest.includes("/") && !/^\.|\0/.test(parsed.rest), name);
    },
  },
  { name: "parseId", good: ascii(ref.id), read: (bytes) => parseId("DispersalId", text(bytes)) },
  {
    name: "idFromBytes",
    good: fromHex(ref.id),
    read: (bytes) => idFromBytes("DispersalId", bytes),
  },
];

/** What fuzzers like: edges of integers, in little endian, and text that means something in JSON. */
const morsel = fc.oneof(
  fc.uint8Array({ minLength: 1, maxLength: 8 }),
  fc.constantFrom(
    Uint8Array.of(0xff, 0xff, 0xff, 0xff),
    Uint8Array.of(0xff, 0xff, 0xff, 0x7f),
    Uint8Array.of(0, 0, 0, 0x80),
    Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0),
    Uint8Array.of(0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80),
    Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f),
    ascii("9007199254740991"),
    ascii("4294967296"),
    ascii("-1"),
    ascii("null"),
    ascii('"'),
    ascii("[[[[[[[["),
    ascii("../"),
    ascii("\\ud800"),
    ascii("=="),
  ),
);

type Change = readonly ["put" | "insert" | "delete" | "cut" | "repeat", number, Uint8Array];
const change: fc.Arbitrary<Change> = fc.tuple(
  fc.constantFrom("put", "put", "put", "insert", "delete", "cut", "repeat"),
  fc.nat(),
  morsel,
);

function apply(good: Uint8Array, changes: readonly Change[]): Uint8Array {
  let bytes = Buffer.from(good);
  for (const [how, where, more] of changes) {
    const at = where % (bytes.length + 1);
    const [head, tail] = [bytes.subarray(0, at), bytes.subarray(at)];
    if (how === "put") bytes = Buffer.concat([head, more, tail.subarray(more.length)]);
    else if (how === "insert") bytes = Buffer.concat([head, more, tail]);
    else if (how === "delete") bytes = Buffer.concat([head, tail.subarray(more.length)]);
    else if (how === "cut") bytes = Buffer.from(head);
    else bytes = Buffer.concat([head, tail, tail.subarray(0, 500)]);
  }
  return Uint8Array.from(bytes);
}

for (const { name, good, read, share = 1 } of readers) {
  test(`altered and random bytes: ${name}`, () => {
    assert.equal(
      survives(() => read(good)),
      "read",
      "unaltered, they are read",
    );
    let refused = 0;
    const { numRuns } = tries(Math.ceil(400 * share));
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
        if (survives(() => read(apply(good, changes))) === "refused") refused++;
      }),
      { numRuns },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
        survives(() => read(bytes));
      }),
      { numRuns: Math.ceil(numRuns / 4) },
    );
    const answers = ["verifyShard", "a gathered and opened pack", "parseObjectName"];
    if (!answers.includes(name)) assert.ok(refused > 0, "some are refused");
  });
}

test("no reader is made to hold much more than it is given", () => {
  // Every 4 bytes in turn claim that there is very much of something.
  const binary = readers.filter(
    ({ name }) => !/openDocument|openStatement|openWrap|unwrap/.test(name),
  );
  for (const { name, good, read } of binary) {
    for (const value of [0xffffffff, 0x03ffffff]) {
      for (let at = 0; at + 4 <= Math.min(good.length, 400); at++) {
        const changed = Buffer.from(good);
        changed.writeUInt32LE(value, at);
        const before = process.memoryUsage().arrayBuffers;
        survives(() => read(Uint8Array.from(changed)));
        const grown = process.memoryUsage().arrayBuffers - before;
        assert.ok(grown < 8 * 1024 * 1024, `${name}, byte ${at}: ${grown} bytes`);
      }
    }
  }
});
