import assert from "node:assert/strict";
import { test } from "node:test";
import { zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import {
  altered,
  context,
  epochKey,
  keys,
  noise,
  packId,
  sealPacks,
  tries,
} from "../../test/support/vault.ts";
import { AEAD_TAG_BYTES, keyCommitment, seal } from "../crypto/aead.ts";
import { type ErrorCode, isExclaveError } from "../errors.ts";
import { deriveEpochKeys } from "./epoch-keys.ts";
import { idBytes, parseId } from "./identifiers.ts";
import {
  decodeLocator,
  decodeTable,
  encodeLocator,
  encodeTable,
  FRAME_BYTES_MAX,
  type Frame,
  LOCATOR_POSITION,
  PACK_HEADER_BYTES,
  type PackKind,
  packContext,
  positionAad,
  positionNonce,
  readPackContext,
  SIZE_CLASSES,
  TABLE_HEAD_BYTES,
  TABLE_POSITION,
} from "./pack.ts";
import { PackReader } from "./pack-reader.ts";
import type { SealedPack } from "./pack-writer.ts";

const code =
  (...codes: ErrorCode[]) =>
  (error: unknown): boolean =>
    codes.some((one) => isExclaveError(error, one));

const rangeOf =
  (bytes: Uint8Array) =>
  (offset: number, length: number): Uint8Array => {
    assert.ok(offset >= 0 && offset + length <= bytes.length, "reads stay within the pack");
    return bytes.subarray(offset, offset + length);
  };

function reader(bytes: Uint8Array, pack = packId, under = keys): PackReader {
  return new PackReader(under, pack, bytes.length, rangeOf(bytes));
}

/** Every chunk of a pack, as hex, with its id held against its content. */
function chunksOf(opened: PackReader): string[] {
  return opened.frames().flatMap((frame, position) => {
    const raw = opened.readFrame(position, frame);
    return frame.chunks.map(({ id, offset, bytes }) => {
      const chunk = raw.subarray(offset, offset + bytes);
      assert.deepEqual(Buffer.from(id), Buffer.from(keys.chunkId(chunk)));
      return Buffer.from(chunk).toString("hex");
    });
  });
}

const chunk = fc
  .record({
    bytes: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 60_000 })),
    seed: fc.nat(1000),
    kind: fc.constantFrom("noise", "text", "zeros"),
  })
  .map(({ bytes, seed, kind }) => {
    if (kind === "noise") return noise(bytes, seed);
    if (kind === "zeros") return new Uint8Array(bytes);
    return new Uint8Array(Buffer.alloc(bytes, `record ${seed} of the civil register; `));
  });

test("chunks of any sizes and compressibility come back, from packs of a size class", () => {
  const classes = fc.constantFrom(65_536, 131_072, 1_048_576);
  const kind = fc.constantFrom<PackKind>("data", "entries", "tail");
  fc.assert(
    fc.property(fc.array(chunk, { maxLength: 60 }), classes, kind, (chunks, packBytes, kind) => {
      const packs = sealPacks(chunks, { packBytes, kind });
      const found = packs.flatMap((sealed) => {
        assert.ok(SIZE_CLASSES.includes(sealed.bytes.length), `${sealed.bytes.length} bytes`);
        assert.ok(sealed.bytes.length <= packBytes);
        const smaller = SIZE_CLASSES.filter((size) => size >= sealed.storedBytes)[0];
        assert.equal(sealed.bytes.length, smaller, "no larger class than needed");
        const opened = reader(sealed.bytes, sealed.pack);
        assert.deepEqual(readPackContext(sealed.bytes), { kind, pack: sealed.pack });
        assert.deepEqual(Buffer.from(opened.table()), Buffer.from(sealed.table));
        let raw = 0;
        for (const frame of opened.frames()) {
          assert.ok(frame.rawBytes <= FRAME_BYTES_MAX && frame.rawBytes > 0);
          raw += frame.rawBytes;
        }
        assert.equal(sealed.rawBytes, raw);
        return chunksOf(opened);
      });
      assert.deepEqual(
        found,
        chunks.map((one) => Buffer.from(one).toString("hex")),
      );
    }),
    tries(40),
  );
});

