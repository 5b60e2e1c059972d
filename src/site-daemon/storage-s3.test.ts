/** A State served from an S3 engine: the same to its home, and locked besides. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { folder, plainState } from "../../test/support/attacks.ts";
import { fakeS3 } from "../../test/support/fake-s3.ts";
import { temporaryFolder } from "../../test/support/places.ts";
import { shardsOf } from "../../test/support/shards.ts";
import { startDaemon } from "../../test/support/site-daemon.ts";
import { code, listed } from "../sites/conformance.ts";
import { openS3Storage } from "./storage-s3.ts";

const STATE = "ab".repeat(32);
const DAY_MS = 86_400_000;

test("home brings what it has, the ledger is followed, and locks are extended while home is silent", async (t) => {
  const { config, versions } = await fakeS3(t);
  const file = join(temporaryFolder(t), "s3.json");
  writeFileSync(file, JSON.stringify(config));
  const s = await (await plainState()).copy(folder());
  const clock = { days: 2 };
  const daemon = await startDaemon(t, {
    embassy: s,
    now: () => s.day(clock.days),
    settings: { storage: { kind: "s3", file } },
    senders: [],
  });
  await daemon.bring();
  const home = await daemon.client();
  const shards = [...s.objects("bb", "shard").keys()].map((name) => `shard/${name}`).toSorted();
  assert.deepEqual(await listed(home, "shard"), shards);
  for (const name of shards) {
    const bytes = s.objects("bb", "shard").get(name.slice("shard/".length));
    assert.ok(bytes);
    const into = new Uint8Array(bytes.length);
    assert.equal(await home.read(name, 0, into), bytes.length);
    assert.ok(Buffer.compare(into, bytes) === 0);
  }
  const status = (await home.status()) as { readonly locks: boolean };
  assert.equal(status.locks, true);
  clock.days = 4;
  await daemon.running.watch();
  const locks = [...versions]
    .filter(([key]) => key.includes("/shard/"))
    .map(([, [newest]]) => Date.parse(newest?.lock?.until ?? ""));
  assert.equal(locks.length, shards.length);
  for (const until of locks) assert.ok(until >= s.day(4).getTime() + 80 * DAY_MS);
});

test("a file of the ledger gives way to the right one, and a shard to nothing that is none", async (t) => {
  const { config } = await fakeS3(t);
  const file = join(temporaryFolder(t), "s3.json");
  writeFileSync(file, JSON.stringify(config));
  const identity = { name: "kn", country: "KN", operator: "post", hazardZone: "KN" };
  const storage = await openS3Storage(file, STATE, identity, () => undefined);
  t.after(() => storage.close());
  const read = async (name: string): Promise<string> => {
    const into = Buffer.alloc(1000);
    return into.subarray(0, await storage.site.read(name, 0, into)).toString();
  };
  const tile = "ledger/1f2e3d4c.tile.0.000.p.1";
  await storage.site.put(tile, [Buffer.from("squatted")]);
  await storage.replace(tile, [Buffer.from("home's")]);
  assert.equal(await read(tile), "home's");
  const shards = shardsOf({
    state: STATE,
    register: "11".repeat(16),
    epoch: 1,
    k: 1,
    n: 1,
    packBytes: 100,
  });
  const { name, parts } = shards.next().value;
  await storage.site.put(name, parts);
  await assert.rejects(storage.site.put(name, [Buffer.from("junk")]), code("exists"));
});
