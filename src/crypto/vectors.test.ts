/**
 * test/vectors/crypto.json, made by other implementations: whoever changes a label, an order or an
 * encoding breaks this.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { z } from "zod";
import { keyCommitment } from "./aead.ts";
import { fromHex, fromUtf8, toHex, utf8 } from "./bytes.ts";
import { envelopeId, openEnvelope, signEnvelope } from "./dsse.ts";
import { hkdfSha256, sha256 } from "./hash.ts";
import { kemDecapsulate, kemKeyPairFromSeed } from "./kem.ts";
import { openKeyFile } from "./key-file.ts";
import { signingKeyFromSeed, verify } from "./signing.ts";
import { parseStrictJson } from "./strict-json.ts";
import { unwrap } from "./wrap.ts";

const hex = z.string().transform((text) => fromHex(text));
const text = z.string().transform((value) => utf8(value));

const vectors = z
  .strictObject({
    comment: z.string(),
    kem: z.strictObject({
      seed: hex,
      publicKeySha256: z.string(),
      ciphertext: hex,
      sharedSecret: hex,
    }),
    wrap: z.strictObject({
      kemSeed: hex,
      contextText: text,
      encapsulation: hex,
      sealed: hex,
      secret: hex,
    }),
    signing: z.strictObject({
      seed: hex,
      publicKeySha256: z.string(),
      keyId: z.string(),
      messageText: text,
      signature: hex,
    }),
    keyCommitment: z.strictObject({ key: hex, contextText: text, commitment: hex }),
    hkdf: z.strictObject({
      key: hex,
      salt: hex,
      infoText: z.string(),
      length: z.int(),
      output: hex,
    }),
    dsse: z.strictObject({
      signingSeed: hex,
      payloadType: z.string(),
      payloadText: text,
      envelopeText: text,
      envelopeId: z.string(),
    }),
    keyFile: z.strictObject({ passphrase: z.string(), fileText: text, contents: hex }),
  })
  .parse(parseStrictJson(readFileSync(new URL("../../test/vectors/crypto.json", import.meta.url))));

test("vector: KEM public key from seed, and decapsulation", () => {
  const { seed, publicKeySha256, ciphertext, sharedSecret } = vectors.kem;
  const keyPair = kemKeyPairFromSeed(seed);
  assert.equal(toHex(sha256(keyPair.publicKey)), publicKeySha256);
  assert.deepEqual(kemDecapsulate(keyPair, ciphertext), sharedSecret);
});

test("vector: unwrapping", () => {
  const { kemSeed, contextText, encapsulation, sealed, secret } = vectors.wrap;
  assert.deepEqual(
    unwrap(kemKeyPairFromSeed(kemSeed), { encapsulation, sealed }, contextText),
    secret,
  );
});

test("vector: signing key from seed, key id, and a signature", () => {
  const { seed, publicKeySha256, keyId, messageText, signature } = vectors.signing;
  const key = signingKeyFromSeed(seed);
  assert.equal(toHex(sha256(key.publicKey.bytes)), publicKeySha256);
  assert.equal(key.id, keyId);
  assert.equal(verify(key.publicKey, messageText, signature), true);
});

test("vector: key commitment and HKDF", () => {
  const { key, contextText, commitment } = vectors.keyCommitment;
  assert.deepEqual(keyCommitment(key, contextText), commitment);
  const { hkdf } = vectors;
  assert.deepEqual(hkdfSha256(hkdf.key, hkdf.salt, hkdf.infoText, hkdf.length), hkdf.output);
});

test("vector: a signed envelope, and the layout of ours", () => {
  const { signingSeed, payloadType, payloadText, envelopeText, envelopeId: id } = vectors.dsse;
  const key = signingKeyFromSeed(signingSeed);
  const opened = openEnvelope(envelopeText, payloadType, new Map([[key.id, key.publicKey]]));
  assert.deepEqual(opened, { payload: payloadText, keyIds: [key.id] });
  assert.equal(envelopeId(envelopeText), id);
  const withoutSignature = (bytes: Uint8Array) => fromUtf8(bytes).replace(/"sig":"[^"]*"/, "");
  const ours = signEnvelope(payloadType, payloadText, [key]);
  assert.equal(withoutSignature(ours), withoutSignature(envelopeText));
});

test("vector: a key file", async () => {
  const { passphrase, fileText, contents } = vectors.keyFile;
  assert.deepEqual(await openKeyFile(fileText, passphrase), contents);
});
