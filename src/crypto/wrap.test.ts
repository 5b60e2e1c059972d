import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { seal } from "./aead.ts";
import { concat, plain, utf8 } from "./bytes.ts";
import { hkdfSha256 } from "./hash.ts";
import { kemEncapsulate, kemKeyPairFromSeed } from "./kem.ts";
import { unwrap, wrapTo } from "./wrap.ts";

const keyPair = kemKeyPairFromSeed(plain(randomBytes(32)));
const context = utf8("epoch 7 of register population");
const altered = { code: "altered" };

test("a wrapped secret comes back, at the shortest and the longest length", () => {
  for (const length of [1, 32, 256 * 1024]) {
    const secret = plain(randomBytes(length));
    assert.deepEqual(unwrap(keyPair, wrapTo(keyPair.publicKey, secret, context), context), secret);
  }
});

test("two wraps of one secret have nothing in common", () => {
  const secret = new Uint8Array(32);
  const a = wrapTo(keyPair.publicKey, secret, context);
  const b = wrapTo(keyPair.publicKey, secret, context);
  assert.notDeepEqual(a.encapsulation, b.encapsulation);
  assert.notDeepEqual(a.sealed, b.sealed);
});

test("another context or another key pair does not open a wrap", () => {
  const wrap = wrapTo(keyPair.publicKey, new Uint8Array(32), context);
  assert.throws(() => unwrap(keyPair, wrap, utf8("epoch 8 of register population")), altered);
  assert.throws(() => unwrap(keyPair, wrap, new Uint8Array()), altered);
  assert.throws(() => unwrap(kemKeyPairFromSeed(new Uint8Array(32)), wrap, context), altered);
});

test("halves of two wraps do not combine", () => {
  const a = wrapTo(keyPair.publicKey, new Uint8Array(32), context);
  const b = wrapTo(keyPair.publicKey, new Uint8Array(32), context);
  assert.throws(
    () => unwrap(keyPair, { encapsulation: a.encapsulation, sealed: b.sealed }, context),
    altered,
  );
});

test("one altered bit anywhere in a wrap is refused", () => {
  const wrap = wrapTo(keyPair.publicKey, new Uint8Array(32), context);
  fc.assert(
    fc.property(
      fc.constantFrom("encapsulation", "sealed"),
      fc.nat(),
      fc.nat(7),
      (part, at, bit) => {
        const bytes = Uint8Array.from(wrap[part]);
        bytes[at % bytes.length]! ^= 1 << bit;
        assert.throws(() => unwrap(keyPair, { ...wrap, [part]: bytes }, context), altered);
      },
    ),
  );
});

test("an authentic wrap of an impossible length is refused too", () => {
  for (const length of [0, 256 * 1024 + 1]) {
    const { sharedSecret, ciphertext } = kemEncapsulate(keyPair.publicKey);
    const info = concat(utf8("exclave/v1 wrap\0"), context);
    const derived = hkdfSha256(sharedSecret, new Uint8Array(), info, 44);
    const [key, nonce] = [derived.subarray(0, 32), derived.subarray(32)];
    const sealed = seal(key, nonce, context, new Uint8Array(length));
    assert.throws(() => unwrap(keyPair, { encapsulation: ciphertext, sealed }, context), altered);
  }
});

test("impossible lengths are refused, and made by nobody", () => {
  const wrap = wrapTo(keyPair.publicKey, new Uint8Array(32), context);
  for (const length of [0, 16, 256 * 1024 + 17]) {
    assert.throws(
      () => unwrap(keyPair, { ...wrap, sealed: new Uint8Array(length) }, context),
      altered,
    );
  }
  const bug = { code: "bug" };
  assert.throws(() => wrapTo(keyPair.publicKey, new Uint8Array(), context), bug);
  assert.throws(() => wrapTo(keyPair.publicKey, new Uint8Array(256 * 1024 + 1), context), bug);
  assert.throws(() => wrapTo(keyPair.publicKey, new Uint8Array(1), new Uint8Array(513)), bug);
  assert.throws(() => wrapTo(keyPair.publicKey.subarray(1), new Uint8Array(1), context), {
    code: "bad-key",
  });
});
