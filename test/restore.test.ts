/** Restoring: what is chosen, where it goes, and what it never does. */
import assert from "node:assert/strict";
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { describe, test } from "node:test";
import { failed, good } from "./support/cli.ts";
import { TestState } from "./support/state.ts";
import { assertSameTree, makeRichTree, treeOf } from "./support/tree.ts";

/** A small register: a, dir/b, dir/c.csv, dir/sub/d.csv and a link. */
async function small(t: Parameters<typeof TestState.found>[0]): Promise<TestState> {
  const state = await TestState.found(t);
  mkdirSync(state.path("data", "dir/sub"), { recursive: true });
  for (const file of ["a", "dir/b", "dir/c.csv", "dir/sub/d.csv"]) state.write(file, `of ${file}`);
  symlinkSync("a", state.path("data", "link"));
  good(await state.protect());
  return state;
}

describe("restoring", () => {
  test("only what a path names comes, with the directories that lead there", async (t) => {
    const state = await small(t);
    const cases: readonly {
      readonly paths: readonly string[];
      readonly there: readonly string[];
    }[] = [
      { paths: ["dir/sub"], there: [".", "dir", "dir/sub", "dir/sub/d.csv"] },
      { paths: ["*.csv"], there: [".", "dir", "dir/c.csv", "dir/sub", "dir/sub/d.csv"] },
      { paths: ["/dir/*.csv", "a"], there: [".", "a", "dir", "dir/c.csv"] },
      { paths: ["/dir/sub/"], there: [".", "dir", "dir/sub", "dir/sub/d.csv"] },
      { paths: ["none"], there: ["."] },
    ];
    const before = treeOf(state.path("data"));
    for (const [i, { paths, there }] of cases.entries()) {
      good(await state.restore(`out-${i}`, ...paths.flatMap((path) => ["--path", path])));
      const tree = treeOf(state.path(`out-${i}`));
      assert.deepEqual(Object.keys(tree).sort(), [...there].sort());
      for (const path of there) if (path !== ".") assert.equal(tree[path], before[path]);
    }
  });

  test("what exists is left as it is and named; the rest comes", async (t) => {
    const state = await small(t);
    mkdirSync(state.path("out/dir"), { recursive: true });
    writeFileSync(state.path("out/a"), "mine");
    writeFileSync(state.path("out/dir/c.csv"), "mine too");
    writeFileSync(state.path("out/unrelated"), "untouched");
    const report = good(await state.restore("out"), 3);
    assert.deepEqual(report.problems.map(({ path, kind }) => `${path} ${kind}`).sort(), [
      "a refused",
      "dir/c.csv refused",
    ]);
    assert.equal(state.read("out/a").toString(), "mine");
    assert.equal(state.read("out/dir/c.csv").toString(), "mine too");
    assert.equal(state.read("out/dir/b").toString(), "of dir/b");
    assert.equal(state.read("out/unrelated").toString(), "untouched");
  });

  test("with --overwrite files are replaced, and what is not in the register stays", async (t) => {
    const state = await small(t);
    mkdirSync(state.path("out/dir"), { recursive: true });
    writeFileSync(state.path("out/a"), "mine, and longer than what was there");
    writeFileSync(state.path("out/link"), "a file where a link was");
    symlinkSync("/dev/null", state.path("out/dir/b"));
    writeFileSync(state.path("out/unrelated"), "untouched");
    good(await state.restore("out", "--overwrite"));
    const restored = { ...treeOf(state.path("out")) };
    assert.match(restored.unrelated ?? "", /9 bytes/);
    delete restored.unrelated;
    const before = { ...treeOf(state.path("data")) };
    // The target was there before, so its own metadata stays.
    restored["."] = before["."] ?? "";
    assertSameTree(restored, before);
  });

  test("a restore over itself changes nothing", async (t) => {
    const state = await TestState.found(t);
    makeRichTree(state.path("data"));
    good(await state.protect());
    good(await state.restore("out"));
    good(await state.restore("out", "--overwrite"));
    const before = treeOf(state.path("data"));
    // The target was there before, so its own metadata stays.
    assertSameTree({ ...treeOf(state.path("out")), ".": before["."] ?? "" }, before);
  });

  test("no link in the target leads a restore out of it", async (t) => {
    const state = await small(t);
    mkdirSync(state.path("victim/sub"), { recursive: true });
    writeFileSync(state.path("victim/b"), "victim's");
    mkdirSync(state.path("out"));
    symlinkSync(state.path("victim"), state.path("out/dir"));
    symlinkSync(state.path("victim/new"), state.path("out/a"));
    const before = treeOf(state.path("victim"));
    for (const flags of [[], ["--overwrite"]]) {
      const report = good(await state.restore("out", ...flags), 3);
      assert.ok(report.problems.some(({ path, kind }) => path === "dir" && kind === "refused"));
      assertSameTree(treeOf(state.path("victim")), before);
    }
    assert.equal(state.read("out/a").toString(), "of a", "--overwrite replaced the link itself");
  });

  test("a link as the target itself is where the user wants it", async (t) => {
    const state = await small(t);
    mkdirSync(state.path("real"));
    symlinkSync("real", state.path("out"));
    good(await state.restore("out"));
    assert.equal(state.read("real/dir/b").toString(), "of dir/b");
  });

  test("a target that is a file is refused, and stays", async (t) => {
    const state = await small(t);
    writeFileSync(state.path("out"), "a file");
    failed(await state.restore("out"), "unsafe-target");
    assert.equal(state.read("out").toString(), "a file");
  });

  test("a file where a directory must be is named with what was to be in it", async (t) => {
    const state = await small(t);
    mkdirSync(state.path("out"));
    writeFileSync(state.path("out/dir"), "a file");
    const report = good(await state.restore("out", "--overwrite"), 3);
    assert.ok(report.problems.some(({ path }) => path === "dir"));
    assert.equal(state.read("out/dir").toString(), "a file");
    assert.equal(state.read("out/a").toString(), "of a");
  });

  test("a recovery point is chosen by time, by id, or is the newest", async (t) => {
    const state = await TestState.found(t);
    const points = [];
    for (const content of ["one", "two", "three"]) {
      state.write("a", content);
      points.push(good(await state.protect()));
    }
    let run = 0;
    const restored = async (...flags: readonly string[]): Promise<string> => {
      const to = `out-${run++}`;
      good(await state.restore(to, ...flags));
      return state.read(to, "a").toString();
    };
    const [first, second, third] = points;
    assert.equal(await restored(), "three");
    assert.equal(await restored("--snapshot", first?.snapshot ?? ""), "one");
    assert.equal(
      await restored("--snapshot", second?.snapshot.slice(0, 8).toUpperCase() ?? ""),
      "two",
    );
    assert.equal(await restored("--at", second?.time ?? ""), "two");
    const before = (time: string | undefined): string =>
      new Date(Date.parse(time ?? "") - 1).toISOString();
    assert.equal(await restored("--at", before(third?.time)), "two");
    assert.equal(await restored("--at", "2999-01-01"), "three");
    failed(await state.restore("none", "--at", before(first?.time)), "unknown-name", 2);
    failed(await state.restore("none", "--at", "yesterday-ish"), "usage", 2);
    failed(await state.restore("none", "--snapshot", "ffff0000"), "unknown-name", 2);
    failed(await state.restore("none", "--snapshot", ""), "unknown-name", 2);
    failed(await state.run(["restore", "other", "--to", state.path("none")]), "unknown-name", 2);
  });

  test("hard links restored by path come as files when only one name is asked for", async (t) => {
    const state = await TestState.found(t);
    makeRichTree(state.path("data"));
    good(await state.protect());
    const outcome = await state.restore("out", "--path", "/second-name");
    // Either it comes, or it is named with the name to ask for as well.
    if (outcome.code === 0) {
      assert.ok(state.read("out", "second-name").equals(state.read("data", "second-name")));
    } else {
      const report = good(outcome, 3);
      assert.match(report.problems[0]?.why ?? "", /dir\/first-name/);
    }
  });

  test("nothing of a restore stays in home", async (t) => {
    const state = await small(t);
    const before = Object.keys(treeOf(state.home)).filter((path) => !path.includes("catalog"));
    good(await state.restore("out"));
    rmSync(state.path("out"), { recursive: true });
    const after = Object.keys(treeOf(state.home)).filter((path) => !path.includes("catalog"));
    assert.deepEqual(after, before);
  });
});
