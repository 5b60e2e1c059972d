/** What a spool fetches ahead, keeps and gives, whatever the sites beneath it do. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { mountSmall, temporaryFolder } from "../../test/support/places.ts";
import {
  answers,
  assertReadsAll,
  type Behaviour,
  chosenOf,
  fetched,
  gate,
  hangs,
  isDown,
  LAST_RESORT,
  LIMITS,
  lacksIt,
  MAY_BE_LATE,
  MIB,
  packOf,
  REQUEST_BYTES_MAX,
  reads,
  rest,
  spooling,
  started,
  turn,
  UNDER_WAY_MAX,
  until,
  VERY_LONG_MS,
  WHOLE,
} from "../../test/support/spooling.ts";
import { tries } from "../../test/support/vault.ts";
import { breaking } from "../sites/circuit.ts";
import type { Site } from "../sites/site.ts";
import type { DispersedRef } from "../vault/gather.ts";
import { PACK_BYTES_MAX, shardBytes } from "../vault/shard.ts";
import {
  FETCH_DONE,
  FETCH_LATE,
  FETCH_LEFT_ALONE,
  FETCH_NOT_FOUND,
  FETCH_UNAVAILABLE,
} from "./read-messages.ts";
import { PAGE_BYTES } from "./shard-pages.ts";
import { ShardSource } from "./shard-source.ts";
import { ShardSpool, type SpoolLimits } from "./shard-spool.ts";

test("what is planned is fetched once, whole and ahead, in order, though two read it twice", async (t) => {
  const packs = [3 * MIB, 2 * MIB + 5, 4 * MIB].map((bytes, i) => packOf(i + 1, bytes, 3, 5));
  const spooled = started(t, packs);
  const { sites } = spooled;
  await fetched(spooled, packs);
  for (const [ordinal, ref] of packs.entries()) {
    const chosen = chosenOf(spooled, ordinal);
    assert.equal(chosen.length, 3);
    for (const index of chosen) assert.equal(sites.bytes(ref, index), shardBytes(ref));
  }
  for (let index = 0; index < 5; index++) {
    const order = sites.asked
      .filter((ask) => ask.index === index)
      .map(({ id, offset }) => [packs.findIndex((ref) => ref.id === id), offset] as const);
    const sorted = order.toSorted(([a, at], [b, bt]) => a - b || at - bt);
    assert.deepEqual(order, sorted);
  }
  const asked = sites.asked.length;
  for (const [ordinal, ref] of packs.entries()) {
    const chosen = chosenOf(spooled, ordinal);
    await Promise.all([
      assertReadsAll(spooled, ref, chosen),
      assertReadsAll(spooled, ref, chosen, 70_001),
    ]);
    await assertReadsAll(spooled, ref, chosen);
  }
  assert.equal(sites.asked.length, asked);
});

test("load is spread: each site is chosen for as many packs as another", async (t) => {
  const packs = Array.from({ length: 5 }, (_, i) => packOf(i + 1, 2 * MIB, 3, 5));
  const spooled = started(t, packs);
  await fetched(spooled, packs);
  const counts = [0, 1, 2, 3, 4].map(
    (index) => packs.filter((_, ordinal) => chosenOf(spooled, ordinal).includes(index)).length,
  );
  assert.deepEqual(counts, [3, 3, 3, 3, 3]);
});

test("two who read the same page at once have it asked for once", async (t) => {
  const ref = packOf(1, 3 * MIB, 2, 3);
  const spooled = started(t, [ref]);
  const { sites, spool } = spooled;
  const { waits, open } = gate();
  sites.behaviours.set(0, waits);
  spool.plan(ref, 0, WHOLE);
  const both = [1000, 2000].map((offset) => reads(spooled, ref, [0, offset, PAGE_BYTES]));
  await until(() => sites.bytes(ref, 0) === shardBytes(ref));
  open();
  assert.deepEqual(await Promise.all(both), [FETCH_DONE, FETCH_DONE]);
  assert.equal(sites.bytes(ref, 0), shardBytes(ref));
});

test("of what is planned in part, that part is fetched, with the front and what lies behind", async (t) => {
  const ref = packOf(1, 32 * MIB, 2, 3);
  const spooled = started(t, [ref]);
  const { sites, spool } = spooled;
  spool.plan(ref, 0, { bytes: 8 * MIB, start: 0.5, end: 0.75 });
  await until(() => sites.bytes() > 8 * MIB);
  await rest(sites);
  const offsets = sites.asked.filter(({ index }) => index === 0).map(({ offset }) => offset);
  const last = Math.floor((shardBytes(ref) - 1) / PAGE_BYTES) * PAGE_BYTES;
  assert.equal(offsets[0], 0);
  assert.equal(offsets.at(-1), last);
  assert.ok(offsets[1]! >= 8 * MIB && offsets[1]! < 8.5 * MIB);
  assert.ok(sites.bytes(ref, 0) < 5 * MIB);
  // What was not planned is there for who asks nevertheless.
  assert.equal(await reads(spooled, ref, [0, 2 * MIB, 5 * PAGE_BYTES]), FETCH_DONE);
});

test("the largest packs, of one shard and of as many as there may be", async (t) => {
  const packs = [packOf(1, PACK_BYTES_MAX, 1, 2), packOf(2, PACK_BYTES_MAX, 32, 32)];
  const limits = { ...LIMITS, bytesMax: 512 * MIB };
  const spooled = started(t, packs, { limits, indices: 32 });
  await fetched(spooled, packs);
  assert.ok(spooled.sites.asked.every(({ bytes }) => bytes <= REQUEST_BYTES_MAX));
  const all = Array.from({ length: 32 }, (_, i) => i);
  assert.deepEqual(chosenOf(spooled, 1), all);
  await assertReadsAll(spooled, packs[0]!, chosenOf(spooled, 0), MIB);
  await assertReadsAll(spooled, packs[1]!, all, MIB);
});

test("a pack of more shards than there are sites is read from those first that have one", async (t) => {
  const packs = [1, 2, 3].map((i) => packOf(i, 2 * MIB, 2, 5));
  const spooled = started(t, packs, { indices: 3 });
  await fetched(spooled, packs);
  for (const ordinal of packs.keys()) {
    assert.ok(chosenOf(spooled, ordinal).every((index) => index < 3));
  }
});

test("what is not planned, or little of it wanted, is for who reads it to fetch", async (t) => {
  const packs = [1, 2, 3].map((i) => packOf(i, 4 * MIB, 2, 3));
  const [unknown, little, grows] = packs as [DispersedRef, DispersedRef, DispersedRef];
  const spooled = started(t, packs);
  const { sites, spool } = spooled;
  assert.equal(await reads(spooled, unknown, [0, 0, 100]), undefined);
  const few = { bytes: MIB - 1, start: 0, end: 1 };
  spool.plan(little, 1, few);
  spool.plan(grows, 2, few);
  await rest(sites);
  assert.equal(await reads(spooled, little, [0, 0, 100]), undefined);
  assert.equal(sites.asked.length, 0);
  assert.deepEqual(chosenOf(spooled, 0), []);
  spool.plan(grows, 2, { bytes: 1, start: 0, end: 0.1 });
  await until(() => sites.bytes() === 2 * shardBytes(grows));
  assert.equal(await reads(spooled, grows, [chosenOf(spooled, 2)[0]!, 0, 100]), FETCH_DONE);
});

test("no more is under way at once than may be, of one index and of all", async (t) => {
  const packs = Array.from({ length: 12 }, (_, i) => packOf(i + 1, 24 * MIB, 5, 5));
  const spooled = started(t, packs, { limits: { ...LIMITS, bytesMax: 1024 * MIB } });
  const { sites, spool } = spooled;
  const { waits, open } = gate();
  for (let i = 0; i < 5; i++) sites.behaviours.set(i, waits);
  for (const [ordinal, ref] of packs.entries()) spool.plan(ref, ordinal, WHOLE);
  await until(() => sites.most.bytes >= UNDER_WAY_MAX);
  await rest(sites);
  open();
  await until(() => sites.bytes() === packs.length * 5 * shardBytes(packs[0]!));
  assert.ok(sites.most.bytes < UNDER_WAY_MAX + REQUEST_BYTES_MAX);
  assert.equal(Math.max(...sites.most.calls.values()), 3);
});

test("of what is kept at most a third was not asked for yet; as it is read, it goes on, and nothing comes twice", async (t) => {
  const packs = Array.from({ length: 40 }, (_, i) => packOf(i + 1, 4 * MIB, 2, 3));
  const bytesMax = 64 * MIB;
  const spooled = started(t, packs, { limits: { ...LIMITS, bytesMax } });
  const { sites, spool } = spooled;
  for (const [ordinal, ref] of packs.entries()) spool.plan(ref, ordinal, WHOLE);
  await until(() => sites.bytes() >= bytesMax / 3 - REQUEST_BYTES_MAX);
  await rest(sites);
  assert.ok(sites.bytes() < bytesMax / 3 + REQUEST_BYTES_MAX);
  for (const [ordinal, ref] of packs.entries()) {
    await until(() => chosenOf(spooled, ordinal).every((i) => sites.bytes(ref, i) > 0));
    await assertReadsAll(spooled, ref, chosenOf(spooled, ordinal), MIB);
  }
  // Nothing that was fetched ahead had to make room before it was read.
  assert.equal(sites.bytes(), packs.length * 2 * shardBytes(packs[0]!));
});

test("after many packs of which a shard fails midway, what follows is fetched ahead as before", async (t) => {
  const packs = Array.from({ length: 30 }, (_, i) => packOf(i + 1, 12 * MIB, 2, 3));
  const spooled = started(t, packs, { limits: { ...LIMITS, bytesMax: 32 * MIB } });
  const { sites, spool } = spooled;
  let calls = 0;
  for (let i = 0; i < 3; i++) {
    sites.behaviours.set(i, (ask) => (calls++ % 5 === 3 ? isDown(ask) : answers(ask)));
  }
  for (const [ordinal, ref] of packs.slice(0, -1).entries()) {
    spool.plan(ref, ordinal, WHOLE);
    await rest(sites);
    for (const index of [0, 1, 2]) {
      for (let offset = 0; offset < shardBytes(ref); offset += MIB) {
        const length = Math.min(MIB, shardBytes(ref) - offset);
        const outcome = await reads(spooled, ref, [index, offset, length]);
        assert.ok(outcome === FETCH_DONE || outcome === FETCH_UNAVAILABLE);
      }
    }
  }
  sites.behaviours.clear();
  const last = packs.at(-1)!;
  spool.plan(last, packs.length - 1, WHOLE);
  await until(() => sites.bytes(last) === 2 * shardBytes(last));
});

test("a shard that is missing: who reads is told, and what it turns to is fetched; later packs avoid the site", async (t) => {
  const packs = [packOf(1, 6 * MIB, 2, 4), packOf(2, 6 * MIB, 2, 4)];
  const [first, second] = packs as [DispersedRef, DispersedRef];
  const spooled = started(t, packs);
  const { sites, spool } = spooled;
  sites.behaviours.set(1, lacksIt);
  spool.plan(first, 0, WHOLE);
  assert.deepEqual(chosenOf(spooled, 0), [0, 1]);
  await until(() => sites.bytes(first, 0) === shardBytes(first));
  assert.equal(await reads(spooled, first, [1, 0, 1000]), FETCH_NOT_FOUND);
  assert.equal(await reads(spooled, first, [3, 0, 1000]), FETCH_DONE);
  await until(() => sites.bytes(first, 3) === shardBytes(first));
  assert.deepEqual(chosenOf(spooled, 0), [0, 3]);
  spool.plan(second, 1, WHOLE);
  assert.ok(!chosenOf(spooled, 1).includes(1));
  await until(() => sites.bytes(second) === 2 * shardBytes(second));
  assert.equal(sites.bytes(second, 1), 0);
});

test("a shard that failed can be asked for again", async (t) => {
  const ref = packOf(1, 6 * MIB, 2, 3);
  const spooled = started(t, [ref]);
  const { sites, spool } = spooled;
  sites.behaviours.set(0, isDown);
  spool.plan(ref, 0, WHOLE);
  assert.equal(await reads(spooled, ref, [0, 0, 1000]), FETCH_UNAVAILABLE);
  sites.behaviours.clear();
  assert.equal(await reads(spooled, ref, [0, 0, 1000]), FETCH_DONE);
  await assertReadsAll(spooled, ref, [0, 1]);
});

test("a shard that is damaged: what who reads turns to instead is fetched ahead too", async (t) => {
  const ref = packOf(1, 6 * MIB, 2, 4);
  const spooled = started(t, [ref]);
  await fetched(spooled, [ref]);
  // All that the spool sees of the damage.
  assert.equal(await reads(spooled, ref, [3, 0, 1000]), FETCH_DONE);
  await until(() => spooled.sites.bytes(ref, 3) === shardBytes(ref));
});

test("what somebody reads is not chosen anew", async (t) => {
  const packs = [packOf(1, 64 * MIB, 2, 4), packOf(2, 6 * MIB, 2, 4)];
  const [large, ref] = packs as [DispersedRef, DispersedRef];
  const spooled = started(t, packs, { limits: { ...LIMITS, bytesMax: 48 * MIB } });
  const { sites, spool } = spooled;
  spool.plan(large, 0, WHOLE);
  spool.plan(ref, 1, WHOLE);
  // There is no room for it yet, and who reads it has begun; then one of its sites fails for another pack.
  await rest(sites);
  assert.equal(sites.bytes(ref), 0);
  const chosen = chosenOf(spooled, 1);
  const [kept = 0, fails = 0] = chosen;
  assert.equal(await reads(spooled, ref, [kept, 0, 1000]), FETCH_DONE);
  sites.behaviours.set(fails, (ask) => (ask.id === large.id ? isDown : answers)(ask));
  assert.equal(await reads(spooled, large, [fails, 20 * MIB, 1000]), FETCH_UNAVAILABLE);
  for (const index of chosenOf(spooled, 0)) {
    for (let offset = 0; offset < 32 * MIB; offset += MIB) {
      await reads(spooled, large, [index, offset, MIB]);
    }
  }
  await until(() => sites.bytes(ref) === 2 * shardBytes(ref));
  assert.deepEqual(chosenOf(spooled, 1), chosen);
});

test("a site that hangs: who reads is told, others go on, and no pack waits for it once more", async (t) => {
  const packs = Array.from({ length: 12 }, (_, i) => packOf(i + 1, 6 * MIB, 2, 4));
  const spooled = started(t, packs, { limits: { ...LIMITS, bytesMax: 512 * MIB } });
  const { sites, spool, pass, timers } = spooled;
  sites.behaviours.set(0, hangs);
  for (const [ordinal, ref] of packs.slice(0, -1).entries()) spool.plan(ref, ordinal, WHOLE);
  await rest(sites);
  const [first] = packs as [DispersedRef];
  assert.deepEqual(chosenOf(spooled, 0), [0, 1]);
  const late = reads(spooled, first, [0, 0, 1000]);
  assert.equal(await reads(spooled, first, [1, 0, 1000]), FETCH_DONE);
  pass(10_000);
  assert.equal(await late, FETCH_LATE);
  // All others are fetched from elsewhere, also those of which something was under way there.
  for (const [ordinal, ref] of packs.entries()) {
    if (ordinal === 0) continue;
    if (ordinal === packs.length - 1) spool.plan(ref, ordinal, WHOLE);
    await until(() => !chosenOf(spooled, ordinal).includes(0));
    const chosen = chosenOf(spooled, ordinal);
    assert.equal(chosen.length, 2);
    await until(() => chosen.every((index) => sites.bytes(ref, index) === shardBytes(ref)));
  }
  assert.equal(await reads(spooled, first, [2, 0, 1000]), FETCH_DONE);
  await until(() => sites.bytes(first, 2) === shardBytes(first));
  assert.ok([...sites.underWay].every(({ index }) => index !== 0));
  assert.equal(timers.size, 0);
});

test("sites that hang and could fill all that may be under way do not keep the others from going on", async (t) => {
  const packs = Array.from({ length: 6 }, (_, i) => packOf(i + 1, 60 * MIB, 4, 8));
  const spooled = started(t, packs, { limits: { ...LIMITS, bytesMax: 1024 * MIB }, indices: 8 });
  const { sites, spool, pass } = spooled;
  for (const index of [0, 1, 2]) sites.behaviours.set(index, hangs);
  for (const [ordinal, ref] of packs.entries()) spool.plan(ref, ordinal, WHOLE);
  const [first] = packs as [DispersedRef];
  const late = [0, 1, 2].map((index) => reads(spooled, first, [index, 0, 1000]));
  await until(() => sites.underWay.size > 0);
  await rest(sites);
  pass(10_000);
  assert.deepEqual(await Promise.all(late), [FETCH_LATE, FETCH_LATE, FETCH_LATE]);
  for (const [ordinal, ref] of packs.entries()) {
    if (ordinal === 0) continue;
    await until(() => chosenOf(spooled, ordinal).every((index) => index > 2));
    await until(() =>
      chosenOf(spooled, ordinal).every((index) => sites.bytes(ref, index) === shardBytes(ref)),
    );
  }
});

/** Answers once, and never again. */
function hangsLater(): Behaviour {
  let calls = 0;
  return (ask) => (calls++ === 0 ? answers : hangs)(ask);
}

