/** When a register's next epoch begins: by decision, in time, and never in the middle of nothing. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { test } from "node:test";
import { splitSecret } from "../src/custody/share-set.ts";
import { decide } from "../src/governance/decide.ts";
import { publicPartOf } from "../src/governance/found.ts";
import { openAllSites, publish } from "../src/governance/ledger-at-sites.ts";
import { openEpoch } from "../src/registers/epoch.ts";
import { Home } from "../src/vault/home.ts";
import { recoveryKeyFromSeed, sealKey } from "../src/vault/recovery-key.ts";
import { good } from "./support/cli.ts";
import { randomBytes } from "./support/random.ts";
import { PASSPHRASE, TestState } from "./support/state.ts";

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

test("epochs that were begun while the recovery key was being replaced are opened by the new one", async (t) => {
  const state = await TestState.found(t);
  const grounds = ["--reason", "A copy of the key was seen", "--citation", "Act 7 of 2026"];
  for (const content of ["one", "two"]) {
    state.write("a", content);
    good(await state.protect());
    await state.good("decide", "propose", "rotate-epoch", "docs", ...grounds);
  }
  const home = await state.openHome();
  const key = recoveryKeyFromSeed(randomBytes("another recovery key", 32));
  const set = splitSecret(key.seed, { k: 1, n: 1, generation: 2 }, (n) => randomBytes("set", n));
  const shares = { ...set.publicPart, shareCommitments: [...set.publicPart.shareCommitments] };
  const recovery = { ...home.charter.recovery, ...publicPartOf(key), shares };
  const said = { reason: "The key was replaced", citation: "Act 8 of 2026" };
  await decide(home, { kind: "amend", recovery }, said, new Date());
  await publish(home, await openAllSites(home));
  state.write("a", "three");
  good(await state.protect());
  const named = { stateName: "Test State", state: home.state, seed: key.seed };
  writeFileSync(state.path("recovery.age"), await sealKey("recovery-key", named, PASSPHRASE, 10));
  state.lose("home");
  good(await state.recover("new", ["kn", "lu", "ee"]));
  const points = (await state.snapshots()).snapshots;
  assert.equal(points.length, 3);
  good(await state.restore("old", "--snapshot", points.at(-1)?.id ?? ""));
  assert.equal(state.read("old", "a").toString(), "one");
});
