/** `exclave register plan` says beforehand what `protect` then does. */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { PlanReport } from "../src/cli/plan/sentences.ts";
import { failed, good, run, shown } from "./support/cli.ts";
import { temporaryFolder } from "./support/places.ts";
import { randomBytes } from "./support/random.ts";
import { SITES, TestState } from "./support/state.ts";
import { treeOf } from "./support/tree.ts";

/** Records that compress, and so many megabytes of scans that do not. */
function makeData(path: string, scans = 4): void {
  mkdirSync(join(path, "births"), { recursive: true });
  mkdirSync(join(path, "scans"));
  for (let i = 0; i < 500; i++) {
    const note = randomBytes(`note ${i}`, 300).toString("hex");
    const record = { number: i, name: `Person ${i}`, born: "1994-03-28", note };
    writeFileSync(join(path, "births", `record-${i}.json`), JSON.stringify(record));
  }
  for (let i = 0; i < scans; i++) {
    writeFileSync(join(path, "scans", `${i}.tif`), randomBytes(`scan ${i}`, 1_000_000));
  }
}

function bytesIn(directory: string): number {
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .map((name) => statSync(join(directory, name)))
    .reduce((sum, stat) => sum + (stat.isFile() ? stat.size : 0), 0);
}

const described = (path: string, ...more: readonly string[]) => [
  "register",
  "plan",
  "--path",
  path,
  "--sites",
  SITES.join(","),
  "--threshold",
  "3",
  ...more,
];