test("what had only just been asked of a site that hangs does not make it look fast", async (t) => {
  const packs = [28 * MIB, 6 * MIB, 6 * MIB].map((bytes, i) => packOf(i + 1, bytes, 2, 4));
  const [first, second, third] = packs as [DispersedRef, DispersedRef, DispersedRef];
  const spooled = started(t, packs, { limits: { ...LIMITS, bytesMax: 512 * MIB } });
  const { sites, spool, pass } = spooled;
  sites.behaviours.set(0, hangs);
  spool.plan(first, 0, WHOLE);
  spool.plan(second, 1, WHOLE);
  await rest(sites);
  const late = reads(spooled, first, [0, 0, 1000]);
  pass(999);
  const young = reads(spooled, second, [0, 0, 1000]);
  pass(1);
  assert.deepEqual(await Promise.all([late, young]), [FETCH_LATE, FETCH_LEFT_ALONE]);
  spool.plan(third, 2, WHOLE);
  assert.ok(!chosenOf(spooled, 2).includes(0));
});

test("what came of a shard that is given up before anybody reads it makes room", async (t) => {
  const packs = [packOf(1, 28 * MIB, 2, 4), packOf(2, 1000, 2, 4)];
  const [large, small] = packs as [DispersedRef, DispersedRef];
  // Room for two of its shards, and not for what has come of a third.
  const limits = { ...LIMITS, bytesMax: 366 * PAGE_BYTES };
  const spooled = started(t, packs, { limits });
  const { sites, spool, pass } = spooled;
  sites.behaviours.set(0, hangsLater());
  spool.plan(large, 0, WHOLE);
  spool.plan(small, 1, WHOLE);
  assert.deepEqual(chosenOf(spooled, 0), [0, 1]);
  await until(() => sites.asked.filter(({ index }) => index === 0).length === 4);
  await rest(sites);
  const late = reads(spooled, small, [0, 0, 1000]);
  pass(10_000);
  assert.equal(await late, FETCH_LATE);
  await until(() => !chosenOf(spooled, 0).includes(0));
  const chosen = chosenOf(spooled, 0);
  await until(() => chosen.every((index) => sites.bytes(large, index) === shardBytes(large)));
});

