import assert from "node:assert/strict";
import { test } from "node:test";
import { ContentWriter } from "../../vault/entries.ts";
import { Assignment } from "./assignment.ts";

const MB = 1024 * 1024;

/** Content whose chunks lie in these packs, in that order. */
function contentIn(...packs: readonly number[]): readonly Uint8Array[] {
  const content = new ContentWriter();
  content.hole(10);
  for (const pack of packs) content.chunk(new Uint8Array(32).fill(pack), 100);
  return content.take();
}
const packOf = (id: Uint8Array): number | undefined => id[0];

test("what lies in one pack, or begins where another ended, is read by one worker", () => {
  const assignment = new Assignment(3, packOf);
  const first = assignment.workerFor(contentIn(1, 2));
  assignment.add(first, MB);
  assert.equal(assignment.workerFor(contentIn(1)), first);
  assert.equal(assignment.workerFor(contentIn(2, 3)), first);
  assert.equal(assignment.workerFor(contentIn(3)), first);
});

test("a new pack goes to whoever has the least to do", () => {
  const assignment = new Assignment(2, packOf);
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

test("a worker that is far behind is relieved of its pack, for good", () => {
  const assignment = new Assignment(2, packOf);
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
  const assignment = new Assignment(2, () => undefined);
  assert.ok([0, 1].includes(assignment.workerFor([])));
  assert.ok([0, 1].includes(assignment.workerFor(contentIn())));
  assert.ok([0, 1].includes(assignment.workerFor(contentIn(7))));
});