test("a full pack wastes less than its next chunk, which is about 3 % at most", () => {
  const lengths = Array.from({ length: 120 }, (_, i) => 65_536 + ((i * 77_777) % 458_752));
  const packBytes = 16 * 1024 * 1024;
  for (const chunks of [
    lengths.map((length, i) => noise(length, i)),
    // Half of each compresses away: what was set aside for frames must not be lost.
    lengths.map((length, i) => Buffer.concat([noise(length / 2, i), Buffer.alloc(length / 2)])),
  ]) {
    const packs = sealPacks(chunks, { packBytes }).slice(0, -1);
    assert.ok(packs.length > 0);
    for (const { bytes, storedBytes } of packs) {
      assert.equal(bytes.length, packBytes);
      assert.ok(storedBytes / packBytes > 0.968, `${storedBytes} of ${packBytes}`);
    }
  }
});

test("many short chunks share a pack, and their table is counted in", () => {
  const chunks = Array.from({ length: 20_000 }, (_, i) => Uint8Array.of(i & 255, i >> 8));
  const packs = sealPacks(chunks, { packBytes: 65_536 });
  assert.deepEqual(
    packs.flatMap(({ bytes, pack }) => chunksOf(reader(bytes, pack))),
    chunks.map((one) => Buffer.from(one).toString("hex")),
  );
  for (const { storedBytes } of packs.slice(0, -1)) assert.ok(storedBytes > 65_536 - 200);
});

test("nothing in, no pack out", () => {
  assert.deepEqual(sealPacks([]), []);
});

test("a chunk of no bytes, or longer than a frame, is a mistake", () => {
  for (const length of [0, FRAME_BYTES_MAX + 1]) {
    const packBytes = 4 * FRAME_BYTES_MAX;
    assert.throws(() => sealPacks([new Uint8Array(length)], { packBytes }), code("bug"));
  }
});

test("the same chunks sealed again look nothing like before: ids, keys and padding are fresh", () => {
  const [one, two] = [sealPacks([noise(100, 1)])[0]!, sealPacks([noise(100, 1)])[0]!];
  assert.notEqual(one.pack, two.pack);
  const after = PACK_HEADER_BYTES - 56;
  let same = 0;
  for (let at = after; at < one.bytes.length; at++) if (one.bytes[at] === two.bytes[at]) same++;
  assert.ok(same < one.bytes.length / 100, `${same} bytes are equal`);
});

test("a change to any byte that is stored is refused, and one to the padding changes nothing", () => {
  const chunks = [noise(2000, 1), new Uint8Array(5000), Buffer.alloc(3000, "land title; ")];
  const { bytes, pack, storedBytes } = sealPacks(chunks)[0]!;
  const whole = chunksOf(reader(bytes, pack));
  for (let at = 0; at < storedBytes; at++) {
    const refused = code("altered", "malformed");
    assert.throws(
      () => chunksOf(reader(altered(bytes, at, 1 << (at & 7)), pack)),
      refused,
      `${at}`,
    );
  }
  for (let at = storedBytes; at < bytes.length; at += 997) {
    assert.deepEqual(chunksOf(reader(altered(bytes, at), pack)), whole);
  }
});

