import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { toHex, utf8 } from "../crypto/bytes.ts";
import { hmacSha256 } from "../crypto/hash.ts";
import { SUBSETS_TESTED_MAX, testEverySubset } from "./every-subset.ts";
import { type HeldShare, ofState, shareContext, splitSecret } from "./share-set.ts";

const STATE = "5a".repeat(32);
function newSet(k: number, n: number) {
  const set = splitSecret(randomBytes(32), { k, n, generation: 1 }, randomBytes);
  return { publicPart: set.publicPart, shares: ofState(set.shares, STATE) };
}

const altered = (share: HeldShare): HeldShare => ({
  ...share,
  share: Uint8Array.from(share.share, (byte, i) => (i === 0 ? byte ^ 1 : byte)),
});

test("every subset is tested where they are few", () => {
  const { publicPart, shares } = newSet(3, 5);
  assert.deepEqual(testEverySubset(shares, publicPart, STATE, randomBytes), {
    subsets: 10,
    tested: 10,
    complete: true,
  });
});

test("of very many subsets a sample is tested, all of them different", () => {
  const { publicPart, shares } = newSet(4, 32);
  assert.deepEqual(testEverySubset(shares, publicPart, STATE, randomBytes), {
    subsets: 35_960,
    tested: SUBSETS_TESTED_MAX,
    complete: false,
  });
});

test("a generator that repeats itself ends the search, each share tested, and the count says so", () => {
  const { publicPart, shares } = newSet(4, 32);
  const stuck = (count: number) => new Uint8Array(count);
  assert.deepEqual(testEverySubset(shares, publicPart, STATE, stuck), {
    subsets: 35_960,
    tested: 8,
    complete: false,
  });
});

test("a test of every subset wants every share, good and once", () => {
  const { publicPart, shares } = newSet(2, 3);
  for (const bad of [
    shares.slice(1),
    [shares[0]!, shares[1]!, altered(shares[2]!)],
    [shares[0]!, shares[1]!, shares[1]!],
  ]) {
    assert.throws(() => testEverySubset(bad, publicPart, STATE, randomBytes), {
      code: "not-enough-shards",
      message: /^2 good shares of the 3 needed/,
    });
  }
});

test("a share that fits its commitment and not the others is found", () => {
  const { publicPart, shares } = newSet(2, 3);
  const off = altered(shares[2]!);
  const commitment = hmacSha256(
    off.share,
    utf8("exclave/v1 share commitment\0"),
    shareContext(off),
  );
  const shareCommitments = [...publicPart.shareCommitments.slice(0, 2), toHex(commitment)];
  const dealt = { ...publicPart, shareCommitments };
  assert.throws(() => testEverySubset([...shares.slice(0, 2), off], dealt, STATE, randomBytes), {
    code: "altered",
  });
});
