/** Promises about what sites say and when keys are used, each held against a site that breaks them. */
import assert from "node:assert/strict";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { test } from "node:test";
import { failed, good } from "./support/cli.ts";
import { randomBytes } from "./support/random.ts";
import { TestState } from "./support/state.ts";
import { assertSameTree, treeOf } from "./support/tree.ts";

test("a site that lists the shards of others does not make what is lost look safe", async (t) => {
  const state = await TestState.found(t);
  state.write("file", randomBytes("lying", 200_000));
  good(await state.protect());
  for (const site of ["bb", "kn", "lu"]) {
    for (const file of state.objects(site, "shard")) {
      rmSync(file);
      const name = basename(file);
      mkdirSync(state.path("ee", "shard", name.slice(0, 2)), { recursive: true });
      writeFileSync(state.path("ee", "shard", name.slice(0, 2), name), "not there");
    }
  }
  assert.ok(good(await state.protect()).stored.rawBytes >= 200_000);
  good(await state.restore("out"));
  assertSameTree(treeOf(state.path("out")), treeOf(state.path("data")));
});

test("check names the charters and wraps that a site lacks", async (t) => {
  const state = await TestState.found(t);
  state.write("file", "content");
  good(await state.protect());
  for (const kind of ["charter", "wrap"]) {
    for (const file of state.objects("ee", kind)) rmSync(file);
  }
  const outcome = await state.check();
  assert.equal(outcome.code, 4);
  const found = outcome.report.findings.map(
    ({ site, object }) => `${site}: ${object.split(/[ /]/)[0]}`,
  );
  // The founding one, five sites and a register.
  assert.deepEqual(found.toSorted(), [
    ...Array.from({ length: 7 }, () => "ee: charter"),
    "ee: wrap",
  ]);
});

test("nothing is sealed under an epoch key that too few sites have wrapped", async (t) => {
  const state = await TestState.found(t);
  state.write("file", "content");
  for (const site of ["kn", "lu"]) {
    rmSync(state.path(site, "wrap"), { recursive: true });
    writeFileSync(state.path(site, "wrap"), "in the way");
  }
  failed(await state.protect(), "write-quorum");
  assert.deepEqual(state.everyObject("shard"), []);
  for (const site of ["kn", "lu"]) rmSync(state.path(site, "wrap"));
  good(await state.protect());
});
