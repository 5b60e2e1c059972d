/** A site that lost what it held gets it back, bit for bit, without any key of the State. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { good } from "./support/cli.ts";
import { randomBytes } from "./support/random.ts";
import { TestState } from "./support/state.ts";

type RepairReport = {
  readonly repaired: Readonly<Record<string, { readonly shards: number }>>;
  readonly documents: Readonly<Record<string, number>>;
  readonly lostPacks: number;
};

/** Every file below a folder with its content, as text. */
function contentsOf(folder: string): ReadonlyMap<string, string> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  return new Map(
    files.map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return [path, readFileSync(path, "base64")];
    }),
  );
}

async function protectedState(t: Parameters<typeof TestState.found>[0]): Promise<TestState> {
  const state = await TestState.found(t);
  for (let i = 0; i < 5; i++) state.write(`file-${i}`, randomBytes(`repair ${i}`, 400_000));
  good(await state.protect());
  return state;
}

test("shards and documents that two sites lost are made anew as they were, keys of epochs absent", async (t) => {
  const state = await protectedState(t);
  const before = new Map([...contentsOf(state.path("kn")), ...contentsOf(state.path("ca"))]);
  for (const site of ["kn", "ca"]) {
    for (const kind of ["shard", "manifest", "statement", "wrap", "charter"]) {
      for (const fan of readdirSync(state.path(site, kind))) {
        rmSync(state.path(site, kind, fan), { recursive: true });
      }
    }
  }
  rmSync(join(state.home, "keys", "epoch"), { recursive: true });
  const report = await state.good<RepairReport>("repair", "docs");
  assert.deepEqual(Object.keys(report.repaired).toSorted(), ["ca", "kn"]);
  assert.equal(report.lostPacks, 0);
  const after = new Map([...contentsOf(state.path("kn")), ...contentsOf(state.path("ca"))]);
  assert.deepEqual(after, before);
  await state.good("check", "docs", "--full");
});

test("repair of what has too few shards left says so and makes nothing up", async (t) => {
  const state = await protectedState(t);
  for (const site of ["bb", "kn", "lu"]) {
    for (const fan of readdirSync(state.path(site, "shard"))) {
      rmSync(state.path(site, "shard", fan), { recursive: true });
    }
  }
  const outcome = await state.run<RepairReport>(["repair", "docs"]);
  assert.equal(outcome.code, 3);
  assert.ok((outcome.report?.lostPacks ?? 0) > 0);
  assert.deepEqual(outcome.report?.repaired, {});
});

test("protect makes what it builds on as safe as what it adds", async (t) => {
  const state = await protectedState(t);
  for (const site of ["kn", "ca"]) {
    for (const fan of readdirSync(state.path(site, "shard"))) {
      rmSync(state.path(site, "shard", fan), { recursive: true });
    }
  }
  good(await state.protect());
  const check = await state.run<{ readonly survives: number }>(["check", "docs"]);
  assert.equal(check.report?.survives, 2);
});
