/** Sites that are gone, full or foreign; catalogs that are lost, foreign or wrong; two runs at once. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import type { ProtectReport } from "../src/registers/protect.ts";
import { ended, failed, good, shown, start } from "./support/cli.ts";
import { mountSmall, temporaryFolder } from "./support/places.ts";
import { randomBytes } from "./support/random.ts";
import { SITES, TestState } from "./support/state.ts";
import { assertSameTree, isRoot, treeOf } from "./support/tree.ts";

async function withFiles(
  t: TestContext,
  options: Parameters<typeof TestState.found>[1] = {},
): Promise<TestState> {
  const state = await TestState.found(t, options);
  for (let i = 0; i < 10; i++) state.write(`file-${i}`, randomBytes(`${i}`, 5000));
  return state;
}

/** Restores the newest recovery point and compares. */
async function assertRestores(state: TestState, to = "compared"): Promise<void> {
  good(await state.restore(to));
  assertSameTree(treeOf(state.path(to)), treeOf(state.path("data")));
}

describe("two runs at once", () => {
  test("the second says that the register is busy and changes nothing; the first is not disturbed", async (t) => {
    const state = await TestState.found(t, { register: ["docs", "--kind", "stream"] });
    // It is at work until its input ends.
    const child = start(state.home, ["protect", "docs", "--stdin"]);
    const first = ended<ProtectReport>(child, undefined, false);
    child.stdin?.write(randomBytes("input", 40 * 1024 * 1024));
    await state.shards(1);
    const second = await state.run(["protect", "docs", "--stdin"], {
      input: Buffer.from("second"),
    });
    assert.match(failed(second, "busy"), /another process is at work on register "docs"/);
    failed(await state.run(["rebuild"]), "busy");
    child.stdin?.end("the end");
    good(await first);
    assert.equal((await state.snapshots()).snapshots.length, 1);
    const out = await state.run(["restore", "docs", "--stdout"], { json: false });
    assert.equal(out.stdout.length, 40 * 1024 * 1024 + 7);
  });

  test("what one adds to the configuration is not lost to another that read it before", async (t) => {
    const state = await TestState.found(t);
    const early = await state.openHome();
    const where = ["--path", state.path("data"), "--sites", state.siteNames.join(",")];
    await state.good("register", "add", "more", "--kind", "files", ...where, "--threshold", "3");
    await early.saveRegister({ ...early.register("docs"), epoch: 65_536 });
    const { config } = await state.openHome();
    assert.deepEqual(config.registers.map(({ name, epoch }) => `${name} ${epoch}`).toSorted(), [
      "docs 65536",
      "more 0",
    ]);
  });

  test("a run that was killed leaves no lock behind", async (t) => {
    const state = await TestState.found(t, { register: ["docs", "--kind", "stream"] });
    const child = start(state.home, ["protect", "docs", "--stdin"]);
    const first = ended(child, undefined, false);
    child.stdin?.write(randomBytes("input", 40 * 1024 * 1024));
    await state.shards(1);
    child.kill("SIGKILL");
    assert.equal((await first).signal, "SIGKILL");
    good(await state.run(["protect", "docs", "--stdin"], { input: Buffer.from("second") }));
  });
});

