import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { displayName, fromFsName, fromText, toFsPath } from "./names.ts";

test("every name of bytes survives the way to node:fs and back", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const name = fromFsName(bytes);
      assert.equal(name.length, bytes.length);
      assert.deepEqual(Buffer.from(Buffer.from(toFsPath(name) as string)), Buffer.from(bytes));
    }),
  );
});

test("names that are not UTF-8, hold controls or are 255 bytes long come back from a directory", () => {
  const directory = mkdtempSync(join(tmpdir(), "exclave-names-"));
  try {
    const names = ["\xff\xfe", "new\nline", "\x1b[31mred", "é-in-latin1", "\x01", "x".repeat(255)];
    for (const name of names) writeFileSync(toFsPath(`${directory}/${name}`), name, "latin1");
    const listed = readdirSync(directory, { encoding: "latin1" });
    assert.deepEqual(listed.sort(), [...names].sort());
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("text that was not converted to bytes is refused rather than cut", () => {
  assert.throws(() => toFsPath("/registers/Ωmega"), { code: "bug" });
  assert.deepEqual(toFsPath(fromText("/registers/Ωmega")), Buffer.from("/registers/Ωmega"));
});

test("a shown name cannot steer a terminal or pass for another", () => {
  assert.equal(displayName("register-2024.pdf"), "register-2024.pdf");
  assert.equal(displayName(fromText("Géorgie Ωμ 出生")), "Géorgie Ωμ 出生");
  assert.equal(displayName("a\nb\x1b[0m\x7f\t"), "a\\nb\\x1b[0m\\x7f\\t");
  assert.equal(displayName("\xff\xc3"), "\\xff\\xc3");
  assert.equal(displayName(fromText("\u202egpj.exe\u0085")), "\\u{202e}gpj.exe\\u{85}");
  assert.notEqual(displayName("a\nb"), displayName("a\\nb"));
});

test("different names are never shown alike", () => {
  const name = fc.uint8Array({ maxLength: 6 }).map((bytes) => fromFsName(bytes));
  fc.assert(
    fc.property(name, name, (a, b) => {
      assert.equal(displayName(a) === displayName(b), a === b);
    }),
  );
});
