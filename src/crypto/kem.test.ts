import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { p384 } from "@noble/curves/nist.js";
import { ml_kem1024_p384 as noble } from "@noble/post-quantum/hybrid.js";
import fc from "fast-check";
import { plain, toHex } from "./bytes.ts";
import {
  checkKemPublicKey,
  KEM_CIPHERTEXT_BYTES,
  kemDecapsulate,
  kemEncapsulate,
  kemKeyPairFromSeed,
} from "./kem.ts";

const seeds = Array.from({ length: 8 }, () => plain(randomBytes(32)));

test("the same seed gives the same public key as @noble/post-quantum", () => {
  for (const seed of seeds) {
    assert.deepEqual(kemKeyPairFromSeed(seed).publicKey, noble.keygen(seed).publicKey, toHex(seed));
  }
});

test("noble decapsulates what we encapsulate, and we what noble encapsulates", () => {
  for (const seed of seeds) {
    const keyPair = kemKeyPairFromSeed(seed);
    const ours = kemEncapsulate(keyPair.publicKey);
    assert.deepEqual(noble.decapsulate(ours.ciphertext, seed), ours.sharedSecret, toHex(seed));
    assert.deepEqual(kemDecapsulate(keyPair, ours.ciphertext), ours.sharedSecret);
    const theirs = noble.encapsulate(keyPair.publicKey);
    assert.deepEqual(kemDecapsulate(keyPair, theirs.cipherText), theirs.sharedSecret, toHex(seed));
  }
});

test("an altered ciphertext is refused or gives another secret, whichever half it hits", () => {
  const keyPair = kemKeyPairFromSeed(seeds[0]!);
  const { sharedSecret, ciphertext } = kemEncapsulate(keyPair.publicKey);
  fc.assert(
    fc.property(fc.nat(KEM_CIPHERTEXT_BYTES - 1), fc.nat(7), (at, bit) => {
      const altered = Uint8Array.from(ciphertext);
      altered[at]! ^= 1 << bit;
      if (at >= 1568) assert.throws(() => kemDecapsulate(keyPair, altered), { code: "altered" });
      else assert.notDeepEqual(kemDecapsulate(keyPair, altered), sharedSecret);
    }),
  );
});

test("another valid point in the ciphertext gives another secret, its mirror image included", () => {
  const keyPair = kemKeyPairFromSeed(seeds[0]!);
  const { sharedSecret, ciphertext } = kemEncapsulate(keyPair.publicKey);
  // -P has the same x coordinate of the shared point; only the combiner's ct_T tells them apart.
  const mirrored = p384.Point.fromBytes(ciphertext.subarray(1568)).negate().toBytes(false);
  const altered = Uint8Array.from(ciphertext);
  altered.set(mirrored, 1568);
  assert.notDeepEqual(kemDecapsulate(keyPair, altered), sharedSecret);
});

test("wrong lengths and invalid keys are refused before anything is computed", () => {
  const keyPair = kemKeyPairFromSeed(seeds[0]!);
  const { publicKey } = keyPair;
  const badKey = { code: "bad-key" };
  const offCurve = Uint8Array.from(publicKey);
  offCurve[offCurve.length - 1]! ^= 1;
  const outOfRange = Uint8Array.from(publicKey);
  outOfRange.set([0xff, 0xff, 0xff]);
  for (const bad of [new Uint8Array(), publicKey.subarray(1), offCurve, outOfRange]) {
    assert.throws(() => kemEncapsulate(bad), badKey);
    assert.throws(() => checkKemPublicKey(bad), badKey);
  }
  checkKemPublicKey(publicKey);
  assert.throws(() => kemKeyPairFromSeed(new Uint8Array(31)), badKey);
  for (const length of [0, KEM_CIPHERTEXT_BYTES - 1, KEM_CIPHERTEXT_BYTES + 1]) {
    assert.throws(() => kemDecapsulate(keyPair, new Uint8Array(length)), { code: "altered" });
  }
});
