import assert from "node:assert/strict";
import { test } from "node:test";
import { toBase64, utf8 } from "../crypto/bytes.ts";
import { parseDecimal, parseHash, splitHead } from "./text.ts";

const malformed = { code: "malformed" };

test("a decimal is read up to 2^53 - 1, and only in its one spelling", () => {
  for (const value of [0, 1, 10, 20852163, 2 ** 53 - 1])
    assert.equal(parseDecimal(String(value)), value);
  const others = ["", "00", "01", "-0", "-1", "+1", " 1", "1 ", "1.0", "1e3", "0x1", "١", "1\n"];
  for (const text of [...others, "9007199254740992", "18446744073709551615"])
    assert.throws(() => parseDecimal(text), malformed, text);
});

test("a hash is 32 bytes in canonical base64", () => {
  const text = toBase64(new Uint8Array(32).fill(0xff));
  assert.deepEqual(parseHash(text), new Uint8Array(32).fill(0xff));
  for (const bad of [
    "",
    text.slice(0, -1),
    `${text} `,
    text.replace("8=", "9="),
    text.replaceAll("/", "_"),
    toBase64(new Uint8Array(31)),
    toBase64(new Uint8Array(33)),
  ])
    assert.throws(() => parseHash(bad), malformed, bad);
});

test("a head ends at the first empty line, and what follows keeps its bytes", () => {
  const { lines, rest } = splitHead(utf8("a\nb\n\nc\n\nd"), 3);
  assert.deepEqual(lines, ["a", "b"]);
  assert.deepEqual(Uint8Array.from(rest), utf8("c\n\nd"));
  assert.throws(() => splitHead(utf8("a\nb\n\nc"), 2), malformed);
  assert.throws(() => splitHead(utf8("a\nb\n"), 9), malformed);
  assert.throws(() => splitHead(Uint8Array.of(0xff, 0x0a, 0x0a), 9), malformed);
});