test("reading on what is here of a shard that failed has no more of it asked for ahead", async (t) => {
  const ref = packOf(1, 28 * MIB, 2, 4);
  const spooled = started(t, [ref], { limits: { ...LIMITS, bytesMax: 512 * MIB } });
  const { sites, spool, pass } = spooled;
  sites.behaviours.set(0, hangsLater());
  spool.plan(ref, 0, WHOLE);
  const asked = (): number => sites.asked.filter(({ index }) => index === 0).length;
  await until(() => asked() === 4);
  const late = reads(spooled, ref, [0, 5 * MIB, 1000]);
  pass(10_000);
  assert.equal(await late, FETCH_LATE);
  assert.equal(await reads(spooled, ref, [0, 0, 1000]), FETCH_DONE);
  await rest(sites);
  assert.equal(asked(), 4);
});

test("who has nobody else to ask waits, though another gives up", async (t) => {
  const ref = packOf(1, 6 * MIB, 2, 3);
  const spooled = started(t, [ref]);
  const { sites, spool, pass } = spooled;
  const { waits, open } = gate();
  sites.behaviours.set(0, waits);
  spool.plan(ref, 0, WHOLE);
  await until(() => sites.bytes(ref, 0) > 0);
  const patient = reads(spooled, ref, [0, 0, 1000], LAST_RESORT);
  const other = reads(spooled, ref, [0, 500, 1000]);
  const asked = sites.asked.length;
  pass(VERY_LONG_MS);
  assert.equal(await other, FETCH_LATE);
  open();
  assert.equal(await patient, FETCH_DONE);
  assert.equal(sites.asked.length, asked, "it was not asked for again");
});