test("a pack opens as that of no other State, register, epoch, kind, pack or key", () => {
  const { bytes, pack } = sealPacks([noise(500, 1)])[0]!;
  assert.equal(chunksOf(reader(bytes, pack)).length, 1);
  const refused = code("altered");
  const others = [
    { ...context, state: parseId("StateId", "ee".repeat(32)) },
    { ...context, register: parseId("RegisterId", "ee".repeat(16)) },
    { ...context, epoch: context.epoch + 1 },
  ];
  for (const other of others) {
    const under = deriveEpochKeys(epochKey, other);
    assert.throws(() => reader(bytes, pack, under), refused);
    // Relabelled, the key that follows is another, and the commitment says so.
    const relabelled = Buffer.from(bytes);
    relabelled.set(packContext(other, pack, "data"), 0);
    assert.throws(() => reader(relabelled, pack, under), refused);
    assert.throws(() => reader(relabelled, pack), refused);
  }
  assert.throws(() => reader(bytes, pack, deriveEpochKeys(noise(32, 9), context)), refused);
  assert.throws(() => reader(bytes, parseId("PackId", "ee".repeat(16))), refused);
  for (const kind of ["entries", "tail"] as const) {
    const relabelled = Buffer.from(bytes);
    relabelled.set(packContext(context, pack, kind), 0);
    assert.throws(() => reader(relabelled, pack), refused);
  }
  const other = sealPacks([noise(500, 2)])[0]!;
  // The body of one pack under the header of another: the header opens, and nothing behind it does.
  const body = Buffer.concat([
    bytes.subarray(0, PACK_HEADER_BYTES),
    other.bytes.subarray(PACK_HEADER_BYTES),
  ]);
  assert.throws(() => reader(body, pack).frames(), refused);
});

test("frames that changed places within a pack are refused", () => {
  const chunks = Array.from({ length: 3 }, (_, i) => noise(FRAME_BYTES_MAX, i));
  const { bytes, pack } = sealPacks(chunks, { packBytes: 4 * FRAME_BYTES_MAX })[0]!;
  const opened = reader(bytes, pack);
  const [first, second] = opened.frames();
  assert.equal(opened.readFrame(0, first!).length, FRAME_BYTES_MAX);
  assert.throws(() => opened.readFrame(0, second!), code("altered"));
  assert.throws(() => opened.readFrame(1, first!), code("altered"));
});

/** A pack as a hostile agent, who has the epoch key, may write it: any table, any locator, any frames. */
function craft(options: {
  readonly frames?: readonly Uint8Array[];
  readonly table: (frames: readonly { offset: number; sealedBytes: number }[]) => Uint8Array;
  readonly locator?: Uint8Array;
  readonly packBytes?: number;
}): Uint8Array {
  const bytes = Buffer.alloc(options.packBytes ?? 1024 * 1024);
  const bound = packContext(context, packId, "data");
  const key = keys.packKey(bound);
  let used = PACK_HEADER_BYTES;
  const put = (at: number, position: number, plain: Uint8Array): number => {
    const sealed = seal(key, positionNonce(position), positionAad(bound, position), plain);
    bytes.set(sealed, at);
    return sealed.length;
  };
  const places = (options.frames ?? []).map((frame, position) => {
    const sealedBytes = put(used, position, frame);
    used += sealedBytes;
    return { offset: used - sealedBytes, sealedBytes };
  });
  const sealedBytes = put(used, TABLE_POSITION, options.table(places));
  bytes.set(bound, 0);
  bytes.set(keyCommitment(key, bound), 80);
  put(112, LOCATOR_POSITION, options.locator ?? encodeLocator({ offset: used, sealedBytes }));
  return bytes;
}

const oneFrame = (
  frame: Uint8Array,
  rawBytes: number,
  chunkBytes: readonly number[] = [rawBytes],
): Uint8Array =>
  craft({
    frames: [frame],
    table: ([place]) =>
      encodeTable([
        {
          ...place!,
          rawBytes,
          codec: "zstd",
          chunks: chunkBytes.map((bytes) => ({ id: new Uint8Array(32), offset: 0, bytes })),
        },
      ]),
  });

