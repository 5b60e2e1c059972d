import assert from "node:assert/strict";
import { test } from "node:test";
import { fromHex, toHex, utf8 } from "./bytes.ts";
import { hkdfSha256, hmacSha256, sha256 } from "./hash.ts";

test("SHA-256 of one part and of several parts is that of their concatenation (FIPS 180-4 example)", () => {
  const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  assert.equal(toHex(sha256(utf8("abc"))), abc);
  assert.equal(toHex(sha256(utf8("a"), utf8("bc"))), abc);
  assert.equal(toHex(sha256()), toHex(sha256(new Uint8Array())));
  assert.equal(Buffer.isBuffer(sha256(utf8("abc"))), false);
});

test("HMAC-SHA-256 (RFC 4231, case 2)", () => {
  const mac = hmacSha256(utf8("Jefe"), utf8("what do ya want "), utf8("for nothing?"));
  assert.equal(toHex(mac), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
});

test("HKDF-SHA-256 (RFC 5869, case 1)", () => {
  const info = fromHex("f0f1f2f3f4f5f6f7f8f9");
  const salt = fromHex("000102030405060708090a0b0c");
  assert.equal(
    toHex(hkdfSha256(fromHex("0b".repeat(22)), salt, info, 42)),
    "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
  );
});

test("HKDF refuses short keys, long infos and impossible lengths", () => {
  const key = new Uint8Array(32);
  const salt = new Uint8Array();
  assert.throws(() => hkdfSha256(new Uint8Array(15), salt, "x", 32), { code: "bug" });
  assert.throws(() => hkdfSha256(key, salt, "x".repeat(1025), 32), { code: "bug" });
  for (const length of [0, 8161, 1.5]) {
    assert.throws(() => hkdfSha256(key, salt, "x", length), { code: "bug" });
  }
});