test("who has nobody else to ask, and comes when another has given up, asks the site itself", async (t) => {
  const ref = packOf(1, 6 * MIB, 2, 3);
  const spooled = started(t, [ref]);
  const { sites, spool, pass } = spooled;
  sites.behaviours.set(0, hangs);
  spool.plan(ref, 0, WHOLE);
  await until(() => sites.bytes(ref, 0) > 0);
  const other = reads(spooled, ref, [0, 500, 1000]);
  pass(VERY_LONG_MS);
  const patient = reads(spooled, ref, [0, 0, 1000], LAST_RESORT);
  assert.equal(await other, FETCH_LATE);
  assert.equal(await patient, undefined);
});

test("a site that is left alone for a while is asked nevertheless by who has nobody else to ask", async (t) => {
  const ref = packOf(1, 6 * MIB, 2, 3);
  const wrap = (site: Site): Site => breaking(site, { failuresMax: 1, pauseMs: VERY_LONG_MS });
  const spooled = started(t, [ref], { wrap });
  const { sites, spool } = spooled;
  sites.behaviours.set(0, isDown);
  spool.plan(ref, 0, WHOLE);
  assert.equal(await reads(spooled, ref, [0, 0, 1000]), FETCH_UNAVAILABLE);
  const asked = sites.asked.filter(({ index }) => index === 0).length;
  assert.equal(await reads(spooled, ref, [0, 0, 1000]), FETCH_LEFT_ALONE);
  assert.equal(sites.asked.filter(({ index }) => index === 0).length, asked);
  sites.behaviours.clear();
  assert.equal(await reads(spooled, ref, [0, 0, 1000], LAST_RESORT), FETCH_DONE);
});

