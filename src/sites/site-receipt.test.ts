import assert from "node:assert/strict";
import { test } from "node:test";
import { signEnvelope } from "../crypto/dsse.ts";
import { signingKeyFromSeed } from "../crypto/signing.ts";
import { encodeJson } from "../crypto/strict-json.ts";
import { code, objectName } from "./conformance.ts";
import { openSiteReceipt, type StatedHoldings, signSiteReceipt } from "./site-receipt.ts";
import { RECEIPT_OBJECTS_MAX } from "./wire.ts";

const key = signingKeyFromSeed(new Uint8Array(32).fill(1));
const other = signingKeyFromSeed(new Uint8Array(32).fill(2));
const state = "ab".repeat(32);
const stated: StatedHoldings = {
  state,
  time: new Date("2026-03-01T10:00:00.900Z"),
  retainUntil: new Date("2027-03-01T10:00:00Z"),
  objects: [
    { name: objectName("shard", "a"), bytes: 17, storedAt: new Date("2026-02-28T00:00:00Z") },
  ],
  missing: [objectName("shard", "b")],
};

test("a receipt says what the site stated", () => {
  const receipt = openSiteReceipt(signSiteReceipt(key, stated), key.publicKey, state);
  assert.equal(receipt.time, "2026-03-01T10:00:00Z");
  assert.equal(receipt.retainUntil, "2027-03-01T10:00:00Z");
  assert.deepEqual(receipt.objects, [[objectName("shard", "a"), 17, "2026-02-28T00:00:00Z"]]);
  assert.deepEqual(receipt.missing, [objectName("shard", "b")]);
});

test("a receipt of another site, for another State, or altered is refused", () => {
  const bytes = signSiteReceipt(key, stated);
  assert.throws(() => openSiteReceipt(bytes, other.publicKey, state), code("untrusted"));
  assert.throws(() => openSiteReceipt(bytes, key.publicKey, "cd".repeat(32)), code("untrusted"));
  const envelope = JSON.parse(Buffer.from(bytes).toString()) as { payload: string };
  const payload = Buffer.from(envelope.payload, "base64").toString().replace(",17,", ",18,");
  const forged = JSON.stringify({ ...envelope, payload: Buffer.from(payload).toString("base64") });
  assert.throws(() => openSiteReceipt(Buffer.from(forged), key.publicKey, state), code("altered"));
});

test("what another site's name is on, or names an object twice, is refused though it is signed", () => {
  const receipt = openSiteReceipt(signSiteReceipt(key, stated), key.publicKey, state);
  const signed = (change: object): Uint8Array =>
    signEnvelope(
      "application/vnd.exclave.site-receipt.v1+json",
      encodeJson({ ...receipt, ...change }),
      [key],
    );
  const open = (change: object) => () => openSiteReceipt(signed(change), key.publicKey, state);
  assert.throws(open({ site: other.id }), code("untrusted"));
  assert.throws(open({ missing: [objectName("shard", "a")] }), code("malformed"));
  assert.throws(open({ missing: ["shard/../etc"] }), code("malformed"));
  assert.throws(open({ more: 1 }), code("malformed"));
  assert.doesNotThrow(open({ missing: [] }));
});

test("a receipt for as many objects as there may be, with the longest names, fits", () => {
  const objects = Array.from({ length: RECEIPT_OBJECTS_MAX }, (_, i) => ({
    name: `checkpoint/${`${i}`.padStart(8, "0")}`.padEnd(91, "z"),
    bytes: Number.MAX_SAFE_INTEGER,
    storedAt: stated.time,
  }));
  const bytes = signSiteReceipt(key, { ...stated, objects, missing: [] });
  const opened = openSiteReceipt(bytes, key.publicKey, state);
  assert.equal(opened.objects.length, RECEIPT_OBJECTS_MAX);
});
