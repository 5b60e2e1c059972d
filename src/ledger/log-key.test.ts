import assert from "node:assert/strict";
import { test } from "node:test";
import { ed25519 } from "@noble/curves/ed25519.js";
import { ml_dsa44 } from "@noble/post-quantum/ml-dsa.js";
import { fromHex, toHex, utf8 } from "../crypto/bytes.ts";
import { hkdfSha256, sha256 } from "../crypto/hash.ts";
import { exportPublic, importPrivate, ML_DSA_44 } from "../crypto/key-objects.ts";
import { logKeyFromSeed, verifierKeysOf, witnessKeyFromSeed } from "./log-key.ts";
import {
  COSIGNATURE_ED25519,
  COSIGNATURE_ML_DSA_44,
  formatVerifierKey,
  NOTE_ED25519,
  parseVerifierKey,
  verifierKey,
} from "./note.ts";

const seed = new Uint8Array(32).fill(7);
const none = new Uint8Array();

test("noble derives the same two public keys from the same seed", () => {
  const halves = [
    ed25519.keygen(hkdfSha256(seed, none, "exclave/v1 ledger key ed25519", 32)).publicKey,
    ml_dsa44.keygen(hkdfSha256(seed, none, "exclave/v1 ledger key ml-dsa-44", 32)).publicKey,
  ];
  for (const make of [logKeyFromSeed, witnessKeyFromSeed])
    assert.deepEqual(
      verifierKeysOf(make(seed, "a")).map(({ publicBytes }) => toHex(publicBytes)),
      halves.map(toHex),
    );
});

test("a log signs types 0x01 and 0x06, a witness 0x04 and 0x06, under key ids that differ", () => {
  const log = verifierKeysOf(logKeyFromSeed(seed, "a"));
  const witness = verifierKeysOf(witnessKeyFromSeed(seed, "a"));
  assert.deepEqual(
    log.map(({ type }) => type),
    [NOTE_ED25519, COSIGNATURE_ML_DSA_44],
  );
  assert.deepEqual(
    witness.map(({ type }) => type),
    [COSIGNATURE_ED25519, COSIGNATURE_ML_DSA_44],
  );
  assert.notEqual(log[0].id, witness[0].id);
  for (const key of [...log, ...witness]) {
    const digest = sha256(utf8("a\n"), Uint8Array.of(key.type), key.publicBytes);
    assert.equal(key.id.toString(16).padStart(8, "0"), toHex(digest.subarray(0, 4)));
    assert.equal(
      formatVerifierKey(parseVerifierKey(formatVerifierKey(key))),
      formatVerifierKey(key),
    );
  }
});

/** filippo.io/torchwood, cmd/litewitness/testdata/mldsa.txt: the seed there, and the id of its verifier key. */
test("an ML-DSA-44 verifier key of torchwood's has the id that torchwood gives it", () => {
  const torchwood = fromHex("2886adc2b0eabfce67c0472939127998bf886cf256bfee8ba76a253fce1146e0");
  const publicBytes = exportPublic(ML_DSA_44, importPrivate(ML_DSA_44, torchwood));
  const text = formatVerifierKey(
    verifierKey("example.com/mldsa-log", COSIGNATURE_ML_DSA_44, publicBytes),
  );
  assert.ok(text.startsWith("example.com/mldsa-log+b5df45c5+BuhtcL97l3dcitjZ8Y9J54gmQ1TWn/BMF0ye"));
  assert.ok(text.endsWith("p5/tsh4rrcUht4yVIvFAaqsgAAE="));
});

test("a seed of another length, and a name that is no key name, make no key", () => {
  assert.throws(() => logKeyFromSeed(seed.subarray(1), "a"), { code: "bad-key" });
  assert.throws(() => logKeyFromSeed(seed, "a b"), { code: "malformed" });
  assert.throws(() => witnessKeyFromSeed(seed, ""), { code: "malformed" });
});