test("a frame that would decompress beyond its bound is stopped at the bound", () => {
  const bomb = zstdCompressSync(new Uint8Array(256 * 1024 * 1024));
  assert.ok(bomb.length < 100_000);
  const opened = reader(oneFrame(bomb, FRAME_BYTES_MAX));
  const [frame] = opened.frames();
  assert.throws(
    () => opened.readFrame(0, frame!),
    (error) =>
      isExclaveError(error, "malformed") &&
      (error.cause as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE",
  );
});

test("a frame that decompresses to another length than stated, or not at all, is refused", () => {
  const whole = zstdCompressSync(new Uint8Array(1000).fill(7));
  for (const frame of [whole, whole.subarray(0, -1), noise(100, 1), new Uint8Array()]) {
    const opened = reader(oneFrame(frame, frame === whole ? 999 : 1000));
    assert.throws(() => opened.readFrame(0, opened.frames()[0]!), code("malformed"));
  }
});

test("no table makes a reader fetch more than a frame at once", () => {
  // The frame says 16 MiB sealed that stand for one byte.
  const packBytes = 32 * 1024 * 1024;
  const claimed = 16 * 1024 * 1024;
  const bytes = craft({
    packBytes,
    table: () =>
      encodeTable([
        {
          offset: PACK_HEADER_BYTES,
          sealedBytes: claimed,
          rawBytes: 1,
          codec: "zstd",
          chunks: [{ id: new Uint8Array(32), offset: 0, bytes: 1 }],
        },
      ]),
  });
  let most = 0;
  const opened = new PackReader(keys, packId, packBytes, (offset, length) => {
    most = Math.max(most, length);
    return bytes.subarray(offset, offset + length);
  });
  assert.throws(() => opened.readFrame(0, opened.frames()[0]!), code("malformed"));
  assert.ok(most <= FRAME_BYTES_MAX + AEAD_TAG_BYTES, `a fetch of ${most} bytes`);
});

test("a locator that points outside the pack, or into its header, is refused", () => {
  const packBytes = 65_536;
  const table = (): Uint8Array => encodeTable([]);
  const least = TABLE_HEAD_BYTES + AEAD_TAG_BYTES;
  for (const locator of [
    { offset: 0, sealedBytes: least },
    { offset: PACK_HEADER_BYTES - 1, sealedBytes: least },
    { offset: PACK_HEADER_BYTES, sealedBytes: least - 1 },
    { offset: PACK_HEADER_BYTES, sealedBytes: packBytes },
    { offset: packBytes - least + 1, sealedBytes: least },
    { offset: 0xffffffff, sealedBytes: 0xffffffff },
    { offset: 0xffffffff, sealedBytes: least },
  ]) {
    const bytes = craft({ packBytes, table, locator: encodeLocator(locator) });
    assert.throws(() => reader(bytes).frames(), code("malformed"), JSON.stringify(locator));
  }
  for (const length of [0, 7, 9]) {
    const bytes = craft({ packBytes, table, locator: new Uint8Array(length) });
    assert.throws(() => reader(bytes).frames(), code("malformed", "altered"));
  }
  assert.throws(() => decodeLocator(new Uint8Array(7), packBytes), code("malformed"));
});

test("a pack that is shorter than a pack's header is refused as such", () => {
  const header = sealPacks([noise(10, 1)])[0]!;
  for (const length of [0, 1, 80, PACK_HEADER_BYTES - 1]) {
    const bytes = header.bytes.subarray(0, length);
    assert.throws(() => reader(bytes, header.pack), code("malformed"), `${length} bytes`);
  }
});

test("a table with hostile numbers is refused", () => {
  const packBytes = 1024 * 1024;
  const good: Frame[] = [
    {
      offset: PACK_HEADER_BYTES,
      sealedBytes: 116,
      rawBytes: 100,
      codec: "stored",
      chunks: [60, 40].map((bytes) => ({ id: noise(32, bytes), offset: 0, bytes })),
    },
    {
      offset: 1000,
      sealedBytes: 50,
      rawBytes: 70,
      codec: "zstd",
      chunks: [{ id: noise(32, 70), offset: 0, bytes: 70 }],
    },
  ];
  const table = Buffer.from(encodeTable(good));
  const opened = decodeTable(table, packBytes);
  assert.deepEqual(
    opened.map(({ chunks }) => chunks.map(({ offset, bytes }) => [offset, bytes])),
    [
      [
        [0, 60],
        [60, 40],
      ],
      [[0, 70]],
    ],
  );
  const hostile = [0, 1, 2, 3, 99, 135, 2 ** 20 + 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1];
  const frame1 = TABLE_HEAD_BYTES + 20;
  const chunk0 = TABLE_HEAD_BYTES + 2 * 20 + 32;
  const refused = (what: string, at: number, value: number): void => {
    const changed = Buffer.from(table);
    changed.writeUInt32LE(value, at);
    assert.throws(() => decodeTable(changed, packBytes), code("malformed"), `${what} ${value}`);
  };
  for (const value of hostile) {
    if (value !== 1) refused("version", 0, value);
    if (value !== 2) refused("frames", 4, value);
    if (value !== 3) refused("chunks", 8, value);
    // Anything from the end of the header is a place within the pack.
    if (value < PACK_HEADER_BYTES || value >= packBytes) refused("offset", TABLE_HEAD_BYTES, value);
    refused("stored length", TABLE_HEAD_BYTES + 4, value);
    if (value < AEAD_TAG_BYTES || value >= packBytes) refused("length", frame1 + 4, value);
    refused("raw length", frame1 + 8, value);
    if (value > 1) refused("codec", frame1 + 12, value);
    if (value !== 1) refused("count", frame1 + 16, value);
    if (value !== 2) refused("count", frame1 - 4, value);
    refused("chunk length", chunk0, value);
  }
  for (const length of [0, 1, TABLE_HEAD_BYTES - 1, table.length - 1, table.length - 36]) {
    assert.throws(() => decodeTable(table.subarray(0, length), packBytes), code("malformed"));
  }
  assert.throws(() => decodeTable(Buffer.concat([table, table]), packBytes), code("malformed"));
});

test("a table with a frame beyond its bound, or with chunks outside frames, is refused", () => {
  const packBytes = 64 * 1024 * 1024;
  const frame = (bytes: number): Frame => ({
    offset: PACK_HEADER_BYTES,
    sealedBytes: 100,
    rawBytes: bytes,
    codec: "zstd",
    chunks: [{ id: noise(32, 1), offset: 0, bytes }],
  });
  assert.equal(decodeTable(encodeTable([frame(FRAME_BYTES_MAX)]), packBytes).length, 1);
  assert.throws(
    () => decodeTable(encodeTable([frame(FRAME_BYTES_MAX + 1)]), packBytes),
    code("malformed"),
  );
  const outside = Buffer.concat([encodeTable([]), Buffer.alloc(36)]);
  outside.writeUInt32LE(1, 8);
  assert.throws(() => decodeTable(outside, packBytes), code("malformed"));
});

test("small chunks share frames, up to a frame's bound", () => {
  const chunks = Array.from({ length: 100 }, (_, i) => noise(30_000, i));
  const [{ bytes, table }] = sealPacks(chunks, { packBytes: 4 * FRAME_BYTES_MAX }) as [SealedPack];
  assert.deepEqual(
    decodeTable(table, bytes.length).map((frame) => frame.chunks.length),
    [34, 34, 32],
  );
});

test("ids in a pack's first bytes are where the format has them", () => {
  const bound = packContext(context, packId, "tail");
  assert.equal(Buffer.from(bound).toString("latin1", 0, 8), "exclvpk1");
  assert.deepEqual(Buffer.from(bound.subarray(16, 48)), idBytes(context.state));
  assert.deepEqual(Buffer.from(bound.subarray(48, 64)), idBytes(context.register));
  assert.deepEqual(readPackContext(bound), { kind: "tail", pack: packId });
  assert.throws(() => readPackContext(bound.subarray(0, 79)), code("malformed"));
  assert.throws(() => readPackContext(altered(bound, 11, 0x40)), code("malformed"));
});
