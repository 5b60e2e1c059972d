import assert from "node:assert/strict";
import { test } from "node:test";
import { giveBack } from "./memory.ts";

test("bytes that are all of a buffer are given back at once", () => {
  const bytes = Buffer.allocUnsafeSlow(16_384);
  giveBack(bytes);
  assert.equal(bytes.length, 0);
});

test("a part of a buffer that others have parts of, and memory that is shared, stay", () => {
  const part = new Uint8Array(new ArrayBuffer(100), 10, 20).fill(7);
  giveBack(part);
  assert.deepEqual(part, new Uint8Array(20).fill(7));
  const shared = new Uint8Array(new SharedArrayBuffer(20)).fill(7);
  giveBack(shared);
  assert.equal(shared.length, 20);
});
