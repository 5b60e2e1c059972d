/** Sites in buckets under Object Lock, over a real Ceph: written to from home, and behind a daemon that enforces. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { watch } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import {
  DeleteObjectCommand,
  GetObjectRetentionCommand,
  ListObjectVersionsCommand,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import type { S3Config } from "../src/sites/s3-config.ts";
import { SiteProcess } from "./support/abroad.ts";
import { type Ceph, cephMissing, startCeph } from "./support/ceph.ts";
import { ended, failed, good, start } from "./support/cli.ts";
import { fakeS3 } from "./support/fake-s3.ts";
import { randomBytes } from "./support/random.ts";
import { newBucket, sdkFor } from "./support/s3.ts";
import { TestState } from "./support/state.ts";
import { assertSameTree, treeOf } from "./support/tree.ts";

const MIB = 1024 * 1024;
const DAY_MS = 86_400_000;
const RETENTION_DAYS = 400;

async function assertRestores(state: TestState, to: string): Promise<void> {
  good(await state.restore(to));
  assertSameTree(treeOf(state.path(to)), treeOf(state.path("data")));
}

type Repaired = {
  readonly locks: readonly { readonly site: string; readonly problem?: string }[];
};

/** A change of the charter: what is stored is to be kept for so long. */
async function keepFor(state: TestState, days: number): Promise<void> {
  const file = state.path("retention.json");
  writeFileSync(file, JSON.stringify({ retentionSeconds: days * 86_400 }));
  const grounds = ["--reason", "The archive's law", "--citation", "Act 3"];
  await state.good("decide", "propose", "amend", "--changes", file, ...grounds);
}

/** Resolves when a site that runs has taken more shards than before. */
async function takesShards(site: SiteProcess, more: number): Promise<void> {
  const taken = (): number => site.log.match(/"status":201/g)?.length ?? 0;
  const wanted = taken() + more;
  const stop = new AbortController();
  const changes = watch(site.folder, { signal: stop.signal });
  for await (const _ of changes) if (taken() >= wanted) break;
  stop.abort();
}

/** The file that `--s3` takes. */
function fileOf(state: TestState, name: string, config: S3Config): string {
  const file = state.path(`${name}.s3.json`);
  writeFileSync(file, JSON.stringify(config));
  return file;
}

test("an engine that lets go of what is locked is refused by site add, by name", async (t) => {
  const state = await TestState.found(t, { sites: [], register: false });
  const { config } = await fakeS3(t, ["deletes-what-is-locked"]);
  const file = fileOf(state, "liar", config);
  const add = ["site", "add", "liar", "--country", "XX", "--s3", file];
  const said = failed(await state.run(add), "check-failed", 4);
  assert.match(said, /Nothing of yours was stored there/);
  assert.match(said, /locked-not-deleted \(a locked version cannot be deleted\)/);
  const { sites } = await state.good<{ sites: readonly object[] }>("site", "list");
  assert.deepEqual(sites, []);
});

describe("over Ceph", { skip: cephMissing() ?? false }, () => {
  let ceph: Ceph;
  let sdk: S3Client;
  before(async () => {
    ceph = await startCeph();
    sdk = sdkFor(ceph);
  });
  after(async () => {
    sdk.destroy();
    await ceph.stop();
  });

  const versionsIn = async (bucket: string) =>
    (await sdk.send(new ListObjectVersionsCommand({ Bucket: bucket }))).Versions ?? [];

  test("a bucket is probed, kept as long as the charter says, and survives whoever has its credentials", async (t) => {
    const state = await TestState.found(t, { sites: ["lu", "ee"], register: false });
    await keepFor(state, RETENTION_DAYS);
    const config = await newBucket(t, ceph);
    const file = fileOf(state, "bb", config);
    await state.good("site", "add", "bb", "--country", "BB", "--s3", file);
    await state.addRegister(undefined, ["lu", "ee", "bb"], 2);
    state.write("land", randomBytes("land", MIB));
    const outcome = await state.protect();
    good(outcome);
    assert.deepEqual(outcome.notices, []);
    const stored = await versionsIn(config.bucket);
    const shards = stored.filter(({ Key }) => Key?.includes("shard/"));
    assert.ok(shards.length > 0);
    /** For how many days each shard is locked. */
    const locked = (): Promise<readonly number[]> =>
      Promise.all(
        shards.map(async ({ Key, VersionId }) => {
          const asked = { Bucket: config.bucket, Key, VersionId };
          const { Retention } = await sdk.send(new GetObjectRetentionCommand(asked));
          assert.equal(Retention?.Mode, "COMPLIANCE");
          return ((Retention?.RetainUntilDate?.getTime() ?? 0) - Date.now()) / DAY_MS;
        }),
      );
    for (const days of await locked()) assert.ok(days > RETENTION_DAYS - 1, `${days} days`);

    // A thief of the credentials deletes every version, and writes over every name.
    for (const { Key, VersionId } of stored) {
      const at = { Bucket: config.bucket, Key };
      await sdk.send(new PutObjectCommand({ ...at, Body: "mine" }));
      await sdk.send(new DeleteObjectCommand(at));
      const deleted = sdk.send(
        new DeleteObjectCommand({ ...at, VersionId, BypassGovernanceRetention: true }),
      );
      if (Key?.includes("shard/")) await assert.rejects(deleted, /AccessDenied|Forbidden|denied/i);
      else await deleted.catch(() => undefined);
    }
    state.takeAway("ee");
    await assertRestores(state, "out");
    state.bringBack("ee");
    // The State wants it kept for longer, also what is there already.
    await keepFor(state, 2 * RETENTION_DAYS);
    const { locks } = await state.good<Repaired>("repair", "docs");
    assert.deepEqual(
      locks.map(({ site, problem }) => [site, problem]),
      [["bb", undefined]],
    );
    for (const days of await locked()) assert.ok(days > 2 * RETENTION_DAYS - 1, `${days} days`);
    assert.equal(good(await state.check("--full")).findingCount, 0);
  });

  test("a site that enforces stores in a bucket, over restarts and a kill in the middle of puts", async (t) => {
    const state = await TestState.found(t, { sites: ["lu", "ee"], register: false });
    await state.good("site", "request", "--out", state.path("request.json"), "--quota", "1GB");
    const file = fileOf(state, "kn", await newBucket(t, ceph));
    const kn = await SiteProcess.init(t, "kn", state.path("site-kn"), "--s3", file);
    await kn.exclave("grant", state.path("request.json"), "--yes");
    await kn.serve();
    await state.good("site", "add", "--card", kn.card);
    await state.addRegister(undefined, ["kn", "lu", "ee"], 2);
    state.write("land", randomBytes("land", MIB));
    assert.deepEqual(good(await state.protect()).durableAt, { enforcing: 1, storing: 2 });
    await kn.end("SIGTERM");
    await kn.serve();
    assert.equal(good(await state.check("--full")).findingCount, 0);

    state.write("sea", randomBytes("sea", 40 * MIB));
    const taken = takesShards(kn, 3);
    const protecting = ended<Awaited<ReturnType<typeof state.protect>>["report"]>(
      start(state.home, ["protect", "docs"]),
    );
    await taken;
    await kn.end("SIGKILL");
    assert.deepEqual(Object.keys(good(await protecting).failedSites), ["kn"]);
    await kn.serve();
    good(await state.run(["repair", "docs"]));
    assert.equal(good(await state.check("--full")).findingCount, 0);
    state.lose("ee");
    await assertRestores(state, "out");
  });
});