describe("a run that was stopped between its statement and its checkpoint", () => {
  /** As it was before a run, with what that run brought to the sites until one of them had its statement. */
  async function stopped(t: TestContext): Promise<{ state: TestState; committed: string }> {
    const state = await withFiles(t);
    good(await state.protect());
    const all = ["home", ...SITES];
    for (const name of all)
      cpSync(state.path(name), state.path(`${name}.before`), { recursive: true });
    state.write("second", randomBytes("second", 100_000));
    const committed = good(await state.protect()).snapshot;
    for (const name of all) renameSync(state.path(name), state.path(`${name}.whole`));
    for (const name of all) renameSync(state.path(`${name}.before`), state.path(name));
    for (const site of SITES) {
      for (const kind of ["shard", "manifest", ...(site === "ca" ? ["statement"] : [])]) {
        cpSync(state.path(`${site}.whole`, kind), state.path(site, kind), { recursive: true });
      }
    }
    return { state, committed };
  }

  const idsOf = async (state: TestState): Promise<readonly string[]> =>
    (await state.snapshots()).snapshots.map(({ id }) => id);

  test("the next run commits it: the write quorum has the statement before the ledger names it", async (t) => {
    const { state, committed } = await stopped(t);
    good(await state.protect());
    const ids = await idsOf(state);
    assert.equal(ids.length, 3);
    assert.equal(ids[1], committed);
    assert.equal(good(await state.check("--full")).good, true);
    // The site that alone had it is lost, and so is home.
    state.lose("home", "ca");
    good(await state.recover("new", ["bb", "kn", "lu"]));
    assert.deepEqual(await idsOf(state), ids);
    good(await state.restore("out", "--snapshot", committed));
    assertSameTree(treeOf(state.path("out")), treeOf(state.path("data")));
  });

  test("rebuild commits it where enough sites are open, and leaves it to the next run where not", async (t) => {
    const { state, committed } = await stopped(t);
    const before = await idsOf(state);
    for (const site of ["bb", "kn"]) state.takeAway(site);
    const outcome = await state.run<{ problems: readonly string[] }>(["rebuild"]);
    assert.match(good(outcome, 3).problems.join(), /was stopped before it was committed/);
    assert.deepEqual(await idsOf(state), before);
    assert.equal(state.everyObject("statement").length, 4, "the old one thrice, and the new one");
    for (const site of ["bb", "kn"]) state.bringBack(site);
    assert.deepEqual(
      good(await state.run<{ problems: readonly string[] }>(["rebuild"])).problems,
      [],
    );
    assert.deepEqual(await idsOf(state), [committed, ...before]);
    assert.equal(state.everyObject("statement").length, 10);
  });
});

describe("sites that are gone", () => {
  test("with one site gone protect goes on; status says what the site lacks, check that it is away", async (t) => {
    const state = await withFiles(t);
    state.takeAway("ee");
    const outcome = await state.protect();
    const report = good(outcome);
    assert.deepEqual(Object.keys(report.failedSites), ["ee"]);
    assert.ok(outcome.notices.some((notice) => /site ee does not take part/.test(notice)));
    const status = await state.status();
    assert.deepEqual(
      status.debts,
      [{ site: "ee", shards: report.stored.packs + 1 }].map(({ site }) => ({
        site,
        shards: status.debts[0]?.shards,
      })),
    );
    assert.ok((status.debts[0]?.shards ?? 0) >= report.stored.packs);
    assert.ok(
      status.needs.some((need) => /site ee lacks \d+ shards/.test(need)),
      status.needs.join(),
    );
    assert.equal(
      good(await state.check(), 4).sites.find(({ site }) => site === "ee")?.unavailable !==
        undefined,
      true,
    );
    await assertRestores(state);
    state.bringBack("ee");
    state.write("more", "more");
    assert.deepEqual(good(await state.protect()).failedSites, {});
    await assertRestores(state, "again");
  });

  test("below the write quorum nothing is committed, the error says what to do, and later it works", async (t) => {
    const state = await withFiles(t);
    good(await state.protect());
    state.write("new", "new");
    state.takeAway("ee");
    state.takeAway("lu");
    const message = failed(await state.protect(), "write-quorum");
    assert.match(message, /3 of 5 sites can store, and 4 must/);
    assert.match(message, /ee: .*lu: |lu: .*ee: /);
    assert.match(message, /Nothing was committed/);
    assert.equal((await state.snapshots()).snapshots.length, 1);
    state.bringBack("ee");
    assert.deepEqual(Object.keys(good(await state.protect()).failedSites), ["lu"]);
    state.bringBack("lu");
    await assertRestores(state);
  });

  test("a site that goes away during the run is left behind, if enough are left", async (t) => {
    const state = await TestState.found(t, { register: ["docs", "--kind", "stream"] });
    const child = start(state.home, ["protect", "docs", "--stdin"]);
    const running = ended<ProtectReport>(child, undefined, false);
    const input = randomBytes("input", 90 * 1024 * 1024);
    child.stdin?.write(input.subarray(0, 40 * 1024 * 1024));
    await state.shards(1);
    state.lose("lu");
    child.stdin?.end(input.subarray(40 * 1024 * 1024));
    assert.deepEqual(Object.keys(good(await running).failedSites), ["lu"]);
    const out = await state.run(["restore", "docs", "--stdout"], { json: false });
    assert.ok(out.stdout.equals(input));
    assert.ok(!existsSync(state.path("lu")), "nothing was written where the site was");
  });

  test("two of three: what two sites hold is not forgotten while one of them is away", async (t) => {
    const state = await withFiles(t, { sites: ["bb", "kn", "lu"], threshold: 2 });
    state.takeAway("lu");
    const first = good(await state.protect());
    state.bringBack("lu");
    state.takeAway("bb");
    state.write("later", "later");
    good(await state.protect());
    state.bringBack("bb");
    // All three sites are there, as they were, and so are all shards that were ever stored.
    await assertRestores(state);
    good(await state.restore("first", "--snapshot", first.snapshot));
    assert.ok(state.read("first", "file-3").equals(state.read("data", "file-3")));
  });

  for (const kind of ["shard", "statement", "charter", "manifest", "wrap", "tmp"]) {
    test(`a site that lost its folder ${kind} hinders nobody`, async (t) => {
      const state = await withFiles(t);
      good(await state.protect());
      rmSync(state.path("kn", kind), { recursive: true });
      state.write("more", "more");
      good(await state.protect());
      await assertRestores(state);
      state.lose("home", "bb");
      good(await state.recover("new", SITES.slice(1)));
      await assertRestores(state, "recovered");
    });
  }

  test("a site whose folders cannot be listed counts as one that is down", async (t) => {
    if (!isRoot) {
      t.skip("only root can run a command as somebody who may not list a folder");
      return;
    }
    const state = await withFiles(t);
    good(await state.protect());
    state.write("more", "more");
    execFileSync("chown", ["-R", "65534:65534", state.folder]);
    for (const kind of ["shard", "statement", "charter"]) {
      execFileSync("chown", ["root", state.path("kn", kind)]);
      execFileSync("chmod", ["700", state.path("kn", kind)]);
      const outcome = await state.run<ProtectReport>(["protect", "docs"], { uid: 65_534 });
      assert.equal(outcome.code, 0, `${kind}: ${shown(outcome)}`);
      execFileSync("chown", ["65534", state.path("kn", kind)]);
    }
  });
});