test("of a pack each site that is left alone is tried once ahead, and another fetched from", async (t) => {
  const packs = [1, 2].map((i) => packOf(i, 6 * MIB, 2, 4));
  const [ref, next] = packs as [DispersedRef, DispersedRef];
  let calls = 0;
  const wrap = (site: Site): Site => {
    const breaks = breaking(site, { failuresMax: 1, pauseMs: VERY_LONG_MS });
    const read: Site["read"] = (...call) => {
      calls++;
      return breaks.read(...call);
    };
    return { ...breaks, read };
  };
  const spooled = started(t, packs, { wrap });
  const { sites, spool } = spooled;
  for (const index of [0, 1, 2, 3]) sites.behaviours.set(index, isDown);
  spool.plan(ref, 0, WHOLE);
  for (const index of [0, 1, 2]) await reads(spooled, ref, [index, 0, 1000]);
  await rest(sites);
  calls = 0;
  sites.behaviours.clear();
  spool.plan(next, 1, WHOLE);
  await until(() => sites.bytes(next, 3) === shardBytes(next));
  await rest(sites);
  assert.equal(sites.bytes(next), shardBytes(next));
  // Each a request for each three pages or more, and those that failed as many as may be at once.
  assert.ok(calls <= 3 * 3 + 3, `${calls} calls`);
});

