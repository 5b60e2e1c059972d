import assert from "node:assert/strict";
import { hash } from "node:crypto";
import { test } from "node:test";
import { noise } from "../../test/support/vault.ts";
import { isExclaveError } from "../errors.ts";
import { merkleRoot } from "./merkle.ts";

/** RFC 6962, section 2.1, as it is written there, over leaves that are hashes. */
function definition(leaves: readonly Uint8Array[]): Uint8Array {
  if (leaves.length === 1) return leaves[0]!;
  let split = 1;
  while (split * 2 < leaves.length) split *= 2;
  const inner = [
    Uint8Array.of(1),
    definition(leaves.slice(0, split)),
    definition(leaves.slice(split)),
  ];
  return hash("sha256", Buffer.concat(inner), "buffer");
}

test("the root is that of RFC 6962's definition, for every number of leaves up to 200", () => {
  const all = noise(200 * 32, 1);
  const leaves = Array.from({ length: 200 }, (_, i) => all.subarray(i * 32, (i + 1) * 32));
  for (let count = 1; count <= 200; count++) {
    assert.deepEqual(
      Buffer.from(merkleRoot(all.subarray(0, count * 32))),
      Buffer.from(definition(leaves.slice(0, count))),
      `${count} leaves`,
    );
  }
});

test("no leaves, and half a leaf, have no root", () => {
  for (const length of [0, 31, 33]) {
    assert.throws(
      () => merkleRoot(new Uint8Array(length)),
      (error) => isExclaveError(error, "bug"),
    );
  }
});