describe("disks that are full", () => {
  test("a site whose disk is full is left behind, and named", async (t) => {
    const disk = mountSmall(t, 400 * 1024);
    if ("why" in disk) {
      t.skip(disk.why);
      return;
    }
    const state = await withFiles(t, { directories: { lu: join(disk.path, "lu") } });
    good(await state.protect());
    state.write("large", randomBytes("large", 3_000_000));
    const report = good(await state.protect());
    assert.deepEqual(Object.keys(report.failedSites), ["lu"]);
    assert.match(report.failedSites.lu ?? "", /full/);
    await assertRestores(state);
    assert.deepEqual(readdirSync(join(disk.path, "lu", "tmp")), []);
  });

  test("when home's disk is full nothing is committed, it says so, and with room it works", async (t) => {
    const disk = mountSmall(t, 1024 * 1024);
    if ("why" in disk) {
      t.skip(disk.why);
      return;
    }
    const state = await withFiles(t, { home: join(disk.path, "home") });
    good(await state.protect());
    // So many names that their entries do not fit home's cache.
    for (let i = 0; i < 4000; i++) state.write(`${"n".repeat(150)}-${i}`, "");
    const filler = join(disk.path, "filler");
    const free = Number(
      execFileSync("df", ["--output=avail", "-B1", disk.path]).toString().split("\n")[1],
    );
    writeFileSync(filler, new Uint8Array(Math.max(0, free - 96 * 1024)));
    const message = failed(await state.protect(), "disk-full");
    assert.match(message, /Nothing was committed|nothing was committed/);
    rmSync(filler);
    for (let i = 0; i < 3000; i++) rmSync(state.path("data", `${"n".repeat(150)}-${i}`));
    assert.equal((await state.snapshots()).snapshots.length, 1);
    good(await state.protect());
    await assertRestores(state);
  });

  test("when the target's disk is full a restore names what does not fit", async (t) => {
    const disk = mountSmall(t, 256 * 1024);
    if ("why" in disk) {
      t.skip(disk.why);
      return;
    }
    const state = await withFiles(t);
    state.write("large", randomBytes("large", 1_000_000));
    good(await state.protect());
    const report = good(
      await state.run<{ problems: { path: string; why: string }[] }>([
        ...["restore", "docs", "--to", join(disk.path, "out")],
      ]),
      3,
    );
    assert.match(report.problems.find(({ path }) => path === "large")?.why ?? "", /full/);
    assert.ok(!("large" in treeOf(join(disk.path, "out"))), "no part of it stays");
  });
});

