/**
 * The Community Cryptography Test Vectors (c2sp.org/CCTV), as far as they apply: Ed25519's edge cases,
 * ML-KEM-1024, ML-DSA, and age files under a passphrase. SLOW runs the longest of them too, for a minute.
 */
import assert from "node:assert/strict";
import { createHash, decapsulate, verify } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { ml_dsa44, ml_dsa87 } from "@noble/post-quantum/ml-dsa.js";
import { ml_kem1024 } from "@noble/post-quantum/ml-kem.js";
import { armor } from "age-encryption";
import { fromBase64, fromHex, fromUtf8, toHex, utf8 } from "../src/crypto/bytes.ts";
import { sha256 } from "../src/crypto/hash.ts";
import { openKeyFile } from "../src/crypto/key-file.ts";
import {
  ED25519,
  exportPublic,
  importPrivate,
  importPublic,
  ML_DSA_44,
  ML_DSA_87,
  ML_KEM_1024,
} from "../src/crypto/key-objects.ts";

function cctv<T>(name: string): T {
  const url = new URL(`vectors/cctv/${name}.json`, import.meta.url);
  return JSON.parse(readFileSync(url, "utf8")) as T;
}

test("CCTV: of Ed25519's edge cases no key of small order is read, and R and S have one form", () => {
  interface Edge {
    readonly number: number;
    readonly key: string;
    readonly sig: string;
    readonly msg: string;
    readonly flags: readonly string[];
  }
  const counts = { refusedKey: 0, verified: 0, refusedSignature: 0, left: 0 };
  for (const { number, key, sig, msg, flags } of cctv<{ tests: Edge[] }>("ed25519").tests) {
    const has = (flag: string) => flags.includes(flag);
    if (has("low_order_A")) {
      // Under such a key one signature fits many messages; not every OpenSSL refuses it.
      assert.throws(() => importPublic(ED25519, fromHex(key)), { code: "bad-key" }, `${number}`);
      counts.refusedKey++;
      continue;
    }
    const readKey = importPublic(ED25519, fromHex(key));
    const good = verify(null, utf8(msg), readKey, fromHex(sig));
    if (has("non_canonical_R") || has("low_order_residue")) {
      assert.equal(good, false, `${number}`);
      counts.refusedSignature++;
    } else if (has("low_order_R")) {
      // Only the key's holder can make these. OpenSSL 3.5 refuses them and 3.0 does not.
      counts.left++;
    } else {
      assert.equal(good, true, `${number}`);
      counts.verified++;
    }
  }
  assert.deepEqual(counts, {
    refusedKey: 38,
    verified: 3,
    refusedSignature: 16,
    left: 3,
  });
});

test("CCTV: none of the 14 encodings of Ed25519's points of small order is read as a key", () => {
  const { smallOrderPoints } = cctv<{ smallOrderPoints: string[] }>("ed25519");
  for (const point of smallOrderPoints)
    assert.throws(() => importPublic(ED25519, fromHex(point)), { code: "bad-key" }, point);
  assert.equal(new Set(smallOrderPoints).size, 14);
});

interface PostQuantum {
  readonly unluckySample: Readonly<Record<"d" | "z" | "m" | "K" | "cBegins" | "cEnds", string>>;
  readonly accumulated: readonly {
    readonly parameterSet: "ML-DSA-44" | "ML-DSA-87" | "ML-KEM-1024";
    readonly iterations: number;
    readonly hash: string;
  }[];
}
const { unluckySample, accumulated } = cctv<PostQuantum>("post-quantum");
assert.equal(accumulated.length, 3);

test("CCTV: ML-KEM-1024 with a matrix that takes unusually many bytes to sample", () => {
  const { d, z, m, K, cBegins, cEnds } = unluckySample;
  const key = importPrivate(ML_KEM_1024, fromHex(d + z));
  // Node encapsulates with fresh randomness; noble makes the published ciphertext, and Node checks
  // all of it when it encrypts again.
  const { cipherText } = ml_kem1024.encapsulate(exportPublic(ML_KEM_1024, key), fromHex(m));
  assert.ok(toHex(cipherText).startsWith(cBegins));
  assert.ok(toHex(cipherText).endsWith(cEnds));
  assert.equal(decapsulate(key, cipherText).toString("hex"), K);
});

