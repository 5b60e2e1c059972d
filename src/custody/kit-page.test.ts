import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { fromUtf8, toHex } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { encodeKit, fingerprint, type Kit } from "./kit.ts";
import { kitPage, type QrEncoder } from "./kit-page.ts";
import { joinKit } from "./kit-parts.ts";
import { sealedFromBytes, sealShare } from "./sealed-share.ts";
import { ofState, splitSecret } from "./share-set.ts";
import { decodeShareText } from "./share-text.ts";

const STATE = "5a".repeat(32);
const set = splitSecret(randomBytes(32), { k: 3, n: 5, generation: 1 }, randomBytes);
const { publicPart } = set;
const shares = ofState(set.shares, STATE);
const { sealed, marks } = await sealShare(shares[2]!, "usual-pass", {
  workFactor: 10,
  duressPassphrase: "other-pass",
});
const kit: Kit = {
  kind: "kit",
  format: 1,
  instructions: 1,
  stateName: "Republic of Ruritania",
  state: STATE,
  fingerprint: fingerprint(STATE),
  foundingHash: "1b".repeat(32),
  charterHash: "2c".repeat(32),
  checkpoint: { origin: "ledger.example/ruritania", size: 12, root: "3d".repeat(32) },
  witnessKeys: ["witness.example+12345678+AAAA"],
  sites: [
    { name: "north", country: "EE", operator: "Operator A", where: "https://n.example" },
    { name: "south", country: "LU", operator: "Operator B", where: "Rue de la Gare 1" },
  ],
  set: publicPart,
  holder: "Chief Justice",
  index: 2,
  sealed,
};

/** A square whose rows are the bits of the bytes: no QR code, but everything is in it. */
function stub(seen: string[] = []): QrEncoder {
  return (bytes) => {
    seen.push(fromUtf8(bytes));
    return [
      [true, true, false],
      [false, false, false],
      [true, false, true],
    ];
  };
}

const page = kitPage(encodeKit(kit), stub());
const tags = (html: string) => html.match(/<[^>]*>/g) ?? [];

test("the page says who holds what, and how many are needed and may be lost", () => {
  assert.match(page, /<h1>Republic of Ruritania<\/h1>/);
  assert.ok(page.includes(`<p class="fingerprint">${fingerprint(STATE)}</p>`));
  assert.match(page, /Key holder 3 of 5: Chief Justice/);
  assert.match(page, /Any 3 of these 5 key holders bring the State back; you can lose 2/);
  for (const text of ["north", "Operator B", "Rue de la Gare 1", "exclave recover"]) {
    assert.ok(page.includes(text), text);
  }
});

test("the codes on the page are the kit file", () => {
  const seen: string[] = [];
  const bytes = encodeKit(kit);
  const html = kitPage(bytes, stub(seen));
  assert.deepEqual(joinKit(seen), bytes);
  assert.equal(html.match(/<svg /g)?.length, seen.length);
  assert.ok(html.replaceAll(" ", "").includes(toHex(sha256(bytes))));
});

test("the text on the page is the sealed share", () => {
  const text = /<pre>([^<]*)<\/pre>/.exec(page)?.[1] ?? "";
  assert.deepEqual(sealedFromBytes(decodeShareText(text)), sealed);
});

test("a code is drawn as its dark modules, with four white modules around", () => {
  assert.ok(page.includes('viewBox="0 0 11 11"'));
  assert.ok(page.includes('d="M4 4h2v1h-2zM4 6h1v1h-1zM6 6h1v1h-1z"'));
  for (const bad of [
    [],
    [[true], [true]],
    Array.from({ length: 178 }, () => Array(178).fill(true)),
  ]) {
    assert.throws(() => kitPage(encodeKit(kit), () => bad), { code: "bug" });
  }
});

test("the page is whole by itself, and neither runs nor fetches anything", () => {
  assert.match(page, /^<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">/);
  assert.match(
    page,
    /http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:/,
  );
  for (const tag of tags(page)) {
    assert.doesNotMatch(tag, /<(script|link|img|iframe|object|embed|form|base|a)\b/i);
    assert.doesNotMatch(tag, /\s(on\w+|src|href|style)\s*=/i);
  }
  assert.doesNotMatch(page, /url\(|@import/);
});

test("no name, however hostile, changes the page around it", () => {
  const hostile = fc.oneof(
    fc.string({ unit: "binary", minLength: 1, maxLength: 40 }),
    fc.constantFrom(
      "</title><script>alert(1)</script>",
      '" onload="alert(1)',
      "<!--",
      "]]>",
      "&lt;",
      "</style>",
      "a\u202eb",
      "\u0000",
      "\u2028",
    ),
  );
  const neutral = (name: string): Kit => ({
    ...kit,
    stateName: name,
    holder: name,
    checkpoint: { origin: name, size: 1, root: "00".repeat(32) },
    witnessKeys: [name],
    sites: [{ name, country: "EE", operator: name, where: name }],
  });
  const skeleton = (name: string) =>
    tags(kitPage(encodeKit(neutral(name)), () => [[true]]))
      // How many codes there are follows from the length of the file.
      .filter((tag) => !/^<\/?(svg|path|figure|figcaption)/.test(tag));
  const plain = skeleton("x");
  fc.assert(
    fc.property(hostile, (name) => {
      fc.pre(name.length <= 200);
      assert.deepEqual(skeleton(name), plain);
      const html = kitPage(encodeKit(neutral(name)), () => [[true]]);
      assert.doesNotMatch(
        html,
        /[\u0000-\u0009\u000b-\u001f\u202a-\u202e\u2066-\u2069\u200b-\u200f]/,
      );
    }),
    { numRuns: 300 },
  );
});

test("nothing on the page tells of a second passphrase, or holds a mark or a share", () => {
  assert.doesNotMatch(page, /duress|second pass|other pass|mark\b|silent/i);
  for (const hidden of [...Object.values(marks), toHex(shares[2]!.share), "usual-pass"]) {
    assert.ok(!page.includes(hidden));
  }
});

test("a file that is no kit makes no page", () => {
  assert.throws(() => kitPage(new Uint8Array(10), stub()), { code: "malformed" });
});
