import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";

import fc from "fast-check";

import { type ErrorCode, isExclaveError } from "../errors.ts";
import { combine, derive, type Share, split } from "./shamir.ts";

const refused = (code: ErrorCode) => (error: unknown) => isExclaveError(error, code);

/** A sharing, some k of its shares in any order, and its whole list. */
const sharing = fc
  .record({
    n: fc.integer({ min: 1, max: 32 }),
    kSeed: fc.nat(),
    secret: fc.uint8Array({ minLength: 1, maxLength: 40 }),
  })
  .chain(({ n, kSeed, secret }) => {
    const k = 1 + (kSeed % n);
    const all = split(secret, k, n, randomBytes).map((share, index) => ({ index, share }));
    const some = fc.shuffledSubarray(all, { minLength: k, maxLength: k });
    return fc.record({
      k: fc.constant(k),
      secret: fc.constant(secret),
      all: fc.constant(all),
      some,
    });
  });

test("any k shares recover the secret and every other share bit for bit", () => {
  fc.assert(
    fc.property(sharing, ({ k, secret, all, some }) => {
      assert.deepEqual(combine(some, k), secret);
      assert.deepEqual(combine(all, k), secret);
      for (const { index, share } of all) assert.deepEqual(derive(some, k, index), share);
    }),
  );
});

test("k - 1 shares are distributed alike whatever the secret, so they reveal nothing", () => {
  // Over all 65,536 pairs of coefficients (one pair to each byte of the secret), any two shares of a
  // 3-of-4 sharing take every pair of values exactly once.
  const pairs = 65_536;
  const coefficients = new Uint8Array(2 * pairs);
  for (let i = 0; i < pairs; i++) {
    coefficients[i] = i & 255;
    coefficients[pairs + i] = i >>> 8;
  }
  for (const secretByte of [0, 1, 0x5a, 0xff]) {
    const secret = new Uint8Array(pairs).fill(secretByte);
    const shares = split(secret, 3, 4, () => coefficients);
    for (const [a, b] of [
      [0, 1],
      [1, 3],
    ] as const) {
      const seen = new Uint8Array(pairs);
      for (let i = 0; i < pairs; i++) seen[(shares[a]![i]! << 8) | shares[b]![i]!]! += 1;
      assert.ok(seen.every((count) => count === 1));
    }
  }
});

test("an altered share among more than k is noticed, whichever it is", () => {
  for (let altered = 0; altered < 4; altered++) {
    const shares = split(randomBytes(32), 3, 4, randomBytes);
    shares[altered]![31]! ^= 1;
    const numbered = shares.map((share, index) => ({ index, share }));
    assert.throws(() => combine(numbered, 3), refused("altered"));
  }
});

test("too few, repeated, misfit or misnumbered shares are refused", () => {
  const [a, b, c] = split(randomBytes(8), 3, 5, randomBytes).map((share, index) => ({
    index,
    share,
  })) as [Share, Share, Share];
  const short = { index: 3, share: a.share.subarray(1) };
  assert.throws(() => combine([a, b], 3), refused("not-enough-shards"));
  assert.throws(() => derive([a, b], 3, 4), refused("not-enough-shards"));
  assert.throws(() => combine([a, b, { ...b }], 3), refused("malformed"));
  assert.throws(() => combine([a, b, short], 3), refused("malformed"));
  assert.throws(() => combine([a, b, { ...c, index: 255 }], 3), refused("malformed"));
  assert.throws(() => combine([a, b, { ...c, index: 1.5 }], 3), refused("malformed"));
  assert.throws(() => combine([{ index: 0, share: new Uint8Array() }], 1), refused("malformed"));
  assert.throws(() => derive([a, b, c], 3, 255), refused("bug"));
  assert.throws(() => split(randomBytes(8), 3, 2, randomBytes), refused("bug"));
  assert.throws(() => split(randomBytes(8), 0, 2, randomBytes), refused("bug"));
  assert.throws(() => split(randomBytes(8), 1, 256, randomBytes), refused("bug"));
  assert.throws(() => split(new Uint8Array(), 1, 2, randomBytes), refused("bug"));
  assert.throws(() => split(randomBytes(8), 2, 2, () => randomBytes(7)), refused("bug"));
});
