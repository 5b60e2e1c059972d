/** `protect` is killed at any moment, again and again: what was committed restores, and a rerun completes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { ProtectReport } from "../src/registers/protect.ts";
import { ended, good, start } from "./support/cli.ts";
import { randomBytes, randomNumbers, seedOf } from "./support/random.ts";
import { TestState } from "./support/state.ts";
import { assertSameTree, treeOf } from "./support/tree.ts";

const KILLS = process.env.SLOW ? 100 : 10;
/** Restoring all of them each time would be most of the test. */
const COMPARED_EVERY = process.env.SLOW ? 5 : 3;

test("killed at random moments, protect loses nothing committed and a rerun completes", async (t) => {
  const seed = seedOf("EXCLAVE_KILL_SEED");
  t.diagnostic(`EXCLAVE_KILL_SEED=${seed} repeats this run`);
  const number = randomNumbers(seed);
  const state = await TestState.found(t);
  for (let i = 0; i < 60; i++) state.write(`first-${i}`, randomBytes(`${seed} ${i}`, 2000));
  const committed = [
    { id: good(await state.protect()).snapshot, tree: treeOf(state.path("data")) },
  ];

  // Incompressible and in several packs, so that there is much to be killed in the midst of.
  const addFiles = (round: number): void => {
    for (let i = 0; i < 300; i++) {
      const bytes = Math.floor(number() ** 4 * 900_000) + 1;
      state.write(`round-${round}-${i}`, randomBytes(`${seed} ${round} ${i}`, bytes));
    }
  };
  addFiles(0);
  // How long a whole run takes, so that the kills are spread over all of it.
  const began = performance.now();
  const whole = good(await state.protect());
  const wholeMs = performance.now() - began;
  committed.push({ id: whole.snapshot, tree: treeOf(state.path("data")) });
  addFiles(1);

  let [killed, survived] = [0, 0];
  for (let kill = 0; kill < KILLS; kill++) {
    const child = start(state.home, ["protect", "docs"]);
    const end = ended<ProtectReport>(child);
    const stop = new AbortController();
    const timer = delay(number() * wholeMs, undefined, { signal: stop.signal }).then(
      () => child.kill("SIGKILL"),
      () => undefined,
    );
    const outcome = await end;
    stop.abort();
    await timer;
    if (outcome.signal === "SIGKILL") killed++;
    else {
      // It was quicker than the kill; then it is a recovery point like any other.
      committed.push({ id: good(outcome).snapshot, tree: treeOf(state.path("data")) });
      survived++;
      addFiles(kill + 2);
    }
    if (kill % COMPARED_EVERY !== 0) continue;
    const point = committed[Math.floor(number() * committed.length)];
    good(await state.restore(`out-${kill}`, "--snapshot", point?.id ?? ""));
    assertSameTree(treeOf(state.path(`out-${kill}`)), point?.tree ?? {});
    state.lose(`out-${kill}`);
  }
  assert.ok(killed > 0, "some runs were killed");
  t.diagnostic(`${killed} runs were killed, ${survived} were quicker`);

  const last = good(await state.protect());
  committed.push({ id: last.snapshot, tree: treeOf(state.path("data")) });
  for (const { id, tree } of committed) {
    good(await state.restore(id, "--snapshot", id));
    assertSameTree(treeOf(state.path(id)), tree);
    state.lose(id);
  }
  const points = (await state.snapshots()).snapshots;
  // A run that was killed between its commit and its end has committed.
  assert.ok(points.length >= committed.length, `${points.length} of ${committed.length}`);
  assert.deepEqual(
    points.map(({ sequence }) => sequence),
    points.map((_, i) => points.length - i),
  );
  const report = good(await state.check("--full"));
  assert.equal(report.survives, 2);

  // Everything of home but the recovery key is gone: all is at the sites.
  state.lose("home");
  good(await state.recover("new", state.siteNames.slice(0, 3)));
  good(await state.restore("recovered"));
  assertSameTree(treeOf(state.path("recovered")), treeOf(state.path("data")));
});

test("packs that a killed run has stored are not stored again", async (t) => {
  const state = await TestState.found(t);
  for (let i = 0; i < 64; i++) state.write(`f-${i}`, randomBytes(`${i}`, 1_000_000));
  const child = start(state.home, ["protect", "docs"]);
  const end = ended(child);
  // The packs before the newest are at all sites and in the catalog, but perhaps the last two.
  await state.shards(3);
  child.kill("SIGKILL");
  const outcome = await end;
  if (outcome.signal !== "SIGKILL") {
    t.skip("it was quicker than the kill");
    return;
  }
  const report = good(await state.protect());
  assert.equal(report.bytes, 64_000_000);
  assert.ok(
    report.stored.rawBytes < 50_000_000,
    `${report.stored.rawBytes} of 64000000 were stored again`,
  );
  good(await state.restore("out"));
  assertSameTree(treeOf(state.path("out")), treeOf(state.path("data")));
});
