/**
 * Wycheproof's vectors, for what src/crypto/ composes, and the fixed cases of transparency-dev/merkle
 * that src/ledger/merkle.test.ts has not. Where a vector goes through a function of ours, that function
 * runs; else node:crypto, called as ours call it. Every test counts its cases, by what comes out, so
 * that neither a lost file nor a lost check passes.
 */
import assert from "node:assert/strict";
import { createHash, decapsulate, hash, sign, verify } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { ml_dsa44, ml_dsa87 } from "@noble/post-quantum/ml-dsa.js";
import { AEAD_NONCE_BYTES, open, seal } from "../src/crypto/aead.ts";
import { concat, equalConstantTime, fromHex, toHex, utf8 } from "../src/crypto/bytes.ts";
import { hkdfSha256, hmacSha256 } from "../src/crypto/hash.ts";
import {
  type KemKeyPair,
  kemDecapsulate,
  kemEncapsulate,
  kemKeyPairFromSeed,
} from "../src/crypto/kem.ts";
import {
  ED25519,
  exportPublic,
  importPrivate,
  importPublic,
  ML_DSA_44,
  ML_DSA_87,
  ML_KEM_1024,
  P384,
} from "../src/crypto/key-objects.ts";
import { checkSignature } from "../src/ledger/cosignature.ts";
import { EMPTY_ROOT, leafHash, verifyConsistency, verifyInclusion } from "../src/ledger/merkle.ts";
import { NOTE_ED25519, verifierKey } from "../src/ledger/note.ts";

interface Case {
  readonly tcId: number;
  readonly result: "valid" | "invalid" | "acceptable";
  readonly flags: readonly string[];
}

function wycheproof<T>(name: string): readonly T[] {
  const url = new URL(`vectors/wycheproof/${name}.json`, import.meta.url);
  return (JSON.parse(readFileSync(url, "utf8")) as { tests: readonly T[] }).tests;
}

/** How many cases came out how. */
class Tally {
  readonly counts: Record<string, number> = {};

  add(outcome: string): void {
    this.counts[outcome] = (this.counts[outcome] ?? 0) + 1;
  }
}

test("Wycheproof: AES-256-GCM seals and opens, and refuses what was altered", () => {
  type Aead = Case & Readonly<Record<"key" | "iv" | "aad" | "msg" | "ct" | "tag", string>>;
  const tally = new Tally();
  for (const { tcId, result, key, iv, aad, msg, ct, tag } of wycheproof<Aead>("aes-256-gcm")) {
    const named = [fromHex(key), fromHex(iv), fromHex(aad)] as const;
    const sealed = fromHex(ct + tag);
    if (named[1].byteLength !== AEAD_NONCE_BYTES) {
      // Other nonces than of 12 bytes go through GHASH, where two can collide: ours are always 12.
      assert.throws(() => seal(...named, fromHex(msg)), { code: "bug" }, `${tcId}`);
      assert.throws(() => open(...named, sealed), { code: "bug" }, `${tcId}`);
      tally.add(`${result}, nonce refused`);
    } else if (result === "valid") {
      assert.equal(toHex(seal(...named, fromHex(msg))), ct + tag, `${tcId}`);
      assert.equal(toHex(open(...named, sealed)), msg, `${tcId}`);
      tally.add("opened");
    } else {
      assert.throws(() => open(...named, sealed), { code: "altered" }, `${tcId}`);
      tally.add("altered");
    }
  }
  assert.deepEqual(tally.counts, {
    opened: 21,
    altered: 27,
    "valid, nonce refused": 25,
    "acceptable, nonce refused": 10,
    "invalid, nonce refused": 2,
  });
});

test("Wycheproof: HMAC-SHA-256 is the tag, and no altered tag equals it", () => {
  type Mac = Case & Readonly<Record<"key" | "msg" | "tag", string>>;
  const tally = new Tally();
  for (const { tcId, result, key, msg, tag } of wycheproof<Mac>("hmac-sha256")) {
    const same = equalConstantTime(hmacSha256(fromHex(key), fromHex(msg)), fromHex(tag));
    assert.equal(same, result === "valid", `${tcId}`);
    tally.add(result);
  }
  assert.deepEqual(tally.counts, { valid: 33, invalid: 54 });
});

