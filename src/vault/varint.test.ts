import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { tries } from "../../test/support/vault.ts";
import { isExclaveError } from "../errors.ts";
import { ByteReader, ByteWriter } from "./varint.ts";

const malformed = (error: unknown): boolean => isExclaveError(error, "malformed");
const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

const binary = fc.uint8Array({ maxLength: 300 }).map((b) => Buffer.from(b).toString("latin1"));
const field = fc.oneof(
  fc.record({ type: fc.constant("u8" as const), value: fc.nat(255) }),
  fc.record({ type: fc.constant("varint" as const), value: fc.maxSafeNat() }),
  fc.record({
    type: fc.constant("signed" as const),
    value: fc.integer({ min: -(2 ** 52), max: 2 ** 52 - 1 }),
  }),
  fc.record({ type: fc.constant("raw" as const), value: fc.uint8Array({ maxLength: 300 }) }),
  fc.record({ type: fc.constant("bytes" as const), value: fc.uint8Array({ maxLength: 300 }) }),
  fc.record({ type: fc.constant("binary" as const), value: binary }),
);

test("every field that is written is read back", () => {
  fc.assert(
    fc.property(fc.array(field, { maxLength: 50 }), fc.nat(40), (fields, room) => {
      const writer = new ByteWriter(room);
      for (const { type, value } of fields) {
        if (type === "u8") writer.u8(value);
        else if (type === "varint") writer.varint(value);
        else if (type === "signed") writer.signed(value);
        else if (type === "raw") writer.raw(value);
        else if (type === "bytes") writer.bytes(value);
        else writer.binary(value);
      }
      assert.equal(writer.view().length, writer.length);
      const reader = new ByteReader(Uint8Array.from(writer.view()));
      for (const { type, value } of fields) {
        if (type === "u8") assert.equal(reader.u8(), value);
        else if (type === "varint") assert.equal(reader.varint(), value);
        else if (type === "signed") assert.equal(reader.signed(), value);
        else if (type === "raw") assert.deepEqual(Uint8Array.from(reader.raw(value.length)), value);
        else if (type === "bytes") assert.deepEqual(Uint8Array.from(reader.bytes(300)), value);
        else assert.equal(reader.binary(300), value);
      }
      assert.ok(reader.done);
    }),
    tries(200),
  );
});

test("integers are LEB128, and their extremes fit", () => {
  const written = (write: (writer: ByteWriter) => void): number[] => {
    const writer = new ByteWriter(0);
    write(writer);
    return [...writer.view()];
  };
  assert.deepEqual(
    written((w) => w.varint(0)),
    [0],
  );
  assert.deepEqual(
    written((w) => w.varint(300)),
    [0xac, 0x02],
  );
  assert.deepEqual(
    written((w) => w.varint(Number.MAX_SAFE_INTEGER)),
    [255, 255, 255, 255, 255, 255, 255, 15],
  );
  assert.deepEqual(
    written((w) => w.signed(-1)),
    [1],
  );
  assert.deepEqual(
    written((w) => w.signed(1)),
    [2],
  );
  for (const value of [-1, 0.5, 2 ** 53, Number.NaN]) {
    assert.throws(
      () => new ByteWriter().varint(value),
      (error) => isExclaveError(error, "bug"),
    );
  }
});

test("an integer has one spelling, and is never more than 2^53 - 1", () => {
  for (const spelling of [
    bytes(0x80, 0x00),
    bytes(0xff, 0x80, 0x00),
    bytes(255, 255, 255, 255, 255, 255, 255, 16),
    bytes(0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01),
    bytes(0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00),
    new Uint8Array(1000).fill(0x80),
    bytes(0x80),
    bytes(),
  ]) {
    assert.throws(() => new ByteReader(spelling).varint(), malformed);
  }
});

test("a reader refuses to go beyond its bytes or a field's limit", () => {
  assert.throws(() => new ByteReader(bytes(1, 2)).raw(3), malformed);
  assert.throws(() => new ByteReader(bytes(3, 1, 2)).bytes(10), malformed);
  assert.throws(() => new ByteReader(bytes(3, 1, 2)).binary(10), malformed);
  assert.throws(() => new ByteReader(bytes(3, 1, 2, 3)).bytes(2), malformed);
  assert.throws(() => new ByteReader(bytes(3, 1, 2, 3)).binary(2), malformed);
  assert.throws(() => new ByteReader(bytes()).u8(), malformed);
  // A view of larger memory ends where the view ends.
  assert.throws(() => new ByteReader(bytes(1, 2, 3).subarray(0, 1)).raw(2), malformed);
});