test("closing settles what is read and asked for; after it nothing is", async (t) => {
  const packs = Array.from({ length: 4 }, (_, i) => packOf(i + 1, 20 * MIB, 2, 3));
  const folder = temporaryFolder(t);
  const spooled = spooling(join(folder, "spool"), packs);
  const { sites, spool, timers } = spooled;
  for (const [ordinal, ref] of packs.entries()) spool.plan(ref, ordinal, WHOLE);
  sites.behaviours.set(0, hangs);
  sites.behaviours.set(2, hangs);
  const all = packs.flatMap((ref) =>
    [0, 1, 2].flatMap((index) =>
      [MAY_BE_LATE, LAST_RESORT].map((how) => reads(spooled, ref, [index, 0, 2 * MIB], how)),
    ),
  );
  await until(() => sites.underWay.size > 3);
  await Promise.all([spool.close(), spool.close()]);
  const outcomes = await Promise.all(all);
  assert.ok(outcomes.every((outcome) => outcome === FETCH_DONE || outcome === FETCH_LATE));
  assert.ok(outcomes.includes(FETCH_LATE));
  const asked = sites.asked.length;
  spool.plan(packOf(9, 2 * MIB, 2, 3), 0, WHOLE);
  assert.equal(await reads(spooled, packs[0]!, [0, 0, 100]), undefined);
  await rest(sites);
  assert.equal(sites.asked.length, asked);
  assert.equal(sites.underWay.size, 0);
  assert.equal(timers.size, 0);
  assert.deepEqual(readdirSync(folder), []);
});

