import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { fromText } from "../../platform/names.ts";
import { compileExcludes, compilePathPatterns } from "./patterns.ts";

/** pattern, whether for a directory, paths that match, paths that do not */
const CASES: readonly [string, boolean, readonly string[], readonly string[]][] = [
  ["*.tmp", false, ["a.tmp", "x/y/a.tmp", ".tmp", "x/a\nb.tmp"], ["a.tmp2", "a.tmp/x"]],
  ["cache", false, ["cache", "x/cache"], ["cached", "x/cache/y"]],
  ["cache/", false, [], ["cache", "x/cache"]],
  ["cache/", true, ["cache", "x/cache"], ["cached"]],
  ["/tmp", false, ["tmp"], ["x/tmp"]],
  ["./tmp", false, ["tmp"], ["x/tmp"]],
  ["logs/*.gz", false, ["logs/a.gz"], ["logs/x/a.gz", "x/logs/a.gz"]],
  ["logs/**", false, ["logs/a", "logs/x/y", "logs/.h/n\nl"], ["logs", "x/logs/a"]],
  ["**/logs", false, ["logs", "x/y/logs"], ["x/logs/y"]],
  ["a/**/z", false, ["a/z", "a/b/c/z", "a/n\nl/z"], ["z", "a/b"]],
  ["?.db", false, ["a.db", "\xff.db", "\n.db"], ["ab.db", ".db"]],
  ["[a-c]x", false, ["ax"], ["dx"]],
  ["[!a]x", false, ["bx"], ["ax"]],
  ["[^a]x", false, ["bx"], ["ax"]],
  ["[a^$]x", false, ["^x", "$x"], ["bx"]],
  ["{a,b}.txt", false, ["a.txt", "b.txt"], ["c.txt"]],
  ["Ω*", false, [fromText("Ωmega")], ["omega"]],
  ["scan (1).pdf", false, ["scan (1).pdf"], ["scan 1.pdf"]],
  ['c++|"d"', false, ['c++|"d"'], ["c++", "cc|d"]],
  ["@(a|b)", false, ["@(a|b)"], ["a"]],
  ["\\!x", false, ["!x"], ["x"]],
  ["\\*", false, ["*"], ["a"]],
];

for (const [pattern, isDirectory, yes, no] of CASES) {
  test(`the pattern ${pattern}${isDirectory ? " on a directory" : ""}`, () => {
    const excludes = compileExcludes([pattern]);
    for (const path of yes) assert.ok(excludes(path, isDirectory), `must match ${path}`);
    for (const path of no) assert.ok(!excludes(path, isDirectory), `must not match ${path}`);
  });
}

test("a pattern without wildcards matches itself and nothing else", () => {
  const special = fc.constantFrom(..."^$()|+@!\"'`.-~#,:;<>=&% \n");
  const name = fc
    .string({
      unit: fc.oneof(special, fc.string({ unit: "binary-ascii", minLength: 1, maxLength: 1 })),
      minLength: 1,
      maxLength: 8,
    })
    .filter((text) => !/[/\0*?[\]{}\\]/.test(text) && !/^(!|\.{1,2}$)/.test(text));
  fc.assert(
    fc.property(name, name, (a, b) => {
      assert.equal(compileExcludes([a])(b, false), a === b);
      assert.ok(compileExcludes([a])(a, false));
      assert.ok(compileExcludes([`/dir/${a}`])(`dir/${a}`, false));
    }),
    { numRuns: 5000 },
  );
});

test("patterns add up, and no patterns exclude nothing", () => {
  const excludes = compileExcludes(["a", "/b/c", "d/"]);
  assert.ok(excludes("x/a", false) && excludes("b/c", false) && excludes("d", true));
  assert.ok(!excludes("c", false));
  assert.ok(!compileExcludes([])("a", true));
});

test("a pattern that cannot match or be read is refused by name", () => {
  for (const pattern of ["", "/", "!a", "a//b", "../a", "a/./b", "[", "a{b", "a\0b"]) {
    assert.throws(() => compileExcludes([pattern]), { code: "usage" }, pattern);
  }
});

test("a path to restore brings all that is under it", () => {
  const wanted = compilePathPatterns(["/births/19*", "*.pdf", "maps/"]);
  assert.ok(wanted("births/1961", true));
  assert.ok(wanted("births/1961/p/1.txt", false));
  assert.ok(wanted("x/a.pdf", false));
  assert.ok(wanted("x/maps/a/b", false));
  assert.ok(!wanted("maps", false));
  assert.ok(!wanted("births", true));
  assert.ok(!wanted("births/2001/p", false));
  assert.ok(!wanted("", true));
  assert.ok(compilePathPatterns([])("anything", false));
});
