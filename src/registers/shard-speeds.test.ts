import assert from "node:assert/strict";
import { test } from "node:test";
import { simulatedTime } from "../../test/support/clock.ts";
import { FETCH_DONE, FETCH_LATE, FETCH_NOT_FOUND } from "./read-messages.ts";
import { ShardSpeeds, slownessOf } from "./shard-speeds.ts";

const MIB = 1024 * 1024;

/** Speeds in a time of their own, and fetches that take as long as they are told. */
function simulated(indices: number) {
  const { pass, timers, ...time } = simulatedTime();
  const speeds = new ShardSpeeds(indices, time);
  const fetch = (index: number, bytes: number, ms: number, mayBeLate = true): Promise<number> =>
    speeds.timed(index, bytes, mayBeLate, async (signal) => {
      // It notices within a tenth of its time that it was given up.
      for (let i = 0; i < 10; i++) {
        pass(ms / 10);
        if (signal?.aborted) return FETCH_LATE;
      }
      return FETCH_DONE;
    });
  return { speeds, fetch, pass, timers };
}

test("sites that are about as fast rank the same, and far ones behind", async () => {
  const { speeds, fetch } = simulated(5);
  const times = [30, 45, 31, 130, 1000];
  for (let i = 0; i < 20; i++) {
    for (const [index, ms] of times.entries()) await fetch(index, 64 * 1024, ms, false);
  }
  assert.deepEqual(slownessOf(speeds.shared, 5), [0, 0, 0, 2, 5]);
});

test("next door all are alike", async () => {
  const { speeds, fetch } = simulated(3);
  for (const [index, ms] of [0.1, 2, 15].entries()) await fetch(index, MIB / 4, ms);
  assert.deepEqual(slownessOf(speeds.shared, 3), [0, 0, 0]);
});

test("a narrow link ranks behind a far one", async () => {
  const { speeds, fetch } = simulated(2);
  for (let i = 0; i < 5; i++) {
    await fetch(0, 16 * 1024, 10, false);
    await fetch(0, MIB, 2000, false);
    await fetch(1, 16 * 1024, 80, false);
    await fetch(1, MIB, 120, false);
  }
  const [narrow = 0, far = 0] = slownessOf(speeds.shared, 2);
  assert.ok(narrow > far);
});

test("what is not known ranks first, and so does what was known long ago", async () => {
  const { speeds, fetch, pass } = simulated(3);
  await fetch(0, 1000, 20);
  await fetch(1, 1000, 400);
  assert.deepEqual(slownessOf(speeds.shared, 3), [0, 4, 0]);
  pass(61_000);
  await fetch(0, 1000, 20);
  assert.deepEqual(slownessOf(speeds.shared, 3), [0, 0, 0]);
});

test("a fetch that takes many times what is usual is given up, and its site ranks behind at once", async () => {
  const { speeds, fetch, timers } = simulated(3);
  for (let i = 0; i < 9; i++) for (const index of [0, 1, 2]) await fetch(index, MIB, 200);
  assert.equal(await fetch(1, MIB, 790), FETCH_DONE, "slower, and not yet late");
  assert.equal(await fetch(2, MIB, 60_000), FETCH_LATE);
  assert.deepEqual(slownessOf(speeds.shared, 2)[0], 0);
  assert.ok((slownessOf(speeds.shared, 3)[2] ?? 0) >= 2);
  assert.equal(timers.size, 0);
});

test("who must be waited for is waited for", async () => {
  const { fetch, timers } = simulated(2);
  await fetch(0, MIB, 10);
  assert.equal(await fetch(1, MIB, 600_000, false), FETCH_DONE);
  assert.equal(timers.size, 0);
});

test("before anything is known, a fetch has a few seconds, and more when it is large", () => {
  const { speeds } = simulated(2);
  assert.equal(Math.round(speeds.lateMs(0, 100)), 3000);
  assert.equal(Math.round(speeds.lateMs(0, MIB)), 3000 + 2048);
});

test("a site that is always slow is not late for what is usual there", async () => {
  const { speeds, fetch } = simulated(3);
  for (let i = 0; i < 9; i++) {
    await fetch(0, MIB, 20, false);
    await fetch(1, MIB, 20, false);
    await fetch(2, MIB, 2000, false);
  }
  assert.ok(speeds.lateMs(2, MIB) > 7000);
  assert.equal(speeds.lateMs(0, MIB), 1000);
});

test("what was not there says nothing about speed", async () => {
  const { speeds } = simulated(1);
  assert.equal(await speeds.timed(0, 10, true, async () => FETCH_NOT_FOUND), FETCH_NOT_FOUND);
  assert.deepEqual([...speeds.shared], [0]);
});

test("what waits behind other fetches of the same index is not late for that", async () => {
  const { speeds, fetch, pass } = simulated(2);
  for (let i = 0; i < 9; i++) {
    await fetch(0, 16 * 1024, 100);
    await fetch(0, 4 * MIB, 1000);
  }
  // Three that come one after another, and a small one behind them.
  const under = [0, 1, 2].map(() => Promise.withResolvers<number>());
  const ahead = under.map(({ promise }) => speeds.timed(0, 4 * MIB, true, () => promise));
  let wasLate = false;
  const small = Promise.withResolvers<number>();
  const last = speeds.timed(0, 16 * 1024, true, (signal) => {
    signal?.addEventListener("abort", () => (wasLate = true));
    return small.promise;
  });
  for (const one of under) {
    pass(1000);
    one.resolve(FETCH_DONE);
    await Promise.resolve();
  }
  small.resolve(FETCH_DONE);
  await Promise.all([...ahead, last]);
  assert.ok(!wasLate);
});

test("who knows round trips alone gives what is large its time", async () => {
  const { speeds, fetch } = simulated(2);
  assert.ok(speeds.lateMs(0, 4 * MIB) > 10_000);
  for (let i = 0; i < 5; i++) await fetch(0, 16 * 1024, 80, false);
  assert.equal(speeds.lateMs(0, 16 * 1024), 1000);
  assert.ok(speeds.lateMs(0, 4 * MIB) > 10_000);
  await fetch(0, MIB, 500, false);
  assert.ok(speeds.lateMs(0, 4 * MIB) < 10_000);
});
