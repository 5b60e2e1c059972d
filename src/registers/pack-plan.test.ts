import assert from "node:assert/strict";
import { test } from "node:test";
import { newPackPlan, PackPlan, PackPlanner, type PackStretch } from "./pack-plan.ts";

const MB = 1024 * 1024;

function planned() {
  const shared = newPackPlan();
  return { planner: new PackPlanner(shared), plan: new PackPlan(shared) };
}

/** What is read of a pack, from its beginning. */
function read(pack: number, bytes: number, end: number): PackStretch {
  return { pack, bytes, start: 0, end };
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
  planner.add(read(7, 2 * MB, 100));
  planner.add(read(3, 2 * MB, 10));
  planner.add(read(7, 2 * MB, 200));
  assert.deepEqual(rest(plan), [
    [7, 200],
    [3, 10],
  ]);
  planner.add(read(0, 2 * MB, 5));
  assert.deepEqual(rest(plan), [[0, 5]]);
});

test("how far a visit goes is told as it grows, also when it was read already", () => {
  const { planner, plan } = planned();
  planner.add(read(7, 2 * MB, 100));
  const visit = plan.next();
  assert.equal(visit?.end(), 100);
  planner.add(read(7, MB, 300));
  assert.equal(visit?.end(), 300);
  assert.equal(plan.next(), undefined);
});

test("a pack that is read again after much of others is visited twice", () => {
  const { planner, plan } = planned();
  planner.add(read(1, 4 * MB, 100));
  for (let pack = 2; pack < 9; pack++) planner.add(read(pack, 5 * MB, 65_536));
  planner.add(read(1, 4 * MB, 200));
  const visits = rest(plan);
  assert.deepEqual(visits[0], [1, 100]);
  assert.deepEqual(visits.at(-1), [1, 200]);
  assert.equal(visits.length, 9);
});

test("of what little is wanted nothing is planned", () => {
  const { planner, plan } = planned();
  for (let pack = 0; pack < 100; pack++) planner.add(read(pack, 1000, 65_536));
  assert.deepEqual(rest(plan), []);
});

test("of more than there is room for, the latest are read", () => {
  const { planner, plan } = planned();
  for (let pack = 0; pack < 1000; pack++) planner.add(read(pack, 2 * MB, 1));
  const latest = rest(plan).map(([pack]) => pack);
  assert.equal(latest.at(-1), 999);
  assert.ok(latest.length > 200);
  assert.deepEqual(
    latest,
    Array.from({ length: latest.length }, (_, i) => 1000 - latest.length + i),
  );
});

test("a visit begins where the first of what is read lies", () => {
  const { planner, plan } = planned();
  planner.add({ pack: 3, bytes: 100, start: 500, end: 510 });
  planner.add({ pack: 3, bytes: 2 * MB, start: 400, end: 600 });
  const visit = plan.next();
  assert.deepEqual([visit?.start, visit?.end()], [400, 600]);
});