describe("what belongs to another State", () => {
  test("another State's site is refused wherever it is met, and not touched", async (t) => {
    const [state, other] = [await withFiles(t), await withFiles(t)];
    good(await state.protect());
    const before = treeOf(other.path("kn"));
    failed(
      await state.run(["site", "add", "xx", "--country", "XX", "--directory", other.path("kn")]),
      "foreign-state",
    );
    // A disk swapped for another State's.
    rmSync(state.path("kn"), { recursive: true });
    cpSync(other.path("kn"), state.path("kn"), { recursive: true, preserveTimestamps: true });
    const swapped = treeOf(state.path("kn"));
    state.write("more", "more");
    for (const args of [
      ["protect", "docs"],
      ["check", "docs"],
      ["restore", "docs", "--to", state.path("out")],
    ]) {
      const message = failed(await state.run(args), "foreign-state");
      assert.ok(message.includes(state.path("kn")), message);
    }
    assertSameTree(treeOf(state.path("kn")), swapped);
    assertSameTree(treeOf(other.path("kn")), before);
  });

  test("another State's catalog is refused, and rebuild puts this State's in its place", async (t) => {
    const [state, other] = [await withFiles(t), await withFiles(t)];
    good(await state.protect());
    good(await other.protect());
    for (const suffix of ["", "-wal", "-shm"])
      rmSync(`${state.home}/catalog.sqlite${suffix}`, { force: true });
    copyFileSync(`${other.home}/catalog.sqlite`, `${state.home}/catalog.sqlite`);
    for (const args of [
      ["protect", "docs"],
      ["snapshots", "docs"],
      ["status"],
      ["restore", "docs", "--to", state.path("out")],
    ]) {
      assert.match(failed(await state.run(args), "foreign-state"), /exclave rebuild/);
    }
    await state.good("rebuild");
    assert.equal((await state.snapshots()).snapshots.length, 1);
    await assertRestores(state);
  });
});

describe("the catalog is a cache", () => {
  test("deleted and rebuilt: all recovery points are there, and the next protect stores nothing again", async (t) => {
    const state = await withFiles(t);
    good(await state.protect());
    state.write("second", "second");
    const trees = treeOf(state.path("data"));
    good(await state.protect());
    const before = await state.snapshots();
    const data = state.everyObject("shard").length;
    for (const suffix of ["", "-wal", "-shm"])
      rmSync(`${state.home}/catalog.sqlite${suffix}`, { force: true });
    rmSync(`${state.home}/cache`, { recursive: true });
    await state.good("rebuild");
    assert.deepEqual(await state.snapshots(), before);
    good(await state.restore("out"));
    assertSameTree(treeOf(state.path("out")), trees);
    const next = good(await state.protect());
    assert.equal(next.unchangedFiles, 11);
    assert.equal(next.stored.packs, 1, "the new root and nothing else");
    assert.equal(state.everyObject("shard").length, data + SITES.length);
    assert.equal(good(await state.check("--full")).good, true);
  });

  test("deleted without a rebuild: the next protect learns from the sites what there is", async (t) => {
    const state = await withFiles(t);
    const first = good(await state.protect());
    for (const suffix of ["", "-wal", "-shm"])
      rmSync(`${state.home}/catalog.sqlite${suffix}`, { force: true });
    const next = good(await state.protect());
    assert.equal(next.sequence, first.sequence + 1);
    assert.ok(next.stored.rawBytes < 5000, `${next.stored.rawBytes}`);
    assert.equal((await state.snapshots()).snapshots.length, 2);
    await assertRestores(state);
  });

  test("damaged: it is said with what to do, and rebuild mends it", async (t) => {
    const state = await withFiles(t);
    good(await state.protect());
    for (const suffix of ["-wal", "-shm"])
      rmSync(`${state.home}/catalog.sqlite${suffix}`, { force: true });
    writeFileSync(`${state.home}/catalog.sqlite`, randomBytes("noise", 50_000));
    assert.match(failed(await state.protect(), "malformed"), /exclave rebuild/);
    await state.good("rebuild");
    await assertRestores(state);
  });

  test("a document of the ledger that home lost: it is said with what to do, and rebuild fetches it", async (t) => {
    const state = await withFiles(t);
    good(await state.protect());
    const [decision] = readdirSync(state.path("home", "documents")).filter((file) =>
      file.startsWith("decision-"),
    );
    rmSync(state.path("home", "documents", decision ?? ""));
    assert.match(failed(await state.protect(), "altered"), /exclave rebuild/);
    await state.good("rebuild");
    good(await state.protect());
  });

  test("an old catalog from a backup of home learns what came after it", async (t) => {
    const state = await withFiles(t);
    good(await state.protect());
    cpSync(state.home, state.path("old-home"), { recursive: true });
    state.write("second", randomBytes("second", 100_000));
    const second = good(await state.protect());
    rmSync(state.home, { recursive: true });
    cpSync(state.path("old-home"), state.home, { recursive: true });
    const third = good(await state.protect());
    assert.equal(third.sequence, second.sequence + 1);
    assert.ok(third.stored.rawBytes < 50_000, `${third.stored.rawBytes}`);
    assert.equal((await state.snapshots()).snapshots.length, 3);
    await assertRestores(state);
  });

  test("a catalog that claims what no site holds makes no snapshot that cannot be restored", async (t) => {
    const state = await withFiles(t);
    good(await state.protect());
    for (const site of ["bb", "kn", "lu"]) {
      for (const file of state.objects(site, "shard")) rmSync(file);
    }
    assert.ok(good(await state.protect()).stored.rawBytes >= 50_000);
    await assertRestores(state);
    assert.equal(good(await state.protect()).unchangedFiles, 10);
  });

  test("with too few sites rebuild leaves the catalog as it is", async (t) => {
    const state = await withFiles(t);
    good(await state.protect());
    for (const site of ["bb", "kn", "lu"]) state.takeAway(site);
    failed(await state.run(["rebuild"]), "site-unavailable");
    assert.equal((await state.snapshots()).snapshots.length, 1);
  });

  test("registers at different sites are rebuilt without a word about each other", async (t) => {
    const state = await withFiles(t, { sites: ["bb", "kn", "lu", "ee", "ca"], register: false });
    const add = (name: string, sites: string) =>
      state.good(
        "register",
        "add",
        name,
        "--kind",
        "files",
        "--path",
        state.path("data"),
        "--sites",
        sites,
        "--threshold",
        "2",
      );
    await add("docs", "bb,kn,lu");
    await add("land", "lu,ee,ca");
    await state.good("protect", "docs");
    await state.good("protect", "land");
    const outcome = await state.run<{ registers: { recoveryPoints: number }[] }>(["rebuild"]);
    const report = good(outcome);
    assert.deepEqual(outcome.notices, []);
    assert.deepEqual(
      report.registers.map(({ recoveryPoints }) => recoveryPoints),
      [1, 1],
    );
  });
});