test("Wycheproof: HKDF-SHA-256 derives, and gives no more than 8160 bytes", () => {
  type Hkdf = Case &
    Readonly<Record<"ikm" | "salt" | "info" | "okm", string>> & { readonly size: number };
  const tally = new Tally();
  for (const { tcId, result, ikm, salt, info, size, okm } of wycheproof<Hkdf>("hkdf-sha256")) {
    const derive = () => hkdfSha256(fromHex(ikm), fromHex(salt), fromHex(info), size);
    if (result === "valid") assert.equal(toHex(derive()), okm, `${tcId}`);
    else assert.throws(derive, { code: "bug" }, `${tcId}`);
    tally.add(result);
  }
  assert.deepEqual(tally.counts, { valid: 102, invalid: 3 });
});

test("Wycheproof: the P-384 half of the KEM agrees, and refuses what is no point", () => {
  type Ecdh = Case & Readonly<Record<"public" | "private" | "shared", string>>;
  const pair = kemKeyPairFromSeed(new Uint8Array(32).fill(7));
  const { ciphertext } = kemEncapsulate(pair.publicKey);
  const ciphertextMlKem = ciphertext.subarray(0, ciphertext.byteLength - P384.publicBytes);
  const secretMlKem = decapsulate(pair.mlKem1024, ciphertextMlKem);
  const tally = new Tally();
  for (const one of wycheproof<Ecdh>("ecdh-p384")) {
    // Theirs are numbers, of any length; ours have 48 bytes.
    const p384 = importPrivate(P384, fromHex(one.private.replace(/^(00)+/, "").padStart(96, "0")));
    const publicP384 = exportPublic(P384, p384);
    const publicKey = concat(pair.publicKey.subarray(0, ML_KEM_1024.publicBytes), publicP384);
    const keyPair: KemKeyPair = { publicKey, mlKem1024: pair.mlKem1024, p384 };
    const point = fromHex(one.public);
    const opened = () => kemDecapsulate(keyPair, concat(ciphertextMlKem, point));
    if (one.result === "valid") {
      const label = utf8("MLKEM1024-P384");
      const input = concat(secretMlKem, fromHex(one.shared), point, publicP384, label);
      assert.equal(toHex(opened()), hash("sha3-256", input), `${one.tcId}`);
      tally.add("agreed");
    } else {
      // Compressed points, the acceptable ones, are a second spelling of the same key.
      assert.throws(() => importPublic(P384, point), { code: "bad-key" }, `${one.tcId}`);
      assert.throws(opened, { code: "altered" }, `${one.tcId}`);
      tally.add(`${one.result}, refused`);
    }
  }
  assert.deepEqual(tally.counts, {
    agreed: 163,
    "acceptable, refused": 1,
    "invalid, refused": 18,
  });
});

test("Wycheproof: Ed25519 signs, verifies, and refuses what is malleable or cut", () => {
  type Eddsa = Case & Readonly<Record<"pk" | "msg" | "sig", string>> & { readonly sk?: string };
  const tally = new Tally();
  for (const { tcId, result, pk, sk, msg, sig } of wycheproof<Eddsa>("ed25519")) {
    const [message, signature] = [fromHex(msg), fromHex(sig)];
    const key = importPublic(ED25519, fromHex(pk));
    assert.equal(verify(null, message, key, signature), result === "valid", `${tcId}`);
    tally.add(result);
    if (sk !== undefined) {
      const secret = importPrivate(ED25519, fromHex(sk));
      assert.equal(toHex(exportPublic(ED25519, secret)), pk, `${tcId}`);
      assert.equal(sign(null, message, secret).toString("hex"), sig, `${tcId}`);
      tally.add("signed");
    }
    // What is text can also be the text of a note.
    const text = Buffer.from(message).toString("utf8");
    if (Buffer.compare(utf8(text), message) !== 0) continue;
    const noteKey = verifierKey("wycheproof", NOTE_ED25519, fromHex(pk));
    const expected = result === "valid" ? 0 : undefined;
    assert.equal(checkSignature(noteKey, text, signature), expected, `${tcId}`);
    tally.add(`${result}, as a note`);
  }
  assert.deepEqual(tally.counts, {
    valid: 84,
    signed: 84,
    "valid, as a note": 22,
    invalid: 62,
    "invalid, as a note": 62,
  });
});

