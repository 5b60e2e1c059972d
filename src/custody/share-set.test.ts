import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { concat, toHex, utf8 } from "../crypto/bytes.ts";
import { hmacSha256 } from "../crypto/hash.ts";
import { split } from "../erasure/shamir.ts";
import { isExclaveError } from "../errors.ts";
import {
  combineShares,
  examineShares,
  type HeldShare,
  HOLDERS_MAX,
  ofState,
  type ShareSet,
  type ShareSetPublic,
  shareContext,
  shareSetSchema,
  splitSecret,
} from "./share-set.ts";

const STATE = "5a".repeat(32);
const OTHER_STATE = "a5".repeat(32);

function newSet(
  k: number,
  n: number,
  { secret = randomBytes(32), state = STATE, generation = 2 } = {},
): Omit<ShareSet, "shares"> & {
  readonly shares: readonly HeldShare[];
  readonly secret: Uint8Array;
} {
  const { publicPart, shares } = splitSecret(secret, { k, n, generation }, randomBytes);
  return { publicPart, shares: ofState(shares, state), secret: Uint8Array.from(secret) };
}

const altered = (share: HeldShare, at = 0, bit = 0): HeldShare => {
  const bytes = Uint8Array.from(share.share);
  bytes[at]! ^= 1 << bit;
  return { ...share, share: bytes };
};

/** A set, and some k or more of its shares in any order. */
const held = fc
  .tuple(fc.integer({ min: 1, max: 8 }), fc.nat())
  .map(([n, seed]) => newSet(1 + (seed % n), n))
  .chain((set) =>
    fc.record({
      set: fc.constant(set),
      some: fc.shuffledSubarray([...set.shares], { minLength: set.publicPart.k }),
    }),
  );

test("any k or more good shares give the secret, in any order", () => {
  fc.assert(
    fc.property(held, ({ set, some }) => {
      const { secret, refused } = combineShares(some, set.publicPart, STATE);
      assert.deepEqual(secret, set.secret);
      assert.deepEqual(refused, []);
    }),
  );
});

test("fewer than k shares are refused, whatever else is with them", () => {
  const { shares, publicPart } = newSet(3, 5);
  for (const few of [[], shares.slice(0, 2), [shares[0]!, shares[0]!, shares[1]!]]) {
    assert.throws(() => combineShares(few, publicPart, STATE), { code: "not-enough-shards" });
  }
});

test("each bad share is named with its own reason, and the good ones still give the secret", () => {
  const set = newSet(3, 5);
  const older = newSet(3, 5, { generation: 1 }).shares[1]!;
  const newer = newSet(3, 5, { generation: 3 }).shares[1]!;
  const parallel = newSet(3, 5).shares[2]!;
  const foreign = newSet(3, 5, { state: OTHER_STATE }).shares[3]!;
  const [a, b, c, d] = set.shares as [HeldShare, HeldShare, HeldShare, HeldShare];
  const given = [older, a, newer, parallel, foreign, altered(d), b, a, c];
  const { secret, refused } = combineShares(given, set.publicPart, STATE);
  assert.deepEqual(secret, set.secret);
  assert.deepEqual(refused, [
    { position: 0, index: 1, reason: "of an older set" },
    { position: 2, index: 1, reason: "of a newer set" },
    { position: 3, index: 2, reason: "of another set" },
    { position: 4, index: 3, reason: "of another State" },
    { position: 5, index: 3, reason: "altered" },
    { position: 7, index: 0, reason: "given twice" },
  ]);
});

test("an altered copy given first does not keep the good one from being used", () => {
  const { shares, publicPart, secret } = newSet(2, 2);
  const given = [altered(shares[0]!), shares[0]!, shares[1]!];
  const result = combineShares(given, publicPart, STATE);
  assert.deepEqual(result.secret, secret);
  assert.deepEqual(result.refused, [{ position: 0, index: 0, reason: "altered" }]);
});