test("it is not begun where there is no room for it, or no folder", (t) => {
  const folder = temporaryFolder(t);
  const source = new ShardSource([]);
  const make = (path: string, limits: Partial<SpoolLimits>): ShardSpool | undefined =>
    ShardSpool.make(source, path, 5, { ...LIMITS, ...limits });
  const path = join(folder, "spool");
  assert.equal(make(path, { bytesMin: 64 * MIB + 1 }), undefined);
  assert.equal(make(path, { bytesMin: 1, diskShare: 0 }), undefined);
  assert.equal(make(join(folder, "none", "spool"), {}), undefined);
  assert.deepEqual(readdirSync(folder), []);
});

test("when the disk gets full the sites are asked, and whoever opens a pack looks ahead itself", async (t) => {
  const disk = mountSmall(t, 4 * MIB);
  if ("why" in disk) {
    t.skip(disk.why);
    return;
  }
  const packs = Array.from({ length: 4 }, (_, i) => packOf(i + 1, 6 * MIB, 2, 3));
  // As if others had filled it since it was looked at.
  const limits = { ...LIMITS, diskShare: 16 };
  const spooled = spooling(join(disk.path, "spool"), packs, { limits });
  const { sites, spool } = spooled;
  t.after(() => spool.close());
  for (const [ordinal, ref] of packs.entries()) spool.plan(ref, ordinal, WHOLE);
  const all = packs.flatMap((ref) =>
    [0, 1, 2].map((index) => reads(spooled, ref, [index, 0, MIB])),
  );
  const outcomes = await Promise.all(all);
  assert.ok(outcomes.includes(undefined));
  assert.ok(outcomes.every((outcome) => outcome === undefined || outcome === FETCH_DONE));
  await rest(sites);
  const asked = sites.asked.length;
  for (const ordinal of packs.keys()) assert.deepEqual(chosenOf(spooled, ordinal), []);
  spool.plan(packOf(9, 6 * MIB, 2, 3), 0, WHOLE);
  assert.deepEqual(chosenOf(spooled, 0), []);
  assert.equal(await reads(spooled, packs[0]!, [0, 0, 100]), undefined);
  await rest(sites);
  assert.equal(sites.asked.length, asked);
});

