import assert from "node:assert/strict";
import { test } from "node:test";
import { newPackPlan, PackPlan, planPack } from "./pack-plan.ts";

/** All that is planned by now. */
function rest(plan: PackPlan): readonly number[] {
  const packs: number[] = [];
  for (let next = plan.next(); next !== undefined; next = plan.next()) packs.push(next);
  return packs;
}

test("what is planned is read once, in order, as it comes", () => {
  const shared = newPackPlan();
  const plan = new PackPlan(shared);
  assert.deepEqual(rest(plan), []);
  for (const pack of [7, 7, 3, 7]) planPack(shared, pack);
  assert.deepEqual(rest(plan), [7, 3, 7]);
  planPack(shared, 7);
  planPack(shared, 0);
  assert.deepEqual(rest(plan), [0]);
});

test("of more than there is room for, the latest are read", () => {
  const shared = newPackPlan();
  const plan = new PackPlan(shared);
  for (let pack = 0; pack < 1000; pack++) planPack(shared, pack);
  const read = rest(plan);
  assert.equal(read.at(-1), 999);
  assert.ok(read.length > 200);
  assert.deepEqual(
    read,
    Array.from({ length: read.length }, (_, i) => 1000 - read.length + i),
  );
});
