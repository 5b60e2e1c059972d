import assert from "node:assert/strict";
import { createPublicKey, generateKeyPairSync, randomBytes } from "node:crypto";
import { test } from "node:test";
import { p384 } from "@noble/curves/nist.js";
import { ml_dsa44 } from "@noble/post-quantum/ml-dsa.js";
import { concat, fromHex, plain } from "./bytes.ts";
import {
  ED25519,
  exportPublic,
  importPrivate,
  importPublic,
  ML_DSA_44,
  ML_DSA_87,
  ML_KEM_1024,
  P384,
} from "./key-objects.ts";

const badKey = { code: "bad-key" };
const FORMS = [ED25519, ML_DSA_44, ML_DSA_87, ML_KEM_1024, P384];
const ORDER =
  "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973";

test("raw public bytes survive import and export, and lengths are checked first", () => {
  for (const form of FORMS) {
    const secret = importPrivate(form, new Uint8Array(form.privateBytes).fill(5));
    const raw = exportPublic(form, secret);
    assert.equal(raw.length, form.publicBytes);
    assert.deepEqual(exportPublic(form, importPublic(form, raw)), raw);
    for (const off of [-1, 1]) {
      assert.throws(() => importPrivate(form, new Uint8Array(form.privateBytes + off)), badKey);
      assert.throws(() => importPublic(form, new Uint8Array(form.publicBytes + off)), badKey);
    }
  }
});

test("the DER of an ML-DSA-44 key is what Node exports for one that it made, and noble derives the same key", () => {
  const { privateKey, publicKey } = generateKeyPairSync("ml-dsa-44");
  const spki = publicKey.export({ format: "der", type: "spki" });
  const raw = exportPublic(ML_DSA_44, privateKey);
  assert.deepEqual(plain(spki), concat(ML_DSA_44.spkiPrefix, raw));
  // Node exports the seed together with the expanded key, so the seed-only form is compared by the key.
  const seed = new Uint8Array(32).fill(9);
  const imported = importPrivate(ML_DSA_44, seed);
  assert.equal(imported.asymmetricKeyType, "ml-dsa-44");
  assert.deepEqual(exportPublic(ML_DSA_44, imported), ml_dsa44.keygen(seed).publicKey);
});

test("a key of another type is not exported under a wrong name", () => {
  const ed25519 = importPrivate(ED25519, new Uint8Array(32));
  assert.throws(() => exportPublic(P384, ed25519), badKey);
});

test("a P-384 scalar of zero, the group order or more is refused; order minus one is taken", () => {
  const order = fromHex(ORDER);
  const less = Uint8Array.from(order);
  less[47]! -= 1;
  assert.throws(() => importPrivate(P384, new Uint8Array(48)), badKey);
  assert.throws(() => importPrivate(P384, order), badKey);
  assert.throws(() => importPrivate(P384, new Uint8Array(48).fill(0xff)), badKey);
  assert.deepEqual(exportPublic(P384, importPrivate(P384, less)), p384.getPublicKey(less, false));
});

test("points off the curve, out of range, infinite, compressed or in hybrid form are refused", () => {
  const point = p384.getPublicKey(new Uint8Array(48).fill(7), false);
  const off = Uint8Array.from(point);
  off[96]! ^= 1;
  const outOfRange = concat(Uint8Array.of(4), new Uint8Array(96).fill(0xff));
  const infinity = concat(Uint8Array.of(4), new Uint8Array(96));
  const hybrid = Uint8Array.from(point);
  hybrid[0] = 6 + (point[96]! & 1);
  // OpenSSL itself takes the hybrid form, so it is this code that refuses it.
  const spki = Buffer.from(concat(P384.spkiPrefix, hybrid));
  assert.doesNotThrow(() => createPublicKey({ key: spki, format: "der", type: "spki" }));
  for (const bad of [
    off,
    outOfRange,
    infinity,
    hybrid,
    p384.getPublicKey(new Uint8Array(48).fill(7), true),
  ]) {
    assert.throws(() => importPublic(P384, bad), badKey);
  }
});

test("an ML-KEM key with a coefficient not below q is refused (FIPS 203, 7.2)", () => {
  const raw = exportPublic(ML_KEM_1024, importPrivate(ML_KEM_1024, plain(randomBytes(64))));
  raw.set([0xff, 0xff, 0xff], 0);
  assert.throws(() => importPublic(ML_KEM_1024, raw), badKey);
});

test("an Ed25519 point of small order is no key, wherever a key is read", () => {
  for (const start of [0, 1]) {
    const raw = new Uint8Array(32);
    raw[0] = start;
    assert.throws(() => importPublic(ED25519, raw), badKey);
  }
});