describe("commands that are wrong", () => {
  test("what is mistyped changes nothing and ends with exit code 2", async (t) => {
    const state = await TestState.found(t);
    const config = state.read("home", "config.json");
    const add = ["register", "add", "x", "--kind", "files", "--path", "/tmp", "--sites"];
    for (const args of [
      [
        ...add,
        "bb,kn,lu",
        "--threshold",
        "0",
        "--accept",
        "BB",
        "--accept",
        "bb",
        "--accept",
        "KN",
        "--accept",
        "kn",
        "--accept",
        "LU",
        "--accept",
        "lu",
      ],
      [...add, "bb,kn,lu", "--threshold", "4"],
      [...add, "bb,kn,lu", "--threshold", "two"],
      [...add, "bb,kn,lu", "--threshold", "2", "--survive", "2"],
      [...add, "bb,bb,lu", "--threshold", "2"],
      [...add, "bb,zz", "--threshold", "1"],
      [...add.slice(0, 2), "Caps", ...add.slice(3), "bb,kn,lu", "--threshold", "2"],
      ["register", "add", "docs", ...add.slice(3), "bb,kn,lu", "--threshold", "2"],
      ["site", "add", "bb", "--country", "BB", "--directory", state.path("second")],
      ["site", "add", "xx", "--country", "Barbados", "--directory", state.path("second")],
      ["site", "add", "../x", "--country", "BB", "--directory", state.path("second")],
      ["protect", "dogs"],
      ["protect", "docs", "--fast"],
      ["check", "dogs"],
      ["restore", "docs"],
      ["frobnicate"],
    ]) {
      const outcome = await state.run(args);
      assert.equal(outcome.code, 2, `${args.join(" ")}: ${shown(outcome)}`);
    }
    assert.ok(state.read("home", "config.json").equals(config));
    assert.ok(!existsSync(state.path("second")));
  });

  test("without a home the commands say how to get one", async (t) => {
    const folder = temporaryFolder(t);
    mkdirSync(join(folder, "empty"));
    const state = await TestState.found(t, { sites: [], register: false });
    for (const home of ["absent", "empty"]) {
      state.home = join(folder, home);
      assert.match(failed(await state.run(["status"]), "no-home"), /exclave found/);
    }
    assert.deepEqual(readdirSync(folder), ["empty"]);
  });
});