test("whatever is planned, read and goes wrong, no byte is wrong, and everything ends", async (t) => {
  const folder = temporaryFolder(t);
  const behaviours: readonly Behaviour[] = [
    answers,
    answers,
    turn,
    async () => {
      for (let i = 0; i < 20; i++) await turn();
    },
    lacksIt,
    isDown,
    hangs,
  ];
  const pack = fc.record({ bytes: fc.integer({ min: 1, max: 6 * MIB }), wanted: fc.nat(4 * MIB) });
  const step = fc.record({
    plans: fc.boolean(),
    pack: fc.nat(),
    index: fc.nat(),
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    end: fc.double({ min: 0, max: 1, noNaN: true }),
    bytes: fc.integer({ min: 1, max: 800_000 }),
    isPatient: fc.boolean(),
    turns: fc.nat(6),
    passes: fc.constantFrom(0, 0, 0, 10_000),
  });
  const plan = fc.record({
    packs: fc.array(pack, { minLength: 1, maxLength: 4 }),
    n: fc.integer({ min: 1, max: 5 }),
    k: fc.nat(),
    pagesMax: fc.integer({ min: 4, max: 60 }),
    faults: fc.array(fc.nat(behaviours.length - 1), { minLength: 1, maxLength: 12 }),
    steps: fc.array(step, { minLength: 1, maxLength: 40 }),
  });
  let [done, number] = [0, 0];
  await fc.assert(
    fc.asyncProperty(plan, async ({ packs, n, k, pagesMax, faults, steps }) => {
      const refs = packs.map(({ bytes }, i) => packOf(i + 1, bytes, 1 + (k % n), n));
      const limits = { ...LIMITS, bytesMax: pagesMax * PAGE_BYTES };
      const spooled = spooling(join(folder, `spool-${number++}`), refs, { limits, indices: n });
      const { sites, spool, pass, timers } = spooled;
      let calls = 0;
      for (let i = 0; i < n; i++) {
        sites.behaviours.set(i, (ask) =>
          (behaviours[faults[calls++ % faults.length]!] ?? answers)(ask),
        );
      }
      for (const [ordinal, ref] of refs.entries()) {
        spool.plan(ref, ordinal, { bytes: packs[ordinal]!.wanted, start: 0, end: 1 });
      }
      const reading: Promise<number | undefined>[] = [];
      for (const one of steps) {
        const ordinal = one.pack % refs.length;
        const ref = refs[ordinal]!;
        const [start, end] = [Math.min(one.at, one.end), Math.max(one.at, one.end)];
        if (one.plans) spool.plan(ref, ordinal, { bytes: one.bytes, start, end });
        else {
          const offset = Math.floor(one.at * (shardBytes(ref) - 1));
          const length = Math.min(one.bytes, shardBytes(ref) - offset);
          const how = one.isPatient ? LAST_RESORT : MAY_BE_LATE;
          reading.push(reads(spooled, ref, [one.index % n, offset, length], how));
        }
        for (let i = 0; i < one.turns; i++) await turn();
        pass(one.passes);
      }
      await spool.close();
      for (const outcome of await Promise.all(reading)) if (outcome === FETCH_DONE) done++;
      assert.equal(sites.underWay.size, 0);
      assert.equal(timers.size, 0);
    }),
    tries(60),
  );
  assert.ok(done > 0, "something was read");
});
