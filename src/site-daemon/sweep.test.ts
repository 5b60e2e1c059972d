import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { temporaryFolder } from "../../test/support/places.ts";
import { type MadeShard, shardsOf } from "../../test/support/shards.ts";
import { AGENT_KEY, openJudge, STATE, startListener } from "../../test/support/site-daemon.ts";
import { ExclaveError } from "../errors.ts";
import { listed } from "../sites/conformance.ts";
import type { Storage } from "./storage.ts";
import { removeRipe } from "./sweep.ts";

const REGISTER = "11".repeat(16);
const OTHER = "22".repeat(16);
const shardOf = (register: string, epoch: number): MadeShard =>
  shardsOf({ state: STATE, register, epoch, k: 1, n: 1, packBytes: 20_000 }).next().value;

/** A site with shards of two registers and two epochs. */
async function site(t: TestContext, around?: (storage: Storage) => Storage) {
  const clock = { ms: Date.parse("2026-01-01T00:00:00Z") };
  const listener = await startListener(t, {
    folder: temporaryFolder(t),
    judge: openJudge({ ground: () => ({ state: STATE, known: undefined, logs: new Map() }) }),
    now: () => new Date(clock.ms),
    ...(around ? { around } : {}),
  });
  const client = await listener.client(AGENT_KEY);
  const doomed = Array.from({ length: 5 }, () => shardOf(REGISTER, 1));
  const kept = [shardOf(REGISTER, 2), shardOf(OTHER, 1)];
  for (const { name, parts } of [...doomed, ...kept]) await client.put(name, parts);
  const names = (shards: readonly MadeShard[]) => shards.map(({ name }) => name).toSorted();
  return { listener, client, clock, doomed: names(doomed), kept: names(kept) };
}

const ripe = [{ register: REGISTER, epochs: [1] }];

test("only the shards of the register and the epoch are removed, and it is written down", async (t) => {
  const { listener, client, doomed, kept } = await site(t);
  const { service, store } = listener;
  const before = store.bytes;
  const removed = await removeRipe(service, ripe);
  assert.equal(removed.objects, doomed.length);
  assert.deepEqual(await listed(client, "shard"), kept);
  assert.equal(store.bytes, before - removed.bytes);
  const [one, ...more] = store.book.removals();
  assert.deepEqual([one?.register, one?.epoch, one?.objects, more.length], [REGISTER, 1, 5, 0]);
  assert.ok(one?.ended);
  assert.equal((await removeRipe(service, ripe)).objects, 0, "and not again");
  assert.equal(store.book.removals()[0]?.objects, 5);
});

test("what a receipt promised is kept until then, over a restart too", async (t) => {
  const { listener, clock, doomed, kept, client } = await site(t);
  const { service, store } = listener;
  const until = new Date(clock.ms + 10 * 86_400_000);
  store.book.promise([{ register: REGISTER, epoch: 1 }], until);
  store.book.promise([{ register: REGISTER, epoch: 1 }], new Date(clock.ms));
  const all = [...doomed, ...kept].toSorted();
  assert.equal((await removeRipe(service, ripe)).objects, 0);
  assert.deepEqual(await listed(client, "shard"), all);
  clock.ms = until.getTime() - 1000;
  assert.equal((await removeRipe(service, ripe)).objects, 0);
  clock.ms = until.getTime() + 86_400_000;
  assert.equal((await removeRipe(service, ripe)).objects, doomed.length);
});

test("a shard that is not what the index says is left alone", async (t) => {
  const { listener, kept, doomed } = await site(t);
  const { service, store } = listener;
  const [name = ""] = kept;
  const row = store.find(name);
  assert.ok(row?.shard);
  store.index.remove(name);
  store.index.add({ ...row, shard: { ...row.shard, register: REGISTER, epoch: 1 } });
  assert.equal((await removeRipe(service, ripe)).objects, doomed.length);
  assert.equal((await store.storage.site.stat(name))?.bytes, row.bytes);
});

test("a removal that breaks off goes on the next time", async (t) => {
  const failing = { calls: 0 };
  const { listener, client, kept } = await site(t, (storage) => ({
    ...storage,
    remove: (name) => {
      failing.calls++;
      if (failing.calls === 3) throw new ExclaveError("site-unavailable", "as a test asked for");
      return storage.remove(name);
    },
  }));
  const { service, store } = listener;
  await assert.rejects(removeRipe(service, ripe));
  assert.equal(store.book.removals()[0]?.ended, undefined);
  await removeRipe(service, ripe);
  assert.deepEqual(await listed(client, "shard"), kept);
  assert.ok(store.book.removals()[0]?.ended);
});
