/** The promise of the first page, as it is written there: two sites and home are lost, and all comes back. */
import assert from "node:assert/strict";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { CheckReport } from "../src/checks/check.ts";
import type { RestoreReport } from "../src/registers/restore.ts";
import { good, run } from "./support/cli.ts";
import { temporaryFolder } from "./support/places.ts";
import { assertSameTree, isRoot, makeRichTree, makeSparse, treeOf } from "./support/tree.ts";

test("a register survives the loss of home and of two of its five sites, in every detail", async (t) => {
  const T = temporaryFolder(t);
  writeFileSync(`${T}/pw`, "correct horse battery staple\n");
  mkdirSync(`${T}/data`);
  makeRichTree(`${T}/data`);
  if (process.env.SLOW) {
    const bytes = 5 * 1024 ** 3 + 12_345;
    makeSparse(
      `${T}/data/over-4-GiB`,
      [
        [0, "begin"],
        [4 * 1024 ** 3 + 99, "beyond"],
        [bytes - 3, "end"],
      ],
      bytes,
    );
  }
  const before = treeOf(`${T}/data`);

  let home = join(T, "home");
  const exclave = async <Report>(line: string): Promise<Report> => {
    const args = line
      .replaceAll("$T", T)
      .match(/"[^"]*"|\S+/g)
      ?.map((word) => word.replaceAll('"', ""));
    return good(await run<Report>(home, args ?? []));
  };
  await exclave(
    'found --state "Test State" --passphrase-file $T/pw --recovery-key $T/recovery.age',
  );
  for (const site of ["bb", "kn", "lu", "ee", "ca"]) {
    await exclave(`site add ${site} --country ${site.toUpperCase()} --directory $T/${site}`);
  }
  await exclave(
    "register add docs --kind files --path $T/data --sites bb,kn,lu,ee,ca --threshold 3",
  );
  await exclave("protect docs");
  const check = await exclave<CheckReport>("check docs --full");
  assert.deepEqual(
    [check.good, check.survives, check.findingCount, check.recoveryPoints],
    [true, 2, 0, 1],
  );

  for (const lost of [home, `${T}/bb`, `${T}/ca`]) rmSync(lost, { recursive: true });
  home = join(T, "new");
  await exclave(
    "recover --key $T/recovery.age --passphrase-file $T/pw --site $T/kn --site $T/lu --site $T/ee",
  );
  const restored = await exclave<RestoreReport>("restore docs --to $T/out");
  assert.deepEqual(restored.problems, []);
  if (!isRoot) t.diagnostic("not run as root: owners and device nodes are not part of this run");
  assertSameTree(treeOf(`${T}/out`), before);
});