test("Wycheproof: an ML-KEM-1024 ciphertext that differs after a zero byte is rejected, implicitly", () => {
  type Kem = Case & Readonly<Record<"seed" | "c" | "K", string>>;
  const cases = wycheproof<Kem>("ml-kem-1024");
  for (const { seed, c, K } of cases) {
    const key = importPrivate(ML_KEM_1024, fromHex(seed));
    assert.equal(decapsulate(key, fromHex(c)).toString("hex"), K);
  }
  assert.equal(cases.length, 1);
});

/** `hints` is omega, the room for hints, which `counters` follow: one for each of k polynomials (FIPS 204). */
const SIGNERS = {
  "ML-DSA-44": { form: ML_DSA_44, noble: ml_dsa44, hints: 80, counters: 4 },
  "ML-DSA-87": { form: ML_DSA_87, noble: ml_dsa87, hints: 75, counters: 8 },
} as const;

interface MlDsaCase
  extends Readonly<Record<"comment" | "seed" | "msg" | "mu" | "challenge", string>> {
  readonly tcId: number;
  readonly parameterSet: keyof typeof SIGNERS;
}

/** Node signs with fresh randomness; this is the published signature, of which `challenge` is the first field. */
function publishedSignature({ parameterSet, seed, msg, challenge, tcId }: MlDsaCase): Uint8Array {
  const { noble } = SIGNERS[parameterSet];
  const { secretKey } = noble.keygen(fromHex(seed));
  const signature = noble.sign(fromHex(msg), secretKey, { extraEntropy: false });
  assert.ok(toHex(signature).startsWith(challenge), `${parameterSet} ${tcId}`);
  return signature;
}

/** FIPS 204, Algorithm 7, line 6, with the prefix of Algorithm 2 for an empty context. */
function representative(publicKey: Uint8Array, message: Uint8Array): string {
  const shake = (...parts: Uint8Array[]) =>
    createHash("shake256", { outputLength: 64 })
      .update(concat(...parts))
      .digest();
  return shake(shake(publicKey), Uint8Array.of(0, 0), message).toString("hex");
}

test("Wycheproof: ML-DSA keys come from their seeds, and verify what took many rounds to sign", () => {
  const tally = new Tally();
  for (const one of wycheproof<MlDsaCase>("ml-dsa")) {
    const { form } = SIGNERS[one.parameterSet];
    const message = fromHex(one.msg);
    const secret = importPrivate(form, fromHex(one.seed));
    const publicBytes = exportPublic(form, secret);
    const name = `${one.parameterSet} ${one.tcId}`;
    // It hashes all of the public key with the message.
    assert.equal(representative(publicBytes, message), one.mu, name);
    const key = importPublic(form, publicBytes);
    const signature = publishedSignature(one);
    assert.equal(verify(null, message, key, signature), true, name);
    assert.equal(verify(null, message, key, sign(null, message, secret)), true, name);
    assert.equal(verify(null, concat(message, message), key, signature), false, name);
    tally.add(one.parameterSet);
  }
  assert.deepEqual(tally.counts, { "ML-DSA-44": 7, "ML-DSA-87": 3 });
});

