import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { damage, memoryTree, survives } from "../../test/support/ledger.ts";
import { fromUtf8, toBase64, utf8 } from "../crypto/bytes.ts";
import { EMPTY_ROOT } from "./merkle.ts";
import { formatTreeHead, isSameTreeHead, parseTreeHead } from "./tree-head.ts";

const malformed = { code: "malformed" };
const ROOT = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
/** The body of tlog-checkpoint's example. */
const TEXT = `example.com/behind-the-sofa\n20852163\n${ROOT}\n`;

test("the body of tlog-checkpoint's example is read, and written back", () => {
  const head = parseTreeHead(TEXT);
  assert.equal(head.origin, "example.com/behind-the-sofa");
  assert.equal(head.size, 20852163);
  assert.equal(toBase64(head.root), ROOT);
  assert.equal(formatTreeHead(head), TEXT);
});

test("an origin has 1 to 255 bytes, spaces and plus among them (torchwood's checkpoint_test.go)", () => {
  const of = (origin: string): string => `${origin}\n1\n${ROOT}\n`;
  for (const origin of ["a", "a".repeat(255), `${"é".repeat(127)}a`, "example log+origin"])
    assert.equal(parseTreeHead(of(origin)).origin, origin);
  for (const origin of ["", "a".repeat(256), "é".repeat(128)])
    assert.throws(() => parseTreeHead(of(origin)), malformed);
});

test("extension lines, missing lines and other spellings are refused", () => {
  for (const text of [
    "",
    "\n",
    `o\n1\n`,
    `o\n1\n${ROOT}`,
    `${TEXT}extension\n`,
    `${TEXT}\n`,
    `${TEXT}extension`,
    TEXT.replace("20852163", "020852163"),
    TEXT.replace("20852163", "-1"),
    TEXT.replace("20852163", "9007199254740992"),
    TEXT.replace(ROOT, ROOT.slice(0, -1)),
    TEXT.replace(ROOT, `${ROOT.slice(0, -2)}J=`),
    TEXT.replace(ROOT, "CsUYapGGPo4dkMgIAUqomw=="),
    `o\n0\n${ROOT}\n`,
    `o\r\n1\r\n${ROOT}\r\n`,
  ])
    assert.throws(() => parseTreeHead(text), malformed, JSON.stringify(text));
});

test("the empty tree has a head, with the one root that it can have", () => {
  const head = { origin: "o", size: 0, root: EMPTY_ROOT };
  assert.equal(formatTreeHead(head), `o\n0\n${toBase64(EMPTY_ROOT)}\n`);
  assert.ok(isSameTreeHead(parseTreeHead(formatTreeHead(head)), head));
  const { root } = memoryTree(1).head(1);
  assert.throws(() => formatTreeHead({ ...head, root }), { code: "bug" });
});

test("heads are the same when origin, size and root are", () => {
  const tree = memoryTree(3);
  const head = tree.head(2);
  assert.ok(isSameTreeHead(head, { ...tree.head(2) }));
  for (const other of [
    tree.head(2, "x"),
    { ...head, size: 3 },
    { ...head, root: tree.head(3).root },
  ])
    assert.ok(!isSameTreeHead(head, other));
});

test("what would not be read back is not written", () => {
  const head = parseTreeHead(TEXT);
  for (const bad of [
    { ...head, origin: "" },
    { ...head, origin: "a\nb" },
    { ...head, size: -1 },
    { ...head, size: 0.5 },
    { ...head, root: new Uint8Array(31) },
  ])
    assert.throws(() => formatTreeHead(bad), { code: "bug" });
});

test("damaged bodies are refused, or are the one spelling of another", () => {
  fc.assert(
    fc.property(fc.nat(), fc.nat(), fc.nat(127), (kind, at, value) => {
      const bytes = damage(utf8(TEXT), kind, at, value);
      if (survives(() => parseTreeHead(fromUtf8(bytes))) === "read")
        assert.equal(formatTreeHead(parseTreeHead(fromUtf8(bytes))), fromUtf8(bytes));
    }),
    { numRuns: 2000 },
  );
});
