/** Protecting files again and again: what is stored, what is left alone, what is reported. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import {
  appendFileSync,
  chmodSync,
  linkSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { ProtectReport } from "../src/registers/protect.ts";
import { ended, failed, good, shown, start } from "./support/cli.ts";
import { mountSmall, temporaryFolder } from "./support/places.ts";
import { randomBytes } from "./support/random.ts";
import { SITES, TestState } from "./support/state.ts";
import { assertSameTree, isRoot, makeRichTree, treeOf } from "./support/tree.ts";

/** The times of changed files lie before the protect that follows, by the clock that both use. */
const LONG_AGO = 1_600_000_000;

describe("protecting again", () => {
  test("what did not change is neither read nor stored again", async (t) => {
    const state = await TestState.found(t);
    makeRichTree(state.path("data"));
    const first = good(await state.protect());
    const shards = state.everyObject("shard");
    const second = good(await state.protect());
    assert.equal(second.files, first.files);
    // Of the three names of one file, one is taken over, and the empty file costs nothing to read.
    assert.equal(second.unchangedFiles, first.files - 2);
    assert.equal(second.bytes, first.bytes);
    assert.equal(second.sequence, 2);
    // A tail holds the new root, and that is all: one shard a site.
    const added = state.everyObject("shard").filter((shard) => !shards.includes(shard));
    assert.equal(added.length, SITES.length);
    assert.equal(second.stored.packs, 1);
    good(await state.restore("out"));
    assertSameTree(treeOf(state.path("out")), treeOf(state.path("data")));
  });

  test("a damaged cache of entries costs time, and nothing else", async (t) => {
    const state = await TestState.found(t);
    makeRichTree(state.path("data"));
    good(await state.protect());
    const cache = state.path("home", "cache");
    const [file] = readdirSync(cache).filter((name) => name.startsWith("entries-"));
    assert.ok(file);
    truncateSync(join(cache, file), 100);
    const second = good(await state.protect());
    assert.equal(second.unchangedFiles, 0);
    assert.equal(second.stored.packs, 1, "all of it was known, but for the root");
    good(await state.restore("out"));
    assertSameTree(treeOf(state.path("out")), treeOf(state.path("data")));
  });

  test("one changed byte stores that file's chunk and nothing else", async (t) => {
    const state = await TestState.found(t);
    for (let i = 0; i < 40; i++) state.write(`file-${i}`, randomBytes(`${i}`, 20_000));
    state.write("large", randomBytes("large", 4_000_000));
    good(await state.protect());
    const changed = state.read("data", "file-7");
    changed[10_000] = (changed[10_000] ?? 0) ^ 1;
    state.write("file-7", changed);
    const second = good(await state.protect());
    assert.equal(second.unchangedFiles, 40);
    // The file's one chunk, the chunk of entries around it, the index and the root.
    assert.ok(second.stored.rawBytes > 20_000, `${second.stored.rawBytes}`);
    assert.ok(second.stored.rawBytes < 60_000, `${second.stored.rawBytes}`);
    good(await state.restore("out"));
    assertSameTree(treeOf(state.path("out")), treeOf(state.path("data")));
  });

  test("a byte inserted into a large file stores about a chunk", async (t) => {
    const state = await TestState.found(t);
    const content = randomBytes("large", 6_000_000);
    state.write("large", content);
    good(await state.protect());
    state.write(
      "large",
      Buffer.concat([
        content.subarray(0, 3_000_000),
        Buffer.from("!"),
        content.subarray(3_000_000),
      ]),
    );
    const second = good(await state.protect());
    assert.ok(second.stored.rawBytes < 1_000_000, `${second.stored.rawBytes}`);
    good(await state.restore("out"));
    assert.ok(state.read("out", "large").equals(state.read("data", "large")));
  });

  test("a file renamed or copied is stored no second time", async (t) => {
    const state = await TestState.found(t);
    state.write("original", randomBytes("original", 3_000_000));
    good(await state.protect());
    state.write("copy", state.read("data", "original"));
    renameSync(state.path("data", "original"), state.path("data", "renamed"));
    const second = good(await state.protect());
    assert.ok(second.stored.rawBytes < 20_000, `${second.stored.rawBytes}`);
    good(await state.restore("out"));
    assertSameTree(treeOf(state.path("out")), treeOf(state.path("data")));
  });

  test("changes that keep size and modification time are seen", async (t) => {
    const state = await TestState.found(t);
    const path = state.path("data", "register.db");
    writeFileSync(path, "balance 1000");
    utimesSync(path, LONG_AGO, LONG_AGO);
    good(await state.protect());
    writeFileSync(path, "balance 9999");
    utimesSync(path, LONG_AGO, LONG_AGO);
    good(await state.protect());
    good(await state.restore("out"));
    assert.equal(state.read("out", "register.db").toString(), "balance 9999");
  });

  test("changes of mode, kind and links alone are seen", async (t) => {
    const state = await TestState.found(t);
    for (const name of ["mode", "kind", "linked", "gone", "dir-to-file"]) {
      if (name === "dir-to-file") mkdirSync(state.path("data", name));
      else state.write(name, `content of ${name}`);
    }
    good(await state.protect());
    chmodSync(state.path("data", "mode"), 0o400);
    rmSync(state.path("data", "kind"));
    symlinkSync("mode", state.path("data", "kind"));
    linkSync(state.path("data", "linked"), state.path("data", "a-link"));
    rmSync(state.path("data", "gone"));
    rmSync(state.path("data", "dir-to-file"), { recursive: true });
    state.write("dir-to-file", "now a file");
    good(await state.protect());
    good(await state.restore("out"));
    assertSameTree(treeOf(state.path("out")), treeOf(state.path("data")));
  });

  test("an earlier recovery point stays what it was", async (t) => {
    const state = await TestState.found(t);
    const trees = [];
    for (let day = 0; day < 3; day++) {
      state.write("daily", `day ${day}`);
      state.write(`of-day-${day}`, randomBytes(`${day}`, 5000));
      if (day > 0) rmSync(state.path("data", `of-day-${day - 1}`));
      const { snapshot } = good(await state.protect());
      trees.push({ snapshot, tree: treeOf(state.path("data")) });
    }
    for (const { snapshot, tree } of trees) {
      good(await state.restore(snapshot, "--snapshot", snapshot.slice(0, 10)));
      assertSameTree(treeOf(state.path(snapshot)), tree);
    }
  });
});

