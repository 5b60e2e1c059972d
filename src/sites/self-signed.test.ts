import assert from "node:assert/strict";
import { test } from "node:test";
import { charterFields } from "../charter/charter.ts";
import { fromBase64, toBase64, utf8 } from "../crypto/bytes.ts";
import { signEnvelope } from "../crypto/dsse.ts";
import { signingKeyFromSeed } from "../crypto/signing.ts";
import { encodeJson, parseStrictJson } from "../crypto/strict-json.ts";
import { isExclaveError } from "../errors.ts";
import { verifierKeysOf, witnessKeyFromSeed } from "../ledger/log-key.ts";
import { formatVerifierKey } from "../ledger/note.ts";
import { openGrantRequest, signGrantRequest } from "./grant-request.ts";
import { fingerprintOf, SELF_SIGNED_BYTES_MAX, selfSignedFields } from "./self-signed.ts";
import { openSiteCard, type StatedSite, signSiteCard } from "./site-card.ts";

const NOW = new Date("2026-11-22T10:00:00.789Z");
const site = signingKeyFromSeed(new Uint8Array(32).fill(1));
const other = signingKeyFromSeed(new Uint8Array(32).fill(2));
const stated: StatedSite = {
  name: "lu",
  country: "LU",
  operator: "Luxembourg State, CTIE",
  hazardZone: "Moselle",
  url: "https://exclave.example.lu:7443",
  witness: verifierKeysOf(
    witnessKeyFromSeed(new Uint8Array(32).fill(3), "exclave.example.lu/witness"),
  ).map(formatVerifierKey),
  storage: "directory",
};
const requested = {
  state: "ab".repeat(32),
  name: "Belize",
  charter: "cd".repeat(32),
  quotaBytes: 2e12,
};

type Envelope = {
  payloadType: string;
  payload: string;
  signatures: { keyid: string; sig: string }[];
};
const envelopeOf = (bytes: Uint8Array): Envelope => parseStrictJson(bytes) as Envelope;
const payloadOf = (bytes: Uint8Array): Record<string, unknown> =>
  parseStrictJson(fromBase64(envelopeOf(bytes).payload)) as Record<string, unknown>;

test("a card says what was stated, and whose key signed it", () => {
  const { card, key } = openSiteCard(signSiteCard(site, stated, NOW));
  const { random, ...rest } = card;
  assert.deepEqual(rest, {
    ...stated,
    kind: "site-card",
    format: 1,
    signing: toBase64(site.publicKey.bytes),
    time: "2026-11-22T10:00:00Z",
  });
  assert.match(random, /^[0-9a-f]{32}$/);
  assert.equal(key.id, site.id);
});

test("a request says for which State it asks, and whose key signed it", () => {
  const { request, key } = openGrantRequest(signGrantRequest(other, requested, NOW));
  const { state, name, charter, quotaBytes } = request;
  assert.deepEqual({ state, name, charter, quotaBytes }, requested);
  assert.equal(key.id, other.id);
});

test("a card that its own key did not sign as it is, is refused", () => {
  const bytes = signSiteCard(site, stated, NOW);
  const envelope = envelopeOf(bytes);
  const changed = { ...payloadOf(bytes), url: "https://exclave.example.org" };
  const withPayload = (payload: unknown) =>
    encodeJson({ ...envelope, payload: toBase64(encodeJson(payload)) });

  assert.throws(() => openSiteCard(withPayload(changed)), { code: "altered" });
  // Another key's name on it: the one that signed is not the one that it shows.
  const stolen = { ...payloadOf(bytes), signing: toBase64(other.publicKey.bytes) };
  assert.throws(() => openSiteCard(withPayload(stolen)), { code: "untrusted" });
  const byOther = signEnvelope(
    "application/vnd.exclave.site-card.v1+json",
    encodeJson(payloadOf(bytes)),
    [other],
  );
  assert.throws(() => openSiteCard(byOther), { code: "untrusted" });
});

test("what is no card is refused by its form", () => {
  const type = "application/vnd.exclave.site-card.v1+json";
  const good = payloadOf(signSiteCard(site, stated, NOW));
  const signed = (payload: unknown, as = type) => signEnvelope(as, encodeJson(payload), [site]);
  const cases: readonly [string, Uint8Array][] = [
    ["a request", signGrantRequest(site, requested, NOW)],
    ["another type", signed(good, "application/vnd.exclave.other.v1+json")],
    ["an unknown member", signed({ ...good, more: 1 })],
    ["a member of another type", signed({ ...good, url: [] })],
    ["another format", signed({ ...good, format: 2 })],
    ["an address with a path", signed({ ...good, url: "https://example.lu/x" })],
    ["an address without TLS", signed({ ...good, url: "http://example.lu" })],
    ["an address with a password", signed({ ...good, url: "https://a:b@example.lu" })],
    ["a key that is too short", signed({ ...good, signing: "AAAA" })],
    ["a name that moves the cursor", signed({ ...good, operator: "CTIE\u001b[2J" })],
    ["text", utf8("hello")],
    ["too much", new Uint8Array(SELF_SIGNED_BYTES_MAX + 1).fill(0x20)],
  ];
  for (const [what, bytes] of cases) {
    assert.throws(
      () => openSiteCard(bytes),
      (error) => isExclaveError(error, "malformed") || isExclaveError(error, "bad-key"),
      what,
    );
  }
});

test("what no card can say is refused before it is signed", () => {
  for (const wrong of [
    { name: "L U" },
    { country: "lu" },
    { operator: "" },
    { url: "https://example.lu/" },
    { witness: ["a+00000000+AAAA"] },
  ]) {
    assert.throws(() => signSiteCard(site, { ...stated, ...wrong }, NOW), { code: "usage" });
  }
  assert.throws(() => signGrantRequest(site, { ...requested, quotaBytes: 0 }, NOW), {
    code: "usage",
  });
});

test("what a card can say, a charter can say", () => {
  const texts = [
    "Luxembourg State, CTIE",
    "Côte d'Ivoire (Abidjan)",
    "A & B / C+D",
    "",
    " a",
    "a\u200bb",
    "a\u0301",
    "a\nb",
    '"x"',
    "x".repeat(201),
    "lu-1.a_b",
    "LU",
    "2026-02-30T00:00:00Z",
  ];
  for (const text of texts) {
    for (const name of ["label", "shortName"] as const) {
      const [here, there] = [selfSignedFields[name], charterFields[name]];
      assert.equal(here.safeParse(text).success, there.safeParse(text).success, `${name} ${text}`);
    }
  }
  assert.equal(selfSignedFields.moment.safeParse("2026-02-30T00:00:00Z").success, false);
});

test("a fingerprint is the first half of the key's id in groups of four", () => {
  assert.equal(
    fingerprintOf("0123456789abcdef0123456789abcdef".padEnd(64, "f")),
    "0123 4567 89ab cdef 0123 4567 89ab cdef",
  );
});
