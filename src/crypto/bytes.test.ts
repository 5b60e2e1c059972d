import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  concat,
  equalConstantTime,
  fromBase64,
  fromHex,
  fromUtf8,
  plain,
  toBase64,
  toHex,
  utf8,
  wipe,
} from "./bytes.ts";

const malformed = { code: "malformed" };

test("hexadecimal and base64 round-trip, and give plain arrays that own their slices", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      assert.deepEqual(fromHex(toHex(bytes), bytes.length), bytes);
      assert.deepEqual(fromBase64(toBase64(bytes)), bytes);
    }),
  );
  assert.equal(Buffer.isBuffer(fromBase64("AAAA")), false);
  assert.equal(Buffer.isBuffer(plain(Buffer.from("x"))), false);
});

test("a view into a larger buffer is encoded without its surroundings", () => {
  const part = Uint8Array.of(1, 2, 3, 4).subarray(1, 3);
  assert.equal(toHex(part), "0203");
  assert.equal(toBase64(part), "AgM=");
  assert.deepEqual(plain(part), Uint8Array.of(2, 3));
});

test("hexadecimal with capitals, odd length, wrong length or other characters is refused", () => {
  for (const text of ["AB", "abc", "0g", "ab ", "\u0661\u0661"]) {
    assert.throws(() => fromHex(text), malformed, text);
  }
  assert.throws(() => fromHex("abcd", 1), malformed);
});

test("base64 that is not canonical is refused", () => {
  for (const text of [
    "AB",
    "AB=",
    "AB===",
    "AB==\n",
    " AA==",
    "AA=A",
    "-_-_",
    "AAB=",
    "=",
    "AA==AA==",
  ]) {
    assert.throws(() => fromBase64(text), malformed, text);
  }
  assert.throws(() => fromBase64("AB=="), malformed, "non-zero trailing bits");
});

test("UTF-8 is strict in both directions and keeps a BOM", () => {
  assert.throws(() => utf8("a\ud800"), malformed);
  assert.throws(() => fromUtf8(Uint8Array.of(0xc0, 0x80)), malformed);
  assert.throws(() => fromUtf8(Uint8Array.of(0xed, 0xa0, 0x80)), malformed);
  assert.equal(fromUtf8(utf8("\ufeffé𝄞")), "\ufeffé𝄞");
});

test("concat, comparison and wiping", () => {
  assert.deepEqual(concat(), new Uint8Array());
  assert.deepEqual(
    concat(Uint8Array.of(1), Uint8Array.of(), Uint8Array.of(2, 3)),
    Uint8Array.of(1, 2, 3),
  );
  assert.equal(equalConstantTime(Uint8Array.of(1, 2), Uint8Array.of(1, 2)), true);
  assert.equal(equalConstantTime(Uint8Array.of(1, 2), Uint8Array.of(1, 3)), false);
  assert.equal(equalConstantTime(Uint8Array.of(1, 2), Uint8Array.of(1)), false);
  const secret = Uint8Array.of(1, 2);
  wipe(secret);
  assert.deepEqual(secret, Uint8Array.of(0, 0));
});