describe("what cannot be read", () => {
  test("a file that may not be read is named, the rest is protected, and the run is incomplete", async (t) => {
    if (!isRoot) {
      t.skip("only root can run a command as somebody who may not read a file");
      return;
    }
    const state = await TestState.found(t);
    state.write("open", "open");
    state.write("secret", "secret");
    state.write("zz", "after it");
    mkdirSync(state.path("data", "closed"));
    writeFileSync(state.path("data", "closed", "inside"), "inside");
    handOver(state, NOBODY);
    chmodSync(state.path("data", "secret"), 0o000);
    chmodSync(state.path("data", "closed"), 0o000);
    const outcome = await state.run<ProtectReport>(["protect", "docs"], { uid: NOBODY });
    const report = good(outcome, 3);
    assert.equal(report.complete, false);
    assert.deepEqual(
      report.problems.map(({ path, kind, why }) => ({ path, kind, why })),
      [
        { path: "closed", kind: "unreadable", why: "EACCES" },
        { path: "secret", kind: "unreadable", why: "EACCES" },
      ],
    );
    assert.equal(
      outcome.notices.filter((notice) => /^(secret|closed) cannot be read/.test(notice)).length,
      2,
    );
    good(await state.restore("out"));
    assert.deepEqual(Object.keys(treeOf(state.path("out"))).sort(), [".", "closed", "open", "zz"]);
    assert.deepEqual(
      (await state.snapshots()).snapshots.map(({ complete }) => complete),
      [false],
    );
    assert.match((await state.status()).needs.join(), /incomplete/);
  });

  test("a file that is written while it is read is kept as read, named, and read again next time", async (t) => {
    const state = await TestState.found(t);
    // Larger than what is read before the change is seen to take effect.
    state.write("growing", randomBytes("growing", 48 * 1024 * 1024));
    state.write("quiet", "quiet");
    const stop = { now: false };
    const child = start(state.home, ["protect", "docs"]);
    const writing = (async () => {
      while (!stop.now) {
        appendFileSync(state.path("data", "growing"), "more");
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    const outcome = await ended<ProtectReport>(child);
    stop.now = true;
    await writing;
    const report = good(outcome, 3);
    assert.deepEqual(
      report.problems.map(({ path, kind }) => ({ path, kind })),
      [{ path: "growing", kind: "changed" }],
    );
    const again = good(await state.protect());
    assert.deepEqual([again.complete, again.unchangedFiles], [true, 1]);
    good(await state.restore("out"));
    assertSameTree(treeOf(state.path("out")), treeOf(state.path("data")));
  });

  test("a file that vanishes or is cut short under the reader's hands is named, the rest is protected", async (t) => {
    const state = await TestState.found(t);
    // Names sort so that the walk meets a large file first, and is then far ahead of the reading.
    state.write("a-large", randomBytes("large", 64 * 1024 * 1024));
    for (let i = 0; i < 600; i++) state.write(`f${i}`, randomBytes(`${i}`, 300));
    state.write("z-cut", randomBytes("cut", 40 * 1024 * 1024));
    const child = start(state.home, ["protect", "docs"]);
    // The first pack at a site shows that files are being read.
    await state.shards(1);
    rmSync(state.path("data", "f99"));
    truncateSync(state.path("data", "z-cut"), 10 * 1024 * 1024);
    const outcome = await ended<ProtectReport>(child);
    const problems = outcome.report.problems.map(({ path, kind }) => `${path} ${kind}`);
    const met = outcome.code === 3;
    assert.ok(met || outcome.code === 0, shown(outcome));
    // Both may be met before or after they change; whatever is said fits what is restored.
    for (const one of problems) assert.match(one, /^(f99 vanished|z-cut changed)$/);
    good(await state.restore("out"));
    const restored = treeOf(state.path("out"));
    assert.equal("f99" in restored, !problems.includes("f99 vanished"));
    assert.ok("f98" in restored && "a-large" in restored && "z-cut" in restored);
    t.diagnostic(`named: ${problems.join(", ") || "nothing, all was read in time"}`);
  });

  test("another file that took a file's name is not stored under the old one's facts", async (t) => {
    const state = await TestState.found(t);
    state.write("a-large", randomBytes("large", 64 * 1024 * 1024));
    state.write("replaced", randomBytes("replaced", 500_000));
    state.write("other", randomBytes("other", 400_000));
    const child = start(state.home, ["protect", "docs"]);
    await state.shards(1);
    renameSync(state.path("data", "other"), state.path("data", "replaced"));
    const outcome = await ended<ProtectReport>(child);
    good(await state.restore("out"));
    const restored = treeOf(state.path("out"));
    const problems = outcome.report.problems.map(({ path }) => path);
    // Whatever was met, nothing in the recovery point pretends to be a file that never was.
    if ("replaced" in restored) {
      assert.ok(
        [500_000, 400_000].includes(state.read("out", "replaced").length),
        `an empty file stands for it; named: ${problems.join()}`,
      );
    } else {
      assert.ok(problems.includes("replaced"));
    }
  });

  test("a socket is named and not kept, which leaves nothing incomplete", async (t) => {
    const state = await TestState.found(t);
    state.write("file", "file");
    const server = createServer().listen(state.path("data", "socket"));
    await once(server, "listening");
    t.after(() => server.close());
    const report = good(await state.protect());
    assert.deepEqual(
      report.problems.map(({ path, kind }) => ({ path, kind })),
      [{ path: "socket", kind: "not-kept" }],
    );
    assert.equal(report.complete, true);
    good(await state.restore("out"));
    assert.deepEqual(Object.keys(treeOf(state.path("out"))).sort(), [".", "file"]);
  });

  test("a register whose directory is gone, or is a link, is refused: no empty recovery point", async (t) => {
    const state = await TestState.found(t);
    state.write("file", "file");
    good(await state.protect());
    renameSync(state.path("data"), state.path("elsewhere"));
    failed(await state.protect(), "usage", 2);
    symlinkSync("elsewhere", state.path("data"));
    failed(await state.protect(), "usage", 2);
    assert.equal((await state.snapshots()).snapshots.length, 1);
    rmSync(state.path("data"));
    renameSync(state.path("elsewhere"), state.path("data"));
    assert.equal(good(await state.protect()).unchangedFiles, 1);
  });
});

describe("what a register is made of", () => {
  test("excludes are left out, whatever is in them", async (t) => {
    const folder = temporaryFolder(t);
    const state = await TestState.found(t, {
      folder,
      register: [
        "docs",
        "--kind",
        "files",
        "--path",
        `${folder}/data`,
        "--exclude",
        "*.tmp",
        "--exclude",
        "/cache/",
      ],
    });
    for (const dir of ["cache", "cache/deep", "keep", "keep/cache"])
      mkdirSync(state.path("data", dir));
    for (const file of ["a", "a.tmp", "cache/b", "cache/deep/c", "keep/d.tmp", "keep/cache/e"]) {
      state.write(file, file);
    }
    assert.equal(good(await state.protect()).complete, true);
    good(await state.restore("out"));
    assert.deepEqual(Object.keys(treeOf(state.path("out"))).sort(), [
      ".",
      "a",
      "keep",
      "keep/cache",
      "keep/cache/e",
    ]);
  });

  test("with --one-file-system other disks are not entered, and without it they are", async (t) => {
    const disk = mountSmall(t, 256 * 1024);
    if ("why" in disk) {
      t.skip(disk.why);
      return;
    }
    writeFileSync(`${disk.path}/on-the-disk`, "other disk");
    writeFileSync(`${disk.around}/here`, "same disk");
    const files = ["--kind", "files", "--path", disk.around];
    const state = await TestState.found(t, { register: ["docs", ...files] });
    const sites = ["--sites", SITES.join(","), "--threshold", "3"];
    await state.good("register", "add", "one", ...files, "--one-file-system", ...sites);
    good(await state.protect());
    await state.good("protect", "one");
    good(await state.restore("out"));
    assertSameTree(treeOf(state.path("out")), treeOf(disk.around));
    await state.good("restore", "one", "--to", state.path("one"));
    assert.deepEqual(Object.keys(treeOf(state.path("one"))), [".", "disk", "here"]);
  });

  test("several parts come back side by side, to one moment", async (t) => {
    const folder = temporaryFolder(t);
    for (const part of ["civil", "land/civil"]) mkdirSync(`${folder}/${part}`, { recursive: true });
    writeFileSync(`${folder}/civil/births.csv`, "births");
    writeFileSync(`${folder}/land/civil/titles.csv`, "titles");
    writeFileSync(`${folder}/Ledger.TXT`, "a part that is one file");
    const state = await TestState.found(t, {
      folder,
      register: [
        "docs",
        "--kind",
        "files",
        ...["civil", "land/civil", "Ledger.TXT"].flatMap((path) => ["--path", `${folder}/${path}`]),
      ],
    });
    const report = good(await state.protect());
    assert.equal(report.files, 3);
    assert.equal(good(await state.protect()).unchangedFiles, 3);
    good(await state.restore("out"));
    assertSameTree(treeOf(state.path("out", "civil")), treeOf(`${folder}/civil`));
    assertSameTree(treeOf(state.path("out", "civil-2")), treeOf(`${folder}/land/civil`));
    assert.equal(
      state.read("out", "ledger.txt", "Ledger.TXT").toString(),
      "a part that is one file",
    );
  });

  test("a register that is one file, or an empty directory, comes back as such", async (t) => {
    const folder = temporaryFolder(t);
    writeFileSync(`${folder}/one.csv`, "one file");
    const state = await TestState.found(t, {
      folder,
      register: ["docs", "--kind", "files", "--path", `${folder}/one.csv`],
    });
    good(await state.protect());
    good(await state.restore("out"));
    assert.deepEqual(Object.keys(treeOf(state.path("out"))), [".", "one.csv"]);
    await state.good(
      ...["register", "add", "none", "--kind", "files", "--path", state.path("data")],
      ...["--sites", SITES.join(","), "--threshold", "3"],
    );
    await state.good("protect", "none");
    await state.good("restore", "none", "--to", state.path("none"));
    assertSameTree(treeOf(state.path("none")), treeOf(state.path("data")));
  });

  test("input that is encrypted already is noticed, and said once", async (t) => {
    const state = await TestState.found(t);
    state.write("encrypted.bin", randomBytes("encrypted", 20 * 1024 * 1024));
    const outcome = await state.protect();
    good(outcome);
    assert.equal(
      outcome.notices.filter((notice) => /compressed or encrypted/.test(notice)).length,
      1,
    );
  });
});

const NOBODY = 65_534;

/** Gives home, sites and data to another user, who is to run a command. */
function handOver(state: TestState, uid: number): void {
  execFileSync("chown", ["-R", `${uid}:${uid}`, state.folder]);
}

test("status names a register whose newest recovery point is older than was declared to be bearable", async (t) => {
  const state = await TestState.found(t, { register: false });
  await state.good("register", "declare", "docs", "--recovery-point", "24h");
  state.write("a", "a record");
  await state.addRegister(undefined, ["bb", "kn", "lu", "ee", "ca"], 3);
  good(await state.protect());
  const late = /newest recovery point of docs, .* is older than the State said/;
  assert.doesNotMatch((await state.status()).needs.join("\n"), late);
  // Commands that are started from here have a clock that is two days ahead.
  const clock =
    "const real = Date.now; Date = class extends Date { constructor(...given) {" +
    " super(...(given.length ? given : [real() + 172_800_000])); } };";
  const before = process.env.NODE_OPTIONS;
  process.env.NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(clock)}`;
  t.after(() => {
    if (before === undefined) delete process.env.NODE_OPTIONS;
    else process.env.NODE_OPTIONS = before;
  });
  assert.match((await state.status()).needs.join("\n"), late);
});
