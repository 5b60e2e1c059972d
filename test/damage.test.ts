/** What sites may do to shards, and what comes of it: nothing, up to n - k of them; and the truth beyond. */
import assert from "node:assert/strict";
import { copyFileSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { describe, test } from "node:test";
import { failed, good } from "./support/cli.ts";
import { randomBytes, randomNumbers, seedOf } from "./support/random.ts";
import { TestState } from "./support/state.ts";
import { assertSameTree, treeOf } from "./support/tree.ts";

/** Some files, protected; small ones in frames together, a large one in several chunks. */
async function protectedState(t: Parameters<typeof TestState.found>[0]): Promise<TestState> {
  const state = await TestState.found(t);
  for (let i = 0; i < 20; i++) state.write(`small-${i}`, randomBytes(`${i}`, 3000));
  state.write("large", randomBytes("large", 2_500_000));
  good(await state.protect());
  return state;
}

const name = (file: string): string => `shard/${basename(file)}`;

function siteOf(state: TestState, file: string): string {
  return file.slice(state.folder.length + 1).split("/")[0] ?? "";
}

type Damage = {
  readonly what: string;
  /** Does something to a shard's file; given are shards that are not this one. */
  readonly inflict: (
    file: string,
    others: { readonly another: Uint8Array; readonly foreign: Uint8Array },
  ) => void;
};

const number = randomNumbers(seedOf("EXCLAVE_TEST_SEED"));

/** Turns one bit, somewhere. */
function flip(file: string, at: (bytes: number) => number): void {
  const bytes = readFileSync(file);
  const position = at(bytes.length);
  bytes[position] = (bytes[position] ?? 0) ^ (1 << Math.floor(number() * 8));
  writeFileSync(file, bytes);
}

const damages: readonly Damage[] = [
  { what: "missing", inflict: (file) => rmSync(file) },
  { what: "cut to nothing", inflict: (file) => truncateSync(file, 0) },
  { what: "cut within its header", inflict: (file) => truncateSync(file, 100) },
  { what: "cut by one byte", inflict: (file) => truncateSync(file, readFileSync(file).length - 1) },
  { what: "changed by one bit in its header", inflict: (file) => flip(file, () => 20) },
  { what: "changed by one bit in its key share", inflict: (file) => flip(file, () => 110) },
  { what: "changed by one bit in its roots", inflict: (file) => flip(file, () => 140) },
  {
    what: "changed by one bit in its last block",
    inflict: (file) => flip(file, (bytes) => bytes - 1),
  },
  {
    what: "changed by one bit anywhere",
    inflict: (file) => flip(file, (bytes) => Math.floor(number() * bytes)),
  },
  {
    what: "overwritten by noise",
    inflict: (file) => writeFileSync(file, randomBytes(file, 40_000)),
  },
  {
    what: "replaced by another pack's shard",
    inflict: (file, { another }) => writeFileSync(file, another),
  },
  {
    what: "replaced by another State's shard",
    inflict: (file, { foreign }) => writeFileSync(file, foreign),
  },
];

describe("damage at n - k sites", () => {
  test("every kind of damage is found and named by check, and made good by restore", async (t) => {
    const state = await protectedState(t);
    const other = await protectedState(t);
    const before = treeOf(state.path("data"));
    const intact = new Map(
      ["kn", "ca"].flatMap((site) =>
        state.objects(site, "shard").map((file) => [file, readFileSync(file)] as const),
      ),
    );
    assert.equal(intact.size, 6, "data, entries and tail at each");
    for (let round = 0; round < 4; round++) {
      const kinds: string[] = [];
      for (const [i, file] of [...intact.keys()].entries()) {
        // The three at kn are new in each round; those at ca are those of half the rounds away.
        const damage = damages[(round * 3 + (i % 3) + (i < 3 ? 0 : 6)) % damages.length];
        const another = [...intact].find(([path]) => basename(path) !== basename(file))?.[1];
        const foreign = readFileSync(other.objects("kn", "shard")[i % 3] ?? "");
        damage?.inflict(file, { another: another ?? foreign, foreign });
        kinds.push(damage?.what ?? "");
      }
      const report = good(await state.check("--full"), 4);
      assert.deepEqual(
        report.findings.map(({ site, object }) => `${site} ${object}`).sort(),
        [...intact.keys()].map((file) => `${siteOf(state, file)} ${name(file)}`).sort(),
        kinds.join("; "),
      );
      assert.deepEqual([report.good, report.survives], [false, 0]);

      const restored = good(await state.restore(`out-${round}`));
      assertSameTree(treeOf(state.path(`out-${round}`)), before);
      assert.deepEqual(restored.problems, []);
      // Data lies at the first k sites, so what kn lacks has to be made good; ca's need not be touched.
      const sites = new Set(restored.shardProblems.map(({ site }) => site));
      assert.ok(sites.has("kn") && [...sites].every((site) => ["kn", "ca"].includes(site)));
      for (const [file, bytes] of intact) writeFileSync(file, bytes);
    }
    assert.equal(good(await state.check("--full")).good, true);
  });

  test("any two sites may be bad at once, in different ways", async (t) => {
    const state = await protectedState(t);
    const before = treeOf(state.path("data"));
    const shards = (site: string) => state.objects(site, "shard");
    for (const file of shards("bb")) rmSync(file);
    state.takeAway("ee");
    good(await state.restore("one"));
    assertSameTree(treeOf(state.path("one")), before);
    state.bringBack("ee");
    for (const file of shards("ee")) flip(file, (bytes) => bytes - 5);
    const restored = good(await state.restore("two"));
    assertSameTree(treeOf(state.path("two")), before);
    assert.ok(restored.shardProblems.some(({ site }) => site === "bb"));
  });

  test("each pack may be hurt at other sites: only how many matters", async (t) => {
    const state = await protectedState(t);
    const packs = [
      ...new Set(state.objects("bb", "shard").map((file) => basename(file).split(".")[0] ?? "")),
    ];
    for (const [i, pack] of packs.entries()) {
      for (const step of [0, 2]) {
        const site = state.siteNames[(i + step) % 5] ?? "";
        const file = state.objects(site, "shard").find((path) => path.includes(pack));
        truncateSync(file ?? "", 3000);
      }
    }
    good(await state.restore("out"));
    assertSameTree(treeOf(state.path("out")), treeOf(state.path("data")));
    assert.equal(good(await state.check("--full"), 4).findingCount, packs.length * 2);
  });

  test("statements and manifests that are missing or altered are named", async (t) => {
    const state = await protectedState(t);
    const [statement = ""] = state.objects("kn", "statement");
    const [manifest = ""] = state.objects("lu", "manifest");
    writeFileSync(statement, readFileSync(statement).fill(32, 10, 20));
    rmSync(manifest);
    const report = good(await state.check(), 4);
    assert.deepEqual(
      report.findings.map(({ site, object, why }) => `${site} ${object} ${why}`).sort(),
      [
        `kn statement/${basename(statement)} it is altered`,
        `lu manifest/${basename(manifest)} it is missing`,
      ],
    );
  });

  test("shards that lie at each other's sites are found all the same", async (t) => {
    const state = await protectedState(t);
    const kn = state.path("kn", "shard");
    for (const file of state.objects("bb", "shard")) {
      const digest = basename(file);
      copyFileSync(file, join(kn, digest.slice(0, 2), digest));
      rmSync(file);
    }
    for (const site of ["lu", "ee"]) state.lose(site);
    good(await state.restore("out"));
    assertSameTree(treeOf(state.path("out")), treeOf(state.path("data")));
  });
});

describe("damage beyond n - k", () => {
  /** Two files in packs of their own; and the files of the first one's pack at three sites, to be hurt. */
  async function lost(t: Parameters<typeof TestState.found>[0]): Promise<{
    readonly state: TestState;
    readonly files: readonly string[];
  }> {
    const state = await TestState.found(t);
    state.write("doomed", randomBytes("doomed", 300_000));
    const { stored } = good(await state.protect());
    assert.equal(stored.packs, 3);
    // Of data, entries and tail the data pack is by far the largest.
    const size = (file: string): number => readFileSync(file).length;
    const [largest = ""] = state.objects("bb", "shard").toSorted((a, b) => size(b) - size(a));
    const pack = basename(largest).split(".")[0] ?? "";
    state.write("safe", randomBytes("safe", 200_000));
    good(await state.protect());
    const files = ["bb", "kn", "lu"].flatMap((site) =>
      state.objects(site, "shard").filter((file) => basename(file).startsWith(pack)),
    );
    assert.equal(files.length, 3);
    return { state, files };
  }

  test("a file that cannot be had is named with its pack and the sites; nothing wrong is restored", async (t) => {
    const { state, files } = await lost(t);
    for (const file of files) flip(file, (bytes) => bytes - 1);
    const report = good(await state.check("--full"), 4);
    assert.equal(report.survives, -1);
    const message = failed(await state.restore("out"), "not-enough-shards");
    assert.match(
      message,
      /doomed cannot be restored: pack [0-9a-f]{32} needs 3 good shards of its 5 and has 2/,
    );
    for (const site of ["bb", "kn", "lu"]) assert.ok(message.includes(`${site}: `), message);
    assert.match(message, /--keep-going/);
    assert.ok(!("doomed" in treeOf(state.path("out"))), "nothing stands under its name");
  });

  test("with --keep-going the rest comes, and what is lost is named", async (t) => {
    const { state, files } = await lost(t);
    for (const file of files) rmSync(file);
    const report = good(await state.restore("out", "--keep-going"), 3);
    assert.deepEqual(
      report.problems.map(({ path, kind }) => `${path} ${kind}`),
      ["doomed lost"],
    );
    assert.deepEqual(Object.keys(treeOf(state.path("out"))).sort(), [".", "safe"]);
    assert.ok(state.read("out", "safe").equals(state.read("data", "safe")));
  });

  test("a lost file does not take with it what --overwrite was to replace", async (t) => {
    const { state, files } = await lost(t);
    for (const file of files) rmSync(file);
    good(await state.restore("out", "--keep-going"), 3);
    writeFileSync(state.path("out", "doomed"), "an older copy, and the only one");
    good(await state.restore("out", "--keep-going", "--overwrite"), 3);
    assert.equal(state.read("out", "doomed").toString(), "an older copy, and the only one");
  });

  test("the next protect notices and stores again what was lost", async (t) => {
    const { state, files } = await lost(t);
    for (const file of files) rmSync(file);
    const outcome = await state.protect();
    assert.ok(good(outcome).stored.rawBytes >= 300_000);
    assert.ok(
      outcome.notices.some((notice) => /can no longer be had/.test(notice)),
      outcome.stderr,
    );
    good(await state.restore("out"));
    assertSameTree(treeOf(state.path("out")), treeOf(state.path("data")));
    assert.equal(good(await state.protect()).unchangedFiles, 2);
  });

  test("check goes on saying that an earlier recovery point is lost, after data was stored again", async (t) => {
    const { state, files } = await lost(t);
    for (const file of files) rmSync(file);
    good(await state.protect());
    const [, before] = (await state.snapshots()).snapshots;
    const restored = await state.restore("before", "--snapshot", before?.id ?? "");
    const report = (await state.check("--full")).report;
    // Either the old recovery point can be had, or check must not call everything good.
    assert.ok(restored.code === 0 || !report.good, "check says good, and a recovery point is lost");
  });

  test("what was taken for lost is there again when its site is", async (t) => {
    const { state, files } = await lost(t);
    const kept = files.map((file) => readFileSync(file));
    for (const file of files) rmSync(file);
    good(await state.protect());
    for (const [i, file] of files.entries()) writeFileSync(file, kept[i] ?? "");
    const points = (await state.snapshots()).snapshots;
    assert.equal(points.length, 3);
    for (const { id } of points) good(await state.restore(id, "--snapshot", id));
  });

  test("a large file that is lost in the middle leaves nothing under its name", async (t) => {
    const state = await TestState.found(t);
    // Long enough that it is written in stretches, and its packs are several.
    state.write("doomed", randomBytes("doomed", 80 * 1024 * 1024));
    good(await state.protect());
    const packOf = (file: string): string => basename(file).split(".")[0] ?? "";
    const large = state.objects("bb", "shard").filter((file) => statSync(file).size > 2_000_000);
    assert.ok(large.length > 3);
    const middle = packOf(large[2] ?? "");
    for (const site of ["bb", "kn", "lu"]) {
      for (const file of state.objects(site, "shard")) {
        if (packOf(file) === middle) truncateSync(file, 5000);
      }
    }
    const report = good(await state.restore("out", "--keep-going"), 3);
    assert.ok(report.problems.some(({ path, kind }) => path === "doomed" && kind === "lost"));
    assert.deepEqual(Object.keys(treeOf(state.path("out"))), ["."]);
  });

  test("a stream that is lost says which pack and sites, and ends with an error", async (t) => {
    const state = await TestState.found(t, { register: ["docs", "--kind", "stream"] });
    good(await state.run(["protect", "docs", "--stdin"], { input: randomBytes("s", 300_000) }));
    for (const site of ["bb", "kn", "lu"])
      for (const file of state.objects(site, "shard")) {
        if (readFileSync(file).length > 100_000) truncateSync(file, 5000);
      }
    const outcome = await state.run(["restore", "docs", "--stdout"], { json: false });
    assert.equal(outcome.code, 1);
    assert.match(outcome.stderr, /pack [0-9a-f]{32}/);
    for (const site of ["bb", "kn", "lu"])
      assert.match(outcome.stderr, new RegExp(`\\b${site}\\b`));
  });

  test("with fewer than k sites a restore says so before it writes anything", async (t) => {
    const state = await protectedState(t);
    state.lose("bb", "kn", "lu");
    const message = failed(await state.restore("out"), "site-unavailable");
    assert.match(message, /3 sites are needed and 2 answer/);
    assert.throws(() => treeOf(state.path("out")));
  });
});
