import assert from "node:assert/strict";
import { test } from "node:test";
import { newPackPlan, PackPlan, PackPlanner } from "./pack-plan.ts";

const MB = 1024 * 1024;

function planned() {
  const shared = newPackPlan();
  return { planner: new PackPlanner(shared), plan: new PackPlan(shared) };
}

/** All that is planned by now: packs, and how far it goes into each. */
function rest(plan: PackPlan): readonly (readonly [number, number])[] {
  const visits: (readonly [number, number])[] = [];
  for (let next = plan.next(); next; next = plan.next()) visits.push([next.ordinal, next.end()]);
  return visits;
}

test("what is planned is read once, in order, as it comes", () => {
  const { planner, plan } = planned();
  assert.deepEqual(rest(plan), []);
  planner.add({ pack: 7, bytes: 2 * MB, end: 100 });
  planner.add({ pack: 3, bytes: 2 * MB, end: 10 });
  planner.add({ pack: 7, bytes: 2 * MB, end: 200 });
  assert.deepEqual(rest(plan), [
    [7, 200],
    [3, 10],
  ]);
  planner.add({ pack: 0, bytes: 2 * MB, end: 5 });
  assert.deepEqual(rest(plan), [[0, 5]]);
});

test("how far a visit goes is told as it grows, also when it was read already", () => {
  const { planner, plan } = planned();
  planner.add({ pack: 7, bytes: 2 * MB, end: 100 });
  const visit = plan.next();
  assert.equal(visit?.end(), 100);
  planner.add({ pack: 7, bytes: MB, end: 300 });
  assert.equal(visit?.end(), 300);
  assert.equal(plan.next(), undefined);
});

test("a pack that is read again after much of others is visited twice", () => {
  const { planner, plan } = planned();
  planner.add({ pack: 1, bytes: 4 * MB, end: 100 });
  for (let pack = 2; pack < 9; pack++) planner.add({ pack, bytes: 5 * MB, end: 65_536 });
  planner.add({ pack: 1, bytes: 4 * MB, end: 200 });
  const visits = rest(plan);
  assert.deepEqual(visits[0], [1, 100]);
  assert.deepEqual(visits.at(-1), [1, 200]);
  assert.equal(visits.length, 9);
});

test("of what little is wanted nothing is planned", () => {
  const { planner, plan } = planned();
  for (let pack = 0; pack < 100; pack++) planner.add({ pack, bytes: 1000, end: 65_536 });
  assert.deepEqual(rest(plan), []);
});

test("of more than there is room for, the latest are read", () => {
  const { planner, plan } = planned();
  for (let pack = 0; pack < 1000; pack++) planner.add({ pack, bytes: 2 * MB, end: 1 });
  const read = rest(plan).map(([pack]) => pack);
  assert.equal(read.at(-1), 999);
  assert.ok(read.length > 200);
  assert.deepEqual(
    read,
    Array.from({ length: read.length }, (_, i) => 1000 - read.length + i),
  );
});
