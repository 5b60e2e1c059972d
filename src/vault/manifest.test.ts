import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { context, tries } from "../../test/support/vault.ts";
import { isExclaveError } from "../errors.ts";
import type { DispersedRef } from "./gather.ts";
import { idFromBytes } from "./identifiers.ts";
import {
  decodeManifest,
  encodeManifest,
  MANIFEST_ROW_BYTES,
  MANIFEST_ROWS_MAX,
} from "./manifest.ts";
import { PACK_BYTES_MAX } from "./shard.ts";

const malformed = (error: unknown): boolean => isExclaveError(error, "malformed");
const HEAD_BYTES = 72;

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const ref = fc
  .record({
    pack: bytes(16),
    id: bytes(32),
    a: fc.integer({ min: 1, max: 32 }),
    b: fc.integer({ min: 1, max: 32 }),
    packBytes: fc.integer({ min: 1, max: PACK_BYTES_MAX }),
  })
  .map(({ pack, id, a, b, packBytes }) => ({
    pack: idFromBytes("PackId", pack),
    id: idFromBytes("DispersalId", id),
    k: Math.min(a, b),
    n: Math.max(a, b),
    packBytes,
  }));

test("a manifest is read back", () => {
  const epoch = fc.integer({ min: 1, max: 2 ** 32 - 1 });
  fc.assert(
    fc.property(fc.array(ref, { maxLength: 30 }), epoch, (refs, epoch) => {
      const manifest = encodeManifest({ ...context, epoch }, refs);
      assert.equal(manifest.length, HEAD_BYTES + refs.length * MANIFEST_ROW_BYTES);
      assert.deepEqual(decodeManifest(manifest), { context: { ...context, epoch }, refs });
    }),
    tries(100),
  );
});

const one: DispersedRef = fc.sample(ref, { numRuns: 1, seed: 1 })[0]!;

test("a manifest has one spelling: whatever is read is written again as it was", () => {
  const manifest = encodeManifest(context, [one, one]);
  const change = fc.tuple(fc.nat(manifest.length - 1), fc.integer({ min: 1, max: 255 }));
  let refused = 0;
  fc.assert(
    fc.property(change, ([at, mask]) => {
      const changed = Uint8Array.from(manifest);
      changed[at]! ^= mask;
      try {
        const { context, refs } = decodeManifest(changed);
        assert.deepEqual(Buffer.from(encodeManifest(context, refs)), Buffer.from(changed));
      } catch (error) {
        if (!malformed(error)) throw error;
        refused++;
      }
    }),
    tries(1000),
  );
  assert.ok(refused > 100, `${refused} refused`);
});

test("a manifest of another length than its rows take is refused", () => {
  const manifest = encodeManifest(context, [one, one]);
  for (let end = 0; end < manifest.length; end++) {
    assert.throws(() => decodeManifest(manifest.subarray(0, end)), malformed, `${end} bytes`);
  }
  assert.throws(() => decodeManifest(Buffer.concat([manifest, Buffer.alloc(1)])), malformed);
  assert.throws(() => decodeManifest(Buffer.concat([manifest, Buffer.alloc(64)])), malformed);
});

test("a manifest of no epoch is refused", () => {
  const manifest = encodeManifest({ ...context, epoch: 0 }, [one]);
  assert.throws(() => decodeManifest(manifest), malformed);
});

test("impossible rows, and more than a manifest may have, are refused", () => {
  const refuse = (change: (row: Buffer) => void): void => {
    const manifest = Buffer.from(encodeManifest(context, [one]));
    change(manifest.subarray(HEAD_BYTES));
    assert.throws(() => decodeManifest(manifest), malformed);
  };
  refuse((row) => row.writeUInt8(0, 48));
  refuse((row) => row.writeUInt8(one.n + 1, 48));
  refuse((row) => row.writeUInt8(33, 49));
  refuse((row) => row.writeUInt8(1, 50));
  refuse((row) => row.writeUInt8(1, 55));
  refuse((row) => row.writeBigUInt64LE(0n, 56));
  refuse((row) => row.writeBigUInt64LE(BigInt(PACK_BYTES_MAX) + 1n, 56));
  refuse((row) => row.writeBigUInt64LE(2n ** 63n, 56));
  const many = Array.from({ length: MANIFEST_ROWS_MAX + 1 }, () => one);
  assert.equal(
    decodeManifest(encodeManifest(context, many.slice(1))).refs.length,
    MANIFEST_ROWS_MAX,
  );
  assert.throws(() => decodeManifest(encodeManifest(context, many)), malformed);
});
