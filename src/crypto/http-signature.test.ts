import assert from "node:assert/strict";
import { verify } from "node:crypto";
import { test } from "node:test";
import { isExclaveError } from "../errors.ts";
import { fromBase64, utf8 } from "./bytes.ts";
import { sha256 } from "./hash.ts";
import {
  claimedSignature,
  contentDigest,
  isSignedBy,
  type SignedRequest,
  signRequest,
} from "./http-signature.ts";
import { signingKeyFromSeed } from "./signing.ts";

const key = signingKeyFromSeed(new Uint8Array(32).fill(7));
const other = signingKeyFromSeed(new Uint8Array(32).fill(8));
const CREATED = 1_790_000_000;
const request: SignedRequest = {
  method: "PUT",
  target: "/v1/states/ab/objects/statement/cd?x=1",
  site: "5e".repeat(32),
  contentLength: "11",
  contentDigest: contentDigest(sha256(utf8("hello world"))),
};
const read: SignedRequest = {
  method: "GET",
  target: "/v1/states/ab/objects/shard/cd.00",
  site: "5e".repeat(32),
  range: "bytes=0-135",
};

test("the signature is over the base that RFC 9421 describes", () => {
  const headers = signRequest(request, key, CREATED);
  const parameters =
    '("@method" "@request-target" "exclave-site" "content-length" "content-digest")' +
    `;created=${CREATED};keyid="${key.id}";alg="ed25519";tag="exclave/v1"`;
  assert.equal(headers["signature-input"], `exclave=${parameters}`);
  const base = [
    '"@method": PUT',
    `"@request-target": ${request.target}`,
    `"exclave-site": ${request.site}`,
    '"content-length": 11',
    '"content-digest": sha-256=:uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=:',
    `"@signature-params": ${parameters}`,
  ].join("\n");
  const [, signature = ""] = /^exclave=:(.*):$/.exec(headers.signature) ?? [];
  assert.ok(verify(null, utf8(base), key.publicKey.ed25519, fromBase64(signature)));
});

test("a signed request verifies, and tells by whom and when", async () => {
  for (const one of [request, read]) {
    const { "signature-input": input, signature } = signRequest(one, key, CREATED);
    const claimed = claimedSignature(input);
    assert.deepEqual(claimed, { keyId: key.id, created: CREATED });
    assert.equal(await isSignedBy(one, { input, signature }, key.publicKey, claimed), true);
  }
});

test("nothing of a request can be changed, added or left out", async () => {
  for (const one of [request, read]) {
    const { "signature-input": input, signature } = signRequest(one, key, CREATED);
    const claimed = claimedSignature(input);
    const changed: readonly SignedRequest[] = [
      { ...one, method: "DELETE" },
      { ...one, target: `${one.target}0` },
      { ...one, site: "00".repeat(32) },
      { ...one, range: "bytes=0-9999" },
      { ...one, contentLength: "12" },
      { ...one, contentDigest: contentDigest(sha256(utf8("other"))) },
      {
        ...one,
        contentDigest: undefined,
        contentLength: undefined,
        range: undefined,
        method: "HEAD",
      },
    ];
    for (const lie of changed) {
      assert.equal(await isSignedBy(lie, { input, signature }, key.publicKey, claimed), false);
    }
    assert.equal(await isSignedBy(one, { input, signature }, other.publicKey, claimed), false);
    const later = { ...claimed, created: CREATED + 1 };
    assert.equal(await isSignedBy(one, { input, signature }, key.publicKey, later), false);
    const forged = signRequest(one, other, CREATED).signature;
    assert.equal(
      await isSignedBy(one, { input, signature: forged }, key.publicKey, claimed),
      false,
    );
    for (const none of [undefined, "", signature.slice(1), `${signature}, sig2=:AAAA:`]) {
      assert.equal(
        await isSignedBy(one, { input, signature: none }, key.publicKey, claimed),
        false,
      );
    }
  }
});

test("parameters in any other spelling are no signature", () => {
  const { "signature-input": input } = signRequest(request, key, CREATED);
  const spellings = [
    undefined,
    "",
    input.replace("exclave=", "sig1="),
    `${input}, ${input}`,
    `${input};nonce="x"`,
    input.replace(`created=${CREATED}`, `created="${CREATED}"`),
    input.replace(`created=${CREATED}`, "created=-5"),
    input.replace('alg="ed25519"', 'alg="hmac-sha256"'),
    input.replace('tag="exclave/v1"', 'tag="exclave/v2"'),
    input.toUpperCase(),
  ];
  for (const one of spellings) {
    assert.throws(
      () => claimedSignature(one),
      (error) => isExclaveError(error, "untrusted"),
      String(one),
    );
  }
});

test("a header with a line feed is never signed, nor believed", () => {
  const lie = { ...read, range: 'bytes=0-1\n"content-length": 5' };
  assert.throws(
    () => signRequest(lie, key, CREATED),
    (error) => isExclaveError(error, "malformed"),
  );
});