/** Reads the first bytes of SHAKE128 over nothing in turn; Node gives them only all at once. */
function reader(bytes: number): (length: number) => Uint8Array {
  const stream = createHash("shake128", { outputLength: bytes }).digest();
  let at = 0;
  return (length) => {
    at += length;
    return stream.subarray(at - length, at);
  };
}

function accumulateMlDsa(parameterSet: "ML-DSA-44" | "ML-DSA-87", iterations: number): string {
  const [form, noble] =
    parameterSet === "ML-DSA-44"
      ? ([ML_DSA_44, ml_dsa44] as const)
      : ([ML_DSA_87, ml_dsa87] as const);
  const next = reader(32 * iterations);
  const result = createHash("shake128", { outputLength: 32 });
  for (let i = 0; i < iterations; i++) {
    const seed = next(32);
    const publicBytes = exportPublic(form, importPrivate(form, seed));
    const message = new Uint8Array();
    const secret = noble.keygen(seed).secretKey;
    const signature = noble.sign(message, secret, { extraEntropy: false });
    result.update(publicBytes).update(signature);
    assert.ok(verify(null, message, importPublic(form, publicBytes), signature), `${i}`);
  }
  return result.digest("hex");
}

function accumulateMlKem(iterations: number): string {
  const next = reader((64 + 32 + 1568) * iterations);
  const result = createHash("shake128", { outputLength: 32 });
  for (let i = 0; i < iterations; i++) {
    const seed = next(64);
    const key = importPrivate(ML_KEM_1024, seed);
    const publicBytes = exportPublic(ML_KEM_1024, key);
    const { cipherText, sharedSecret } = ml_kem1024.encapsulate(publicBytes, next(32));
    assert.equal(toHex(decapsulate(key, cipherText)), toHex(sharedSecret), `${i}`);
    result.update(publicBytes).update(ml_kem1024.keygen(seed).secretKey);
    result
      .update(cipherText)
      .update(sharedSecret)
      .update(decapsulate(key, next(1568)));
  }
  return result.digest("hex");
}

const ITERATIONS_MAX = process.env.SLOW ? 10_000 : 100;

for (const { parameterSet, iterations, hash } of accumulated)
  test(`CCTV: ${iterations} accumulated ${parameterSet} keys, with what is made under them`, {
    skip: iterations > ITERATIONS_MAX && "only with SLOW",
  }, () => {
    const result =
      parameterSet === "ML-KEM-1024"
        ? accumulateMlKem(iterations)
        : accumulateMlDsa(parameterSet, iterations);
    assert.equal(result, hash);
  });

test("CCTV: age files open with their passphrase, and none that is malformed or for a key", async () => {
  interface Age {
    readonly name: string;
    readonly expect: string;
    readonly armored: boolean;
    readonly passphrases: readonly string[];
    readonly payloadSha256?: string;
    readonly file: string;
  }
  const { tests } = cctv<{ tests: Age[] }>("age");
  let opened = 0;
  for (const { name, expect, armored, passphrases, payloadSha256, file: base64 } of tests) {
    const file = fromBase64(base64);
    if (armored) {
      const decode = () => armor.decode(fromUtf8(file));
      if (expect === "armor failure") assert.throws(decode, name);
      else assert.doesNotThrow(decode, name);
    }
    // Files for an X25519 identity, good ones too, are for no passphrase.
    for (const passphrase of passphrases.length > 0 ? passphrases : ["password"]) {
      const outcome = await openKeyFile(file, passphrase).then(
        (contents) => toHex(sha256(contents)),
        (error: { readonly code?: string }) => error.code,
      );
      let expected = "bad-key";
      if (expect === "success" && passphrases.length > 0) {
        expected = payloadSha256!;
        opened++;
      }
      // The stanza of scrypt_uppercase is of an unknown type, so there is nothing that a passphrase fits.
      if (expect === "no match" && passphrases.length > 0 && name !== "scrypt_uppercase")
        expected = "wrong-passphrase";
      assert.equal(outcome, expected, name);
    }
  }
  assert.deepEqual([tests.length, opened], [56, 2]);
});