test("Wycheproof: ML-DSA signatures have one form, in the ways that its invalid ones differ", () => {
  const baselines = wycheproof<MlDsaCase>("ml-dsa").filter(({ tcId }) => tcId === 1);
  for (const one of baselines) {
    const { form, hints, counters } = SIGNERS[one.parameterSet];
    const message = fromHex(one.msg);
    const publicBytes = exportPublic(form, importPrivate(form, fromHex(one.seed)));
    const key = importPublic(form, publicBytes);
    const good = publishedSignature(one);
    const hintsAt = good.byteLength - counters - hints;
    const altered = (alter: (bytes: Uint8Array) => void): Uint8Array => {
      const copy = Uint8Array.from(good);
      alter(copy);
      return copy;
    };
    const refused: Record<string, Uint8Array> = {
      "IncorrectSignatureLength, short": good.subarray(0, -1),
      "IncorrectSignatureLength, long": concat(good, Uint8Array.of(0)),
      "IncorrectSignatureLength, empty": new Uint8Array(),
      "InvalidHintsEncoding, out of order": altered((bytes) => {
        bytes.subarray(hintsAt, hintsAt + 2).reverse();
      }),
      "InvalidHintsEncoding, one twice": altered((bytes) => {
        bytes[hintsAt + 1] = bytes[hintsAt]!;
      }),
      "InvalidHintsEncoding, padding": altered((bytes) => {
        bytes[hintsAt + hints - 1] = 1;
      }),
      "InvalidHintsEncoding, too many": altered((bytes) => {
        bytes[bytes.byteLength - 1] = hints + 1;
      }),
      InfinityNormViolation: altered((bytes) => {
        bytes.fill(0, one.challenge.length / 2, hintsAt);
      }),
      "ModifiedSignature, first bit": altered((bytes) => {
        bytes[0]! ^= 1;
      }),
      "ModifiedSignature, last bit": altered((bytes) => {
        bytes[hintsAt - 1]! ^= 0x80;
      }),
    };
    // Else the first polynomial has no two hints to swap, or the last place for one is taken.
    assert.ok(good[hintsAt + hints]! >= 2 && good.at(-1)! < hints);
    assert.equal(verify(null, message, key, good), true);
    for (const [name, signature] of Object.entries(refused))
      assert.equal(verify(null, message, key, signature), false, `${one.parameterSet} ${name}`);
    // IncorrectPublicKeyLength
    for (const bytes of [publicBytes.subarray(0, -1), concat(publicBytes, Uint8Array.of(0))])
      assert.throws(() => importPublic(form, bytes), { code: "bad-key" });
  }
  assert.equal(baselines.length, 2);
});

test("transparency-dev/merkle: a single entry has its own hash as root, and only that", () => {
  const entry = leafHash(utf8("data"));
  const none = new Uint8Array();
  for (const [root, leaf, good] of [
    [entry, entry, true],
    [entry, none, false],
    [none, entry, false],
    [none, none, false],
  ] as const)
    assert.equal(verifyInclusion(leaf, 0, 1, [], root), good);
});

test("transparency-dev/merkle: nothing is included in a tree that is too small for it", () => {
  const some = fromHex("abacaba000000000000000000000000000000000000000000060061e00123456");
  const none = new Uint8Array();
  for (const [index, size] of [
    [0, 0],
    [0, 1],
    [1, 0],
    [2, 1],
  ] as const)
    for (const [leaf, root] of [
      [some, none],
      [none, EMPTY_ROOT],
      [some, EMPTY_ROOT],
    ] as const)
      assert.equal(verifyInclusion(leaf, index, size, [], root), false, `${index} of ${size}`);
});

test("transparency-dev/merkle: trees whose hashes are no hashes are not consistent", () => {
  const [one, two] = [utf8("don't care 1"), utf8("don't care 2")];
  const proof = [EMPTY_ROOT];
  for (const [from, to, oldRoot, newRoot, hashes] of [
    [0, 0, one, two, []],
    [1, 1, one, two, []],
    // These three verify there, where the length of a root and the root of no leaves are not checked.
    [0, 0, one, one, []],
    [0, 1, one, two, []],
    [1, 1, two, two, []],
    [1, 0, one, two, []],
    [2, 1, one, two, []],
    [1, 2, one, two, []],
    [0, 0, EMPTY_ROOT, two, []],
    [1, 1, EMPTY_ROOT, two, []],
    [0, 0, EMPTY_ROOT, EMPTY_ROOT, proof],
    [0, 1, EMPTY_ROOT, EMPTY_ROOT, proof],
    [1, 1, EMPTY_ROOT, EMPTY_ROOT, proof],
  ] as [number, number, Uint8Array, Uint8Array, Uint8Array[]][])
    assert.equal(verifyConsistency(from, oldRoot, to, newRoot, hashes), false, `${from} to ${to}`);
});
