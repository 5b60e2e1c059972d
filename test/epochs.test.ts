/** When a register's next epoch begins: by decision, in time, and never in the middle of nothing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openEpoch } from "../src/registers/epoch.ts";
import { Home } from "../src/vault/home.ts";
import { good } from "./support/cli.ts";
import { TestState } from "./support/state.ts";

const DAY_MS = 86_400_000;

test("a decision begins a new epoch with the next recovery point, once; what was before still restores", async (t) => {
  const state = await TestState.found(t);
  state.write("a", "one");
  const first = good(await state.protect());
  const grounds = ["--reason", "A copy of the key was seen", "--citation", "Act 7 of 2026"];
  await state.good("decide", "propose", "rotate-epoch", "docs", ...grounds);
  state.write("a", "two");
  const second = good(await state.protect());
  assert.equal(second.epoch, first.epoch + 1);
  assert.equal(good(await state.protect()).epoch, second.epoch, "and then goes on in it");
  const points = (await state.snapshots()).snapshots;
  assert.equal(points.length, 3);
  good(await state.restore("old", "--snapshot", points.at(-1)?.id ?? ""));
  assert.equal(state.read("old", "a").toString(), "one");
  state.lose("home", "bb", "ca");
  good(await state.recover("new", ["kn", "lu", "ee"]));
  good(await state.restore("out"));
  assert.equal(state.read("out", "a").toString(), "two");
});

test("an epoch is over when it has lasted as long as the charter says", async (t) => {
  const state = await TestState.found(t);
  state.write("a", "content");
  good(await state.protect());
  const home = await Home.open(state.home);
  const register = home.register("docs");
  const later = (days: number): Date => new Date(Date.now() + days * DAY_MS);
  assert.equal((await openEpoch(home, register, later(364)))?.context.epoch, register.epoch);
  assert.equal(await openEpoch(home, register, later(366)), undefined);
});
