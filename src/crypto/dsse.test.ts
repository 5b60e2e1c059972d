import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { isExclaveError } from "../errors.ts";
import { fromUtf8, plain, toBase64, toHex, utf8 } from "./bytes.ts";
import { envelopeId, openEnvelope, preAuthEncoding, signEnvelope } from "./dsse.ts";
import { sha256 } from "./hash.ts";
import { sign, signingKeyFromSeed } from "./signing.ts";

const TYPE = "application/vnd.exclave.test.v1+json";
const [alice, bob, mallory] = [1, 2, 3].map((n) =>
  signingKeyFromSeed(new Uint8Array(32).fill(n)),
) as [
  ReturnType<typeof signingKeyFromSeed>,
  ReturnType<typeof signingKeyFromSeed>,
  ReturnType<typeof signingKeyFromSeed>,
];
const trusted = new Map([alice, bob].map((key) => [key.id, key.publicKey]));
const payload = utf8('{"kind":"test"}');

interface Json {
  payloadType: string;
  payload: string;
  signatures: { keyid: string; sig: string }[];
}
const edit = (bytes: Uint8Array, change: (json: Json) => unknown): Uint8Array => {
  const json = JSON.parse(fromUtf8(bytes)) as Json;
  change(json);
  return utf8(JSON.stringify(json));
};

test("the pre-authentication encoding is that of the DSSE specification's test vector", () => {
  assert.equal(
    fromUtf8(preAuthEncoding("http://example.com/HelloWorld", utf8("hello world"))),
    "DSSEv1 29 http://example.com/HelloWorld 11 hello world",
  );
  assert.equal(fromUtf8(preAuthEncoding("é", utf8("é"))), "DSSEv1 2 é 2 é", "lengths are in bytes");
});

test("an envelope opens to the exact payload and names the trusted signers in order", () => {
  const bytes = signEnvelope(TYPE, payload, [bob, alice]);
  assert.deepEqual(openEnvelope(bytes, TYPE, trusted), { payload, keyIds: [bob.id, alice.id] });
  const binary = plain(randomBytes(1000));
  assert.deepEqual(
    openEnvelope(signEnvelope(TYPE, binary, [alice]), TYPE, trusted).payload,
    binary,
  );
  assert.equal(envelopeId(bytes), toHex(sha256(bytes)));
});

test("signatures by unknown keys are ignored, and alone are not enough", () => {
  const both = signEnvelope(TYPE, payload, [mallory, alice]);
  assert.deepEqual(openEnvelope(both, TYPE, trusted).keyIds, [alice.id]);
  const broken = edit(both, (json) => (json.signatures[0]!.sig = "AAAA"));
  assert.deepEqual(openEnvelope(broken, TYPE, trusted).keyIds, [alice.id]);
  const foreign = signEnvelope(TYPE, payload, [mallory]);
  assert.throws(() => openEnvelope(foreign, TYPE, trusted), { code: "untrusted" });
});

test("one bad signature by a trusted key spoils an envelope with another good one", () => {
  const bytes = signEnvelope(TYPE, payload, [alice, bob]);
  const swapped = edit(bytes, ({ signatures: [a, b] }) => ([a!.sig, b!.sig] = [b!.sig, a!.sig]));
  assert.throws(() => openEnvelope(swapped, TYPE, trusted), { code: "altered" });
  const short = edit(bytes, (json) => (json.signatures[1]!.sig = "AAAA"));
  assert.throws(() => openEnvelope(short, TYPE, trusted), { code: "altered" });
});

test("a signature under a trusted key's id by another key is refused", () => {
  const bytes = signEnvelope(TYPE, payload, [mallory]);
  const posing = edit(bytes, (json) => (json.signatures[0]!.keyid = alice.id));
  assert.throws(() => openEnvelope(posing, TYPE, trusted), { code: "altered" });
});

test("a signature covers the payload's type, and another type than expected is refused", () => {
  const bytes = signEnvelope(TYPE, payload, [alice]);
  assert.throws(() => openEnvelope(bytes, "application/other", trusted), { code: "malformed" });
  const retyped = edit(bytes, (json) => (json.payloadType = "application/other"));
  assert.throws(() => openEnvelope(retyped, "application/other", trusted), { code: "altered" });
});

test("a signature over the bare payload is not one over the envelope", () => {
  const bytes = signEnvelope(TYPE, payload, [alice]);
  const bare = edit(bytes, (json) => (json.signatures[0]!.sig = toBase64(sign(alice, payload))));
  assert.throws(() => openEnvelope(bare, TYPE, trusted), { code: "altered" });
});

test("other forms are refused: unknown members, two signatures by one key, non-canonical base64", () => {
  const bytes = signEnvelope(TYPE, payload, [alice]);
  const changes: Readonly<Record<string, (json: Json) => unknown>> = {
    "an unknown member": (json) => Object.assign(json, { extra: 1 }),
    "an unknown member of a signature": (json) => Object.assign(json.signatures[0]!, { extra: 1 }),
    "no signatures": (json) => (json.signatures = []),
    "too many signatures": (json) =>
      (json.signatures = Array.from({ length: 65 }, (_, i) => ({
        keyid: toHex(sha256(Uint8Array.of(i))),
        sig: "",
      }))),
    "two signatures by one key": (json) => json.signatures.push({ ...json.signatures[0]! }),
    "a key id in capitals": (json) =>
      (json.signatures[0]!.keyid = json.signatures[0]!.keyid.toUpperCase()),
    "unpadded payload": (json) => (json.payload = `${toBase64(utf8("a")).replaceAll("=", "")}`),
    "URL-safe payload": (json) => (json.payload = "-_-_"),
    "white space in a signature": (json) => (json.signatures[0]!.sig += "\n"),
    "a missing payload": (json) => delete (json as Partial<Json>).payload,
  };
  for (const [name, change] of Object.entries(changes)) {
    assert.throws(
      () => openEnvelope(edit(bytes, change), TYPE, trusted),
      { code: "malformed" },
      name,
    );
  }
});

test("no altered byte yields another payload or another signer", () => {
  const bytes = signEnvelope(TYPE, payload, [alice]);
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const altered = Uint8Array.from(bytes);
      altered[at]! ^= flip;
      assert.throws(
        () => openEnvelope(altered, TYPE, trusted),
        (error) =>
          isExclaveError(error) && ["malformed", "altered", "untrusted"].includes(error.code),
      );
    }),
    { numRuns: 500 },
  );
});

test("an envelope above its size bound is refused, and not made", () => {
  const bytes = signEnvelope(TYPE, payload, [alice]);
  assert.doesNotThrow(() => openEnvelope(bytes, TYPE, trusted, { bytesMax: bytes.length }));
  assert.throws(() => openEnvelope(bytes, TYPE, trusted, { bytesMax: bytes.length - 1 }), {
    code: "malformed",
  });
  assert.throws(() => signEnvelope(TYPE, new Uint8Array(1024 * 1024), [alice]), { code: "bug" });
});

test("mistakes of ours are refused: no key, a key twice, a type with spaces, a key under another's id", () => {
  const bug = { code: "bug" };
  assert.throws(() => signEnvelope(TYPE, payload, []), bug);
  assert.throws(() => signEnvelope(TYPE, payload, [alice, alice]), bug);
  assert.throws(() => signEnvelope("a b", payload, [alice]), bug);
  const misfiled = new Map([[alice.id, mallory.publicKey]]);
  assert.throws(() => openEnvelope(signEnvelope(TYPE, payload, [alice]), TYPE, misfiled), bug);
});