test("no single altered bit or field of a share passes", () => {
  fc.assert(
    fc.property(held, fc.nat(31), fc.nat(7), fc.nat(7), ({ set, some }, at, bit, which) => {
      const good = some[which % some.length]!;
      const { k, n } = set.publicPart;
      const swapped = { ...good, index: (good.index + 1) % n };
      for (const [bad, reason] of [
        [altered(good, at, bit), "altered"],
        [{ ...good, generation: 3 }, "altered"],
        [{ ...good, k: k + 1 }, "altered"],
        [{ ...good, n: n + 1 }, "altered"],
        // These are the same in the bytes that the commitment covers.
        [{ ...good, k: k + 256 }, "altered"],
        [{ ...good, n: n + 256 }, "altered"],
        [{ ...good, generation: good.generation + 2 ** 32 }, "altered"],
        [{ ...good, index: n }, "altered"],
        [{ ...good, index: -1 }, "altered"],
        [{ ...good, index: 0.5 }, "altered"],
        [{ ...good, index: Number.NaN }, "altered"],
        [{ ...good, share: good.share.subarray(1) }, "altered"],
        [{ ...good, state: OTHER_STATE }, "of another State"],
        // In a 1-of-n set all shares are the secret: who has one has them all.
        ...(k > 1 ? [[swapped, "altered"] as const] : []),
      ] as const) {
        const result = examineShares([bad], set.publicPart, STATE);
        assert.deepEqual(result.good, []);
        assert.equal(result.refused[0]?.reason, reason);
      }
    }),
  );
});

test("a share that ends in zeros has no second, shorter spelling", () => {
  const secret = randomBytes(32);
  secret.fill(0, 30);
  const { shares, publicPart } = newSet(1, 1, { secret });
  const short = { ...shares[0]!, share: shares[0]!.share.subarray(0, 30) };
  assert.equal(examineShares([short], publicPart, STATE).refused[0]?.reason, "altered");
});

test("messages name the holders as people count them and hold nothing of the shares", () => {
  const { shares, publicPart } = newSet(3, 5);
  const bad = altered(shares[3]!);
  assert.throws(
    () => combineShares([shares[0]!, bad], publicPart, STATE),
    (error) =>
      isExclaveError(error, "not-enough-shards") &&
      error.message.includes("1 good share of the 3 needed") &&
      error.message.includes("key holder 4 is altered") &&
      !error.message.includes(toHex(bad.share)),
  );
});

test("shares that are all of another State are refused as such", () => {
  const { shares, publicPart } = newSet(2, 3);
  assert.throws(() => combineShares(shares, publicPart, OTHER_STATE), { code: "foreign-state" });
});

test("shares that fit and do not make the committed secret give none", () => {
  const one = newSet(2, 3);
  const two = newSet(2, 3);
  const wrongSecret = {
    ...one.publicPart,
    secretCommitment: two.publicPart.secretCommitment,
  };
  assert.throws(() => combineShares(one.shares, wrongSecret, STATE), { code: "altered" });
  // A dishonest dealer: each share fits its commitment, the third lies off the line of the others.
  const off = altered(one.shares[2]!);
  const commitment = hmacSha256(
    off.share,
    utf8("exclave/v1 share commitment\0"),
    shareContext(off),
  );
  const dealt: ShareSetPublic = {
    ...one.publicPart,
    shareCommitments: [...one.publicPart.shareCommitments.slice(0, 2), toHex(commitment)],
  };
  const given = [one.shares[0]!, one.shares[1]!, off];
  assert.equal(examineShares(given, dealt, STATE).good.length, 3);
  assert.throws(() => combineShares(given, dealt, STATE), { code: "altered" });
  assert.throws(() => combineShares(given.slice(1), dealt, STATE), { code: "altered" });
});

