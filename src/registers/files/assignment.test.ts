import assert from "node:assert/strict";
import { test } from "node:test";
import type { PackStretch } from "../epoch-reader.ts";
import { Assignment } from "./assignment.ts";

const MB = 1024 * 1024;

/** Content that lies in these packs, in that order, in each so many bytes. */
function contentOf(...stretches: readonly (readonly [number, number])[]): readonly PackStretch[] {
  return stretches.map(([pack, bytes]) => ({ pack, bytes, start: 0, end: 1 }));
}

function contentIn(...packs: readonly number[]): readonly PackStretch[] {
  return contentOf(...packs.map((pack) => [pack, 100] as const));
}

test("what lies in one pack, or begins where another ended, is read by one worker", () => {
  const assignment = new Assignment(3);
  const first = assignment.workerFor(contentIn(1, 2));
  assignment.add(first, MB);
  assert.equal(assignment.workerFor(contentIn(1)), first);
  assert.equal(assignment.workerFor(contentIn(2, 3)), first);
  assert.equal(assignment.workerFor(contentIn(3)), first);
});

test("a new pack goes to whoever has the least to do", () => {
  const assignment = new Assignment(2);
  const first = assignment.workerFor(contentIn(1));
  assignment.add(first, MB);
  const second = assignment.workerFor(contentIn(2));
  assert.notEqual(second, first);
  assignment.add(second, 3 * MB);
  assert.equal(assignment.workerFor(contentIn(3)), first);
  assignment.add(first, 4 * MB);
  assignment.add(second, -3 * MB);
  assert.equal(assignment.workerFor(contentIn(4)), second);
});

test("content goes to who reads most of its packs, then most of its bytes, and takes nobody's pack along", () => {
  const assignment = new Assignment(2);
  const first = assignment.workerFor(contentIn(1));
  assignment.add(first, MB);
  const second = assignment.workerFor(contentIn(2));
  assert.equal(assignment.workerFor(contentOf([1, 100], [2, 9000], [1, 100])), second);
  assert.equal(assignment.workerFor(contentIn(1)), first);
  assignment.add(second, 4 * MB);
  // A pack that nobody reads yet is read on by who reads the one before.
  assert.equal(assignment.workerFor(contentOf([2, 10], [3, MB])), second);
  assert.equal(assignment.workerFor(contentIn(3)), second);
  assert.equal(assignment.workerFor(contentOf([1, MB], [2, 10], [3, 10])), second);
});

test("a worker that is far behind is relieved of its pack, for good", () => {
  const assignment = new Assignment(2);
  const first = assignment.workerFor(contentIn(1));
  assignment.add(first, 40 * MB);
  assert.equal(assignment.workerFor(contentIn(1)), first);
  assignment.add(first, 40 * MB);
  const other = assignment.workerFor(contentIn(1));
  assert.notEqual(other, first);
  assignment.add(first, -80 * MB);
  assert.equal(assignment.workerFor(contentIn(1)), other);
});

test("content without chunks, or of no known pack, goes anywhere", () => {
  const assignment = new Assignment(2);
  assert.ok([0, 1].includes(assignment.workerFor([])));
});
