import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { generateHybridIdentity, identityToRecipient } from "age-encryption";
import decodeQR from "qr/decode.js";
import { utf8 } from "../crypto/bytes.ts";
import { type HolderSeal, sealKits } from "./ceremony.ts";
import { examineKit } from "./combine-kits.ts";
import { openShare } from "./kit.ts";
import { joinKit, PART_TEXT_BYTES_MAX } from "./kit-parts.ts";
import { encodeQr } from "./qr.ts";
import { splitSecret } from "./share-set.ts";

const PIXELS_PER_MODULE = 4;

/** An image of a code as the page draws it, from its rectangles. */
function drawn(svg: string): { width: number; height: number; data: Uint8Array } {
  const side = Number(/viewBox="0 0 (\d+) \1"/.exec(svg)?.[1]) * PIXELS_PER_MODULE;
  const data = new Uint8Array(side * side * 4).fill(255);
  const [, path = ""] = /<path d="([^"]*)"/.exec(svg) ?? [];
  for (const [, x, y, length] of path.matchAll(/M(\d+) (\d+)h(\d+)v1h-\3z/g)) {
    const [left, top, run] = [x, y, length].map((text) => Number(text) * PIXELS_PER_MODULE);
    for (let row = top!; row < top! + PIXELS_PER_MODULE; row++) {
      for (let at = left!; at < left! + run!; at++) {
        data.fill(0, 4 * (row * side + at), 4 * (row * side + at) + 3);
      }
    }
  }
  return { width: side, height: side, data };
}

const scan = (page: string): string[] =>
  (page.match(/<svg .*?<\/svg>/gs) ?? []).map((svg) => decodeQR(drawn(svg)));

async function printed(seal: HolderSeal) {
  const set = splitSecret(randomBytes(32), { k: 1, n: 1, generation: 1 }, randomBytes);
  const details = {
    state: "5a".repeat(32),
    stateName: "Republic of Ruritania",
    foundingHash: "1b".repeat(32),
    charterHash: "2c".repeat(32),
    witnessKeys: ["witness.example+12345678+AAAA"],
    sites: [{ name: "north", country: "EE", operator: "Operator", where: "https://n.example" }],
  };
  const [sealed] = await sealKits(set, details, [seal], { workFactor: 10 });
  return { ...sealed!, share: set.shares[0]!.share };
}

test("the codes of a printed page are read back as the kit file, byte for byte, and it opens", async () => {
  const { kit, page, share } = await printed({ office: "Chief Justice", passphrase: "pass" });
  const scanned = joinKit(scan(page));
  assert.deepEqual(scanned, kit);
  assert.deepEqual((await openShare(examineKit(scanned), "pass")).share.share, share);
});

test("so are those of a kit that is sealed to an age recipient", async () => {
  const identity = await generateHybridIdentity();
  const recipient = await identityToRecipient(identity);
  const { kit, page, share } = await printed({ office: "Chief Justice", recipient });
  const scanned = joinKit(scan(page));
  assert.deepEqual(scanned, kit);
  assert.deepEqual((await openShare(examineKit(scanned), identity)).share.share, share);
});

/** An image of modules, with four white ones around. */
function image(rows: readonly (readonly boolean[])[]) {
  const side = (rows.length + 8) * PIXELS_PER_MODULE;
  const data = new Uint8Array(side * side * 4).fill(255);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const [row, column] = [y, x].map((at) => Math.floor(at / PIXELS_PER_MODULE) - 4);
      if (rows[row!]?.[column!]) data.fill(0, 4 * (y * side + x), 4 * (y * side + x) + 3);
    }
  }
  return { width: side, height: side, data };
}

test("the longest part of a kit has a code of version 23, read with a stain on it", () => {
  const text = "exclave-kit 1/1 00000000 ".padEnd(PART_TEXT_BYTES_MAX, "Zk+/");
  const modules = encodeQr(utf8(text)).map((row) => [...row]);
  assert.equal(modules.length, 4 * 23 + 17);
  assert.equal(decodeQR(image(modules)), text);
  for (const row of modules.slice(40, 60)) row.fill(true, 40, 60);
  assert.equal(decodeQR(image(modules)), text);
});

test("bytes are coded as they are, and their number is bounded", () => {
  assert.equal(decodeQR(image(encodeQr(utf8("0123 \u00e9 ABC")))), "0123 \u00e9 ABC");
  assert.equal(encodeQr(new Uint8Array(2331)).length, 177);
  for (const length of [0, 2332]) {
    assert.throws(() => encodeQr(new Uint8Array(length)), { code: "bug" });
  }
});