test("commitments are what the format says", () => {
  const secret = new Uint8Array(32).fill(7);
  let call = 0;
  const fixed = (count: number) => new Uint8Array(count).fill(++call);
  const { publicPart, shares } = splitSecret(secret, { k: 2, n: 3, generation: 258 }, fixed);
  const context = concat(new Uint8Array(16).fill(1), Uint8Array.of(0, 0, 1, 2, 2, 3));
  assert.deepEqual(
    shares.map(({ share }) => share),
    split(secret, 2, 3, (count) => new Uint8Array(count).fill(2)),
  );
  assert.deepEqual(publicPart, {
    setId: "01".repeat(16),
    generation: 258,
    k: 2,
    n: 3,
    secretCommitment: toHex(hmacSha256(secret, utf8("exclave/v1 secret commitment\0"), context)),
    shareCommitments: shares.map(({ share }, index) =>
      toHex(
        hmacSha256(share, utf8("exclave/v1 share commitment\0"), context, Uint8Array.of(index)),
      ),
    ),
  });
  assert.ok(shareSetSchema.safeParse(publicPart).success);
});

test("a set is made before its State has an id, and its shares are of the one State they were given to", () => {
  const set = splitSecret(randomBytes(32), { k: 2, n: 3, generation: 1 }, randomBytes);
  const [here, there] = [STATE, OTHER_STATE].map((state) => ofState(set.shares, state));
  assert.equal(examineShares(here!, set.publicPart, STATE).good.length, 3);
  assert.deepEqual(
    examineShares(there!, set.publicPart, STATE).refused.map(({ reason }) => reason),
    ["of another State", "of another State", "of another State"],
  );
  assert.throws(() => ofState(set.shares, STATE.toUpperCase()), { code: "bug" });
});

test("with k = 1 neither the public part nor a commitment shows the secret", () => {
  const { publicPart, secret, shares } = newSet(1, 3);
  for (const { share } of shares) assert.deepEqual(share, secret);
  assert.ok(!JSON.stringify(publicPart).includes(toHex(secret)));
  assert.equal(new Set([publicPart.secretCommitment, ...publicPart.shareCommitments]).size, 4);
});

test("what was drawn for the polynomial is wiped, and the secret is left to the caller", () => {
  const drawn: Uint8Array[] = [];
  const secret = randomBytes(32);
  const before = Uint8Array.from(secret);
  splitSecret(secret, { k: 3, n: 5, generation: 1 }, (count) => {
    const bytes = randomBytes(count);
    if (count === 64) drawn.push(bytes);
    return bytes;
  });
  assert.deepEqual(Uint8Array.from(secret), before);
  assert.equal(drawn.length, 1);
  assert.ok(drawn[0]!.every((byte) => byte === 0));
});

test("sets that cannot be are refused", () => {
  for (const [k, n, generation] of [
    [0, 1, 1],
    [2, 1, 1],
    [1, HOLDERS_MAX + 1, 1],
    [1.5, 2, 1],
    [1, 2, 0],
    [1, 2, 2 ** 32],
  ] as const) {
    assert.throws(() => splitSecret(randomBytes(32), { k, n, generation }, randomBytes), {
      code: "usage",
    });
  }
  const set = { k: 1, n: 1, generation: 1 };
  assert.throws(() => splitSecret(randomBytes(31), set, randomBytes), { code: "bug" });
  assert.throws(() => splitSecret(randomBytes(32), set, () => new Uint8Array(3)), { code: "bug" });
  const { publicPart, shares } = newSet(2, 3);
  assert.throws(
    () =>
      examineShares(
        Array.from({ length: 257 }, () => shares[0]!),
        publicPart,
        STATE,
      ),
    { code: "malformed" },
  );
});

test("a public part that contradicts itself is refused", () => {
  const { publicPart } = newSet(2, 3);
  for (const bad of [
    { ...publicPart, k: 4 },
    { ...publicPart, n: 4 },
    { ...publicPart, n: 33 },
    { ...publicPart, generation: 0 },
    { ...publicPart, setId: publicPart.setId.toUpperCase().padStart(33, "A") },
    { ...publicPart, more: 1 },
  ]) {
    assert.equal(shareSetSchema.safeParse(bad).success, false);
  }
  assert.ok(shareSetSchema.safeParse(publicPart).success);
});
