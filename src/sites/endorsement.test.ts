import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import { signingKeyFromSeed } from "../crypto/signing.ts";
import { code } from "./conformance.ts";
import { openEndorsement, readEndorsement, signEndorsement, tlsKeyId } from "./endorsement.ts";

const site = signingKeyFromSeed(new Uint8Array(32).fill(1));
const other = signingKeyFromSeed(new Uint8Array(32).fill(2));
const tls = tlsKeyId(generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey);
const from = new Date("2026-11-01T00:00:00Z");
const until = new Date("2027-01-30T00:00:00Z");
const now = new Date("2026-11-22T00:00:00Z");
const endorsement = signEndorsement(site, tls, { from, until });

test("a site's endorsement of a connection's key is taken, by who expects that site or nobody", () => {
  for (const expected of [site.publicKey, undefined]) {
    assert.equal(openEndorsement(endorsement, { site: expected, tls, now }).id, site.id);
  }
  assert.deepEqual(readEndorsement(endorsement, { site: site.publicKey, tls, now }).until, until);
});

test("it is worth nothing for another site, another connection, or at another time", () => {
  const good = { site: site.publicKey, tls, now };
  const lies = [
    { ...good, site: other.publicKey },
    { ...good, tls: "00".repeat(32) },
    { ...good, now: new Date(from.getTime() - 1) },
    { ...good, now: until },
  ];
  for (const lie of lies) {
    assert.throws(() => openEndorsement(endorsement, lie), code("untrusted"));
  }
});

test("one that says that it is another's key, or for years, is refused", () => {
  const forged = signEndorsement(other, tls, { from, until });
  assert.throws(
    () => openEndorsement(forged, { site: site.publicKey, tls, now }),
    code("untrusted"),
  );
  const years = signEndorsement(site, tls, { from, until: new Date("2029-01-01T00:00:00Z") });
  assert.throws(() => openEndorsement(years, { site: undefined, tls, now }), code("untrusted"));
  const cut = endorsement.subarray(0, -20);
  assert.throws(() => openEndorsement(cut, { site: undefined, tls, now }), code("malformed"));
});
