/** docs/threat-model.md promises a test for each row: it is there, under that name. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

const root = join(import.meta.dirname, "..");
const rows = readFileSync(join(root, "docs/threat-model.md"), "utf8")
  .split("\n")
  .filter((line) => line.startsWith("|"));
const NAME_MIN = 12;
/** A test file, and after a colon the names of its tests. */
const REFERENCE = /`([a-z0-9/-]+\.test\.ts)`(?:: ([^`|]*))?/g;

function sourceOf(path: string): string {
  const file = join(root, path.startsWith("test/") ? "" : "src", path);
  assert.ok(existsSync(file), `there is no ${path}`);
  return readFileSync(file, "utf8");
}

/** What a test file has between quotes: the names of its tests are among it; of a template any filling. */
function literalsOf(source: string): readonly RegExp[] {
  const literals = [...source.matchAll(/"((?:\\.|[^"\\\n])+)"|`([^`]+)`/g)];
  return literals.flatMap(([, plain, template = ""]) => {
    const parts =
      plain === undefined ? template.split(/\$\{[^}]*\}/) : [plain.replaceAll(/\\(.)/g, "$1")];
    // A template of nothing but fillings would stand for every name.
    if (plain === undefined && parts.join("").length < NAME_MIN) return [];
    const escaped = parts.map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    return [new RegExp(`^${escaped.join(".+?")}(?:; |$)`)];
  });
}

test("every test that the threat model names is there", () => {
  let named = 0;
  for (const row of rows) {
    for (const [, path = "", names = ""] of row.matchAll(REFERENCE)) {
      const literals = literalsOf(sourceOf(path));
      let rest = names.trim().replace(/;$/, "");
      while (rest !== "") {
        const found = literals.map((name) => name.exec(rest)?.[0].length ?? 0);
        const length = Math.max(...found);
        assert.ok(length > 0, `${path} has no test "${rest}"`);
        rest = rest.slice(length);
        named++;
      }
    }
  }
  assert.ok(named > 100, "the page was read");
});

test("every row of the threat model names what stands for it, or says that nothing does yet", () => {
  const mechanisms = rows.filter((row) => row.split("|").length === 4 && !/^\|(-+\|)+$/.test(row));
  for (const row of mechanisms) {
    if (row === "| mechanism | stands |") continue;
    assert.match(row, /\.test\.ts`|not yet|`exclave /, row);
  }
});

test("every table of attacks is in the threat model, each row of it", () => {
  const page = rows.join("\n");
  for (const file of readdirSync(join(root, "test/attacks"))) {
    const source = readFileSync(join(root, "test/attacks", file), "utf8");
    for (const [, name = ""] of source.matchAll(/^ {4}name: "([^"]+)",$/gm)) {
      assert.ok(page.includes(name), `${file}: "${name}" is not in docs/threat-model.md`);
    }
  }
});