describe("a plan", () => {
  test("says within a half what protect then brings to each site, the first time and the second", async (t) => {
    const state = await TestState.found(t);
    makeData(state.path("data"), 40);
    const plan = good(
      await run<PlanReport>(state.home, ["register", "plan", "docs", "--change", "40%"]),
    );
    assert.equal(plan.register, "docs");
    assert.deepEqual(
      plan.sites.map(({ site }) => site),
      SITES,
    );
    assert.equal(plan.basis.sample?.complete, true);

    let before = bytesIn(state.path("bb"));
    // Packs are padded to powers of two, and how content falls to threads is chance: closer than that nobody knows.
    const near = (planned: number): void => {
      const now = bytesIn(state.path("bb"));
      const factor = planned / (now - before);
      assert.ok(factor > 2 / 3 && factor < 1.5, `${planned} were planned, ${now - before} came`);
      t.diagnostic(`planned ${planned}, came ${now - before}`);
      before = now;
    };
    good(await state.protect());
    near(plan.first.bytesPerSite);
    for (let i = 0; i < 500; i += 5) {
      for (const one of [i, i + 1]) {
        const record = randomBytes(`new note ${one}`, 330).toString("hex");
        writeFileSync(state.path("data", "births", `record-${one}.json`), record);
      }
    }
    for (let i = 0; i < 16; i++) {
      writeFileSync(state.path("data", "scans", `${i}.tif`), randomBytes(`new ${i}`, 1_000_000));
    }
    good(await state.protect());
    near(plan.daily.bytesPerSite);

    const again = good(await run<PlanReport>(state.home, ["register", "plan", "docs"]));
    assert.equal(again.recoveryPoints, 2);
    assert.match(again.sentence, /^docs has 2 recovery points, so only changes are sent now/);
    // Two within one day tell nothing about days.
    assert.equal(again.basis.changeFrom, "assumed");
  });

  test("writes nothing, in home, at the sites or beside what it reads", async (t) => {
    const state = await TestState.found(t);
    makeData(state.path("data"));
    // That somebody looked into a folder is no change of it: SQLite has its lock files come and go.
    const found = () =>
      Object.entries(treeOf(state.folder)).map(([path, facts]) => [
        path,
        facts.includes("content") ? facts : facts.replace(/mtime \d+/, ""),
      ]);
    const before = found();
    good(await run<PlanReport>(state.home, ["register", "plan", "docs"]));
    const { code, stdout } = await run(state.home, ["register", "plan", "docs"], { json: false });
    assert.equal(code, 0);
    assert.match(stdout.toString(), /Nothing was written or sent\./);
    assert.deepEqual(found(), before);
  });

  test("needs no State: a register that is not there yet is described, and dated by its hours", async (t) => {
    const folder = temporaryFolder(t);
    makeData(join(folder, "data"));
    const plan = good(
      await run<PlanReport>(
        join(folder, "no-home"),
        described(
          join(folder, "data"),
          ..."--link 1mbit --hours 20:00-20:30 --clock utc".split(" "),
          ..."--begin 2026-11-22T20:10:00Z --change 1%".split(" "),
          ..."--price lu=0.02 --traffic-price lu=0.05 --currency eur".split(" "),
        ),
      ),
    );
    const { first, daily, money, currency, link } = plan;
    assert.ok(Math.abs(first.seconds - (first.bytesPerSite * 8 * 5) / 1e6) < 0.002);
    assert.deepEqual(link.hours, [{ fromSeconds: 72_000, toSeconds: 73_800 }]);
    // Twenty minutes in the first night, half an hour in each other.
    const nights = 1 + Math.ceil((first.seconds - 1200) / 1800);
    assert.equal(first.nights, nights);
    assert.match(first.finishesAt ?? "", new RegExp(`^2026-11-${21 + nights}T20:`));
    assert.equal(daily.fits, true);
    assert.equal(currency, "EUR");
    assert.deepEqual(
      money.storageNotStated,
      SITES.filter((site) => site !== "lu"),
    );
    assert.equal(plan.sooner, "link");
    assert.match(
      plan.recommendation,
      /^Send the first protect over the link: it takes \d nights?,/,
    );
  });

  test("begins with one sentence and a table, and says it when a day's change does not fit", async (t) => {
    const folder = temporaryFolder(t);
    makeData(join(folder, "data"));
    const { code, stdout } = await run(
      join(folder, "no-home"),
      described(
        join(folder, "data"),
        ..."--link 1kbit --hours 2-3 --hours 23-1 --change 50%".split(" "),
        ..."--price lu=0.02 --media 1MB --quiet".split(" "),
      ),
      { json: false },
    );
    assert.equal(code, 0);
    const text = stdout.toString();
    const [first, ...lines] = text.split(/\n(?=\n)/);
    assert.match(
      first?.replaceAll(/\s+/g, " ") ?? "",
      /^ The first protect of this register .*\.$/,
    );
    assert.match(lines[0] ?? "", /first protect +each day\n +content .*\n/);
    const said = text.replaceAll(/\s+/g, " ");
    assert.match(said, /does NOT fit/);
    assert.match(said, /the recovery point would fall behind, further every day, for ever/);
    assert.match(said, /02:00-03:00 and 23:00-01:00: 3 h 0 min a day/);
    assert.match(said, /keeping costs is not stated for bb, kn, ee, ca/);
    assert.match(said, /sending costs is not stated for any site/);
    assert.match(said, /media of 1\.0 MB for each site/);
    assert.match(said, /because a day's change does not fit/);
    assert.deepEqual(
      text.split("\n").filter((line) => line.length > 80),
      [],
    );
  });

  test("of a stream that nobody has seen assumes nothing good, and samples an earlier dump", async (t) => {
    const folder = temporaryFolder(t);
    const dump = join(folder, "dump.sql");
    writeFileSync(dump, "INSERT INTO people VALUES ('Ana Ical', '1994-03-28');\n".repeat(50_000));
    const stream = (...more: readonly string[]) =>
      run<PlanReport>(join(folder, "no-home"), [
        ..."register plan --kind stream --size 40GB".split(" "),
        "--sites",
        SITES.join(","),
        "--threshold",
        "3",
        ...more,
      ]);
    const unseen = good(await stream());
    assert.ok(unseen.first.totalBytes > (40e9 * 5) / 3);
    assert.match(unseen.assumptions.join(" "), /counted as if it did not compress/);
    const sampled = good(await stream("--path", dump));
    assert.ok(sampled.first.totalBytes < unseen.first.totalBytes / 10);
    assert.match(sampled.assumptions.join(" "), /An estimate, from 2\.7 MB read .*earlier dump/);
  });

  test("refuses what is no register, before it reads anything", async (t) => {
    const state = await TestState.found(t);
    const plan = (...args: readonly string[]) =>
      run<PlanReport>(state.home, ["register", "plan", ...args]);
    const data = state.path("data");
    assert.match(failed(await plan(), "usage", 2), /name a register that was added, or describe/);
    failed(await plan("nobody"), "unknown-name", 2);
    failed(await plan("docs", "--sites", "bb", "--threshold", "1"), "usage", 2);
    failed(await plan("docs", "--path", data), "usage", 2);
    failed(await plan("docs", "--price", "xx=1"), "unknown-name", 2);
    failed(await plan("docs", "--hours", "20:00-20:00"), "usage", 2);
    failed(await plan("--path", data, "--sites", "a,b", "--threshold", "3"), "usage", 2);
    failed(await plan("--path", data, "--sites", "a,a", "--threshold", "1"), "usage", 2);
    failed(await plan("--kind", "stream", "--sites", "a,b", "--threshold", "1"), "usage", 2);
    const gone = await plan("--path", `${data}-gone`, "--sites", "a,b", "--threshold", "1");
    assert.match(failed(gone, "usage", 2), /cannot be read/);
  });

  test("is what register add names next", async (t) => {
    const state = await TestState.found(t, { register: false });
    const outcome = await run(
      state.home,
      [
        "register",
        "add",
        "docs",
        "--kind",
        "files",
        "--path",
        state.folder,
        "--sites",
        SITES.join(","),
        "--threshold",
        "3",
      ],
      { json: false },
    );
    assert.equal(outcome.code, 0, shown(outcome));
    assert.match(outcome.stdout.toString(), /^Next: exclave register plan docs/m);
  });
});
