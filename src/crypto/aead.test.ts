import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { aes256ctr, aes256ctrInto, keyCommitment, open, openInto, seal, sealInto } from "./aead.ts";
import { fromHex, toHex, utf8 } from "./bytes.ts";

const key = new Uint8Array(32).fill(1);
const nonce = new Uint8Array(12).fill(2);
const aad = utf8("aad");

test("AES-256-GCM matches test case 16 of the GCM specification (McGrew and Viega)", () => {
  const k = fromHex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
  const iv = fromHex("cafebabefacedbaddecaf888");
  const a = fromHex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
  const plaintext = fromHex(
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c9595680953" +
      "2fcf0e2449a6b525b16aedf5aa0de657ba637b39",
  );
  assert.equal(
    toHex(seal(k, iv, a, plaintext)),
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3d" +
      "a7b08b1056828838c5f61e6393ba7a0abcc9f662" +
      "76fc6ece0f4e1768cddf8853bb2d551b",
  );
});

test("AES-256-CTR matches SP 800-38A, F.5.5, and is its own inverse", () => {
  const k = fromHex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
  const iv = fromHex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
  const plaintext = fromHex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
  const out = aes256ctr(k, iv, plaintext);
  assert.equal(toHex(out), "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5");
  assert.deepEqual(aes256ctr(k, iv, out), plaintext);
});

test("what is sealed opens, at the sizes around a piece, and in place", () => {
  for (const length of [0, 1, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 1024 * 1024]) {
    const plaintext = new Uint8Array(randomBytes(length));
    const inPlace = new Uint8Array(length + 16);
    inPlace.set(plaintext);
    assert.equal(sealInto(inPlace, key, nonce, aad, inPlace.subarray(0, length)), length + 16);
    assert.deepEqual(inPlace, seal(key, nonce, aad, plaintext));
    assert.deepEqual(open(key, nonce, aad, inPlace), plaintext);
    const iv = new Uint8Array(16);
    const counted = Uint8Array.from(plaintext);
    aes256ctrInto(counted, key, iv, counted);
    assert.deepEqual(counted, aes256ctr(key, iv, plaintext));
  }
});

test("one altered bit in ciphertext, tag, key, nonce or AAD is refused", () => {
  const sealed = seal(key, nonce, aad, utf8("the register"));
  const inputs = [key, nonce, aad, sealed];
  fc.assert(
    fc.property(fc.nat(3), fc.nat(), fc.nat(7), (which, at, bit) => {
      const copies = inputs.map((input) => Uint8Array.from(input));
      const copy = copies[which]!;
      copy[at % copy.length]! ^= 1 << bit;
      const [k, n, a, s] = copies;
      assert.throws(() => open(k!, n!, a!, s!), { code: "altered" });
    }),
  );
});

test("a cut or lengthened message, or one shorter than a tag, is refused", () => {
  const sealed = seal(key, nonce, aad, utf8("the register"));
  for (const length of [0, 4, 15, 16, sealed.length - 1]) {
    assert.throws(() => open(key, nonce, aad, sealed.subarray(0, length)), { code: "altered" });
  }
  assert.throws(() => open(key, nonce, aad, new Uint8Array([...sealed, 0])), { code: "altered" });
});

test("a refused message leaves no unauthenticated plaintext in the target", () => {
  const sealed = seal(key, nonce, aad, utf8("the register"));
  sealed[0]! ^= 1;
  const target = new Uint8Array(20).fill(9);
  assert.throws(() => openInto(target, key, nonce, aad, sealed), { code: "altered" });
  assert.deepEqual(target, new Uint8Array([...new Uint8Array(12), ...new Uint8Array(8).fill(9)]));
});

test("wrong sizes of keys, nonces and targets are mistakes of ours", () => {
  const bug = { code: "bug" };
  const short = new Uint8Array(16);
  assert.throws(() => seal(short, nonce, aad, aad), bug);
  assert.throws(() => seal(key, short, aad, aad), bug);
  assert.throws(() => open(short, nonce, aad, short), bug);
  assert.throws(() => sealInto(new Uint8Array(18), key, nonce, aad, aad), bug);
  assert.throws(
    () => openInto(new Uint8Array(2), key, nonce, aad, seal(key, nonce, aad, aad)),
    bug,
  );
  assert.throws(() => aes256ctr(key, nonce, aad), bug);
  assert.throws(() => aes256ctrInto(new Uint8Array(2), key, short, aad), bug);
  assert.throws(() => keyCommitment(short, aad), bug);
});

test("a key commitment differs for another key and another context", () => {
  const other = new Uint8Array(32).fill(3);
  const all = [keyCommitment(key, aad), keyCommitment(other, aad), keyCommitment(key, utf8("b"))];
  assert.equal(new Set(all.map(toHex)).size, 3);
  assert.equal(all[0]?.length, 32);
});
