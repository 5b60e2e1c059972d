/** The reader key: on a machine that is no home, it reads from sites what was released to it, and nothing else. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { decide } from "../src/governance/decide.ts";
import { publicPartOf } from "../src/governance/found.ts";
import { openAllSites, publish } from "../src/governance/ledger-at-sites.ts";
import type { RestoreReport } from "../src/registers/restore.ts";
import { readerKeyFromSeed, sealKey } from "../src/vault/recovery-key.ts";
import { type Abroad, foundAbroad } from "./support/abroad.ts";
import { failed, good, run } from "./support/cli.ts";
import { randomBytes } from "./support/random.ts";
import { PASSPHRASE } from "./support/state.ts";
import { assertSameTree, treeOf } from "./support/tree.ts";

const GROUNDS = ["--reason", "r", "--citation", "c"];
const FIRST_EPOCH = 65_536;

/** The State has a reader key, whose file is `reader.age`. */
async function withReader({ state }: Abroad): Promise<void> {
  const home = await state.openHome();
  const seed = randomBytes("reader", 32);
  const reader = publicPartOf(readerKeyFromSeed(seed));
  const now = new Date();
  await decide(home, { kind: "amend", reader }, { reason: "r", citation: "c" }, now);
  await publish(home, await openAllSites(home));
  await writeKey({ state }, "reader.age", seed);
}

async function writeKey(
  { state }: Pick<Abroad, "state">,
  name: string,
  seed: Uint8Array,
): Promise<void> {
  const key = { seed, state: (await state.openHome()).state, stateName: "Test State" };
  writeFileSync(state.path(name), await sealKey("reader-key", key, PASSPHRASE, 10));
}

/** Restores with the key in that file, on a machine that has nothing else. */
function read({ state, sites }: Abroad, to: string, ...flags: readonly string[]) {
  const temporary = state.path("tmp");
  mkdirSync(temporary, { recursive: true });
  const args = [
    ...["restore", "docs", "--to", state.path(to), "--passphrase-file", state.path("pw")],
    ...(flags.includes("--reader-key") ? [] : ["--reader-key", state.path("reader.age")]),
    ...sites.flatMap(({ url }) => ["--site", url]),
    ...flags,
  ];
  return run<RestoreReport>(state.path("no-home"), args, { env: { TMPDIR: temporary } });
}

test("with the reader key a closed epoch is read once it was released to it, and no other", async (t) => {
  const abroad = await foundAbroad(t);
  const { state, sites } = abroad;
  await withReader(abroad);
  for (let i = 0; i < 5; i++) state.write(`first-${i}`, randomBytes(`${i}`, 300_000));
  const first = treeOf(state.path("data"));
  const old = good(await state.protect());
  await state.good("decide", "propose", "rotate-epoch", "docs", ...GROUNDS);
  state.write("second", randomBytes("second", 300_000));
  const newer = good(await state.protect());
  assert.equal(newer.epoch, old.epoch + 1);

  assert.match(
    failed(await read(abroad, "early"), "refused"),
    /released nothing to the reader key/,
  );
  // A release to the recovery key is none to the reader.
  const release = [
    "decide",
    "propose",
    "release",
    "docs",
    "--epochs",
    `${FIRST_EPOCH}`,
    ...GROUNDS,
  ];
  await state.good(...release, "--to", "recovery");
  failed(await read(abroad, "early"), "refused");
  await state.good(...release, "--to", "reader");
  good(await state.protect());

  const report = good(await read(abroad, "out"));
  assert.equal(report.snapshot, old.snapshot);
  assertSameTree(treeOf(state.path("out")), first);
  assert.ok(!existsSync(state.path("no-home")));
  assert.deepEqual(readdirSync(state.path("tmp")), []);
  // What is not released is not there.
  failed(await read(abroad, "newer", "--snapshot", newer.snapshot), "unknown-name", 2);
  // Two of three bring it back, and know that nothing is newer; one does neither.
  await sites[0]?.end("SIGTERM");
  good(await read(abroad, "two"));
  assertSameTree(treeOf(state.path("two")), first);

  await writeKey(abroad, "other.age", randomBytes("another reader", 32));
  const other = await read(abroad, "other", "--reader-key", state.path("other.age"));
  assert.match(failed(other, "untrusted"), /not the one in the State's charter/);
  await sites[1]?.end("SIGTERM");
  failed(await read(abroad, "one"), "site-unavailable");
  assert.ok(!existsSync(state.path("one")));
});
