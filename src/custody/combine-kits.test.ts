import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { utf8 } from "../crypto/bytes.ts";
import { isExclaveError } from "../errors.ts";
import { type KitDetails, sealKits } from "./ceremony.ts";
import { combineKits, compareKits, examineKit, type KnownSet } from "./combine-kits.ts";
import { decodeKit, encodeKit, fingerprint, type Kit, openShare } from "./kit.ts";
import { splitSecret } from "./share-set.ts";

const STATE = "5a".repeat(32);
const OTHER_STATE = "a5".repeat(32);
const secret = Uint8Array.from(randomBytes(32));

/** A ceremony of 2 of 3, and what its kits open to. */
async function ceremony({ state = STATE, generation = 2, split = secret } = {}) {
  const set = splitSecret(split, { k: 2, n: 3, generation }, randomBytes);
  const details: KitDetails = {
    state,
    stateName: "Belize",
    foundingHash: "1b".repeat(32),
    charterHash: "2c".repeat(32),
    checkpoint: { origin: "ledger.example/belize", size: 12, root: "3d".repeat(32) },
    witnessKeys: ["witness.example+12345678+AAAA"],
    sites: [{ name: "north", country: "EE", operator: "Operator", where: "https://n.example" }],
  };
  const holders = ["a", "b", "c"].map((office) => ({ office, passphrase: `pass ${office}` }));
  const sealed = await sealKits(set, details, holders, { workFactor: 10 });
  const opened = await Promise.all(
    sealed.map(async ({ kit }, i) => {
      const read = decodeKit(kit);
      return { kit: read, share: (await openShare(read, holders[i]!.passphrase)).share };
    }),
  );
  const known: KnownSet = { state, set: set.publicPart };
  return { files: sealed.map(({ kit }) => kit), opened, known };
}

const now = await ceremony();
const older = await ceremony({ generation: 1 });
const parallel = await ceremony();
const foreign = await ceremony({ state: OTHER_STATE });
const [a, b, c] = now.opened as [
  (typeof now.opened)[0],
  (typeof now.opened)[0],
  (typeof now.opened)[0],
];

test("kits of k holders give the secret, with a charter and without", () => {
  for (const some of [
    [a, b],
    [c, a],
    [a, b, c],
  ]) {
    for (const known of [now.known, undefined]) {
      const combined = combineKits(some, known);
      assert.deepEqual(combined.secret, secret);
      assert.deepEqual(combined.refused, []);
      assert.equal(combined.fits.state, STATE);
      assert.deepEqual(combined.fits.set, now.known.set);
    }
  }
});

test("a kit is known by the charter before it is opened", () => {
  assert.deepEqual(examineKit(now.files[0]!, now.known), a.kit);
  assert.deepEqual(examineKit(foreign.files[0]!), foreign.opened[0]!.kit);
  for (const [file, known, code, why] of [
    [foreign.files[2], now.known, "foreign-state", /key holder 3 is of another State/],
    [older.files[1], now.known, "bad-key", /key holder 2 is of an older set.*divided anew/],
    [now.files[1], older.known, "bad-key", /of a newer set.*newer charter/],
    [parallel.files[0], now.known, "bad-key", /of another set/],
  ] as const) {
    assert.throws(
      () => examineKit(file!, known),
      (error) => isExclaveError(error, code) && why.test(error.message),
    );
  }
  const forged = { ...a.kit, set: { ...a.kit.set, k: 1 } };
  assert.throws(() => examineKit(encodeKit(forged), now.known), { code: "altered" });
  assert.throws(() => examineKit(utf8("{}"), now.known), { code: "malformed" });
});

test("each kit that does not belong is named with its own reason, and the others give the secret", () => {
  const forged = { ...b, kit: { ...b.kit, set: { ...b.kit.set, k: 1 } } };
  const given = [older.opened[0]!, a, foreign.opened[1]!, forged, parallel.opened[2]!, a, c];
  for (const known of [now.known, undefined]) {
    const { secret: found, refused } = combineKits(given, known);
    assert.deepEqual(found, secret);
    assert.deepEqual(refused, [
      { position: 0, index: 0, reason: "of an older set" },
      { position: 2, index: 1, reason: "of another State" },
      { position: 3, index: 1, reason: "altered" },
      { position: 4, index: 2, reason: "of another set" },
      { position: 5, index: 0, reason: "given twice" },
    ]);
  }
});

/** Kits that say something else than the others of their ceremony, and are well-formed. */
const FORGERIES: Readonly<Record<string, Partial<Kit>>> = {
  "another witness": { witnessKeys: ["mallory.example+12345678+AAAA"] },
  "another site": { sites: [{ name: "x", country: "XX", operator: "x", where: "x" }] },
  "another founding charter": { foundingHash: "00".repeat(32) },
  "another charter": { charterHash: "00".repeat(32) },
  "another checkpoint": { checkpoint: { origin: "x", size: 1, root: "00".repeat(32) } },
  "another State's name": { stateName: "Belise" },
  "another State": { state: OTHER_STATE, fingerprint: fingerprint(OTHER_STATE) },
};

for (const [name, change] of Object.entries(FORGERIES)) {
  test(`without a charter, a kit with ${name} is left out where more kits agree, and stops where not`, () => {
    const forged = { ...b, kit: { ...b.kit, ...change } };
    const reason = change.state === undefined ? "altered" : "of another State";
    const { agreed, refused } = compareKits([forged.kit, a.kit, c.kit]);
    assert.deepEqual(agreed, [a.kit, c.kit]);
    assert.deepEqual(refused, [{ position: 0, index: 1, reason }]);
    assert.throws(
      () => combineKits([a, forged]),
      (error) =>
        isExclaveError(error, "altered") &&
        error.message.includes(`those of key holders 1, those of 2 are ${reason}`),
    );
  });
}

test("with a charter, what a kit says beside State and set is not asked, and the share in it counts", () => {
  const forged = { ...b, kit: { ...b.kit, ...FORGERIES["another witness"] } };
  assert.deepEqual(combineKits([a, forged], now.known).secret, secret);
});

test("many copies of one forged kit are no majority", () => {
  const forged = { ...b.kit, witnessKeys: [] };
  assert.deepEqual(compareKits([forged, forged, forged, a.kit, c.kit]).agreed, [a.kit, c.kit]);
});

test("one altered bit of a share in a kit leaves it out", () => {
  fc.assert(
    fc.property(fc.nat(31), fc.nat(7), (at, bit) => {
      const share = Uint8Array.from(b.share.share);
      share[at]! ^= 1 << bit;
      const bad = { ...b, share: { ...b.share, share } };
      const { secret: found, refused } = combineKits([bad, a, c], now.known);
      assert.deepEqual(found, secret);
      assert.deepEqual(refused, [{ position: 0, index: 1, reason: "altered" }]);
      assert.throws(() => combineKits([bad, a]), { code: "not-enough-shards" });
    }),
    { numRuns: 50 },
  );
});

test("one altered bit of a kit file is malformed, does not open, or is refused by the others", async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(now.files[1]!.length - 1), fc.nat(7), async (at, bit) => {
      const file = Uint8Array.from(now.files[1]!);
      file[at]! ^= 1 << bit;
      try {
        const kit = examineKit(file);
        const { refused } = compareKits([kit, a.kit, c.kit]);
        if (refused.length === 1 && refused[0]!.position === 0) return;
        // What is left says the same as the others: only the holder's label or the sealed share differ.
        const { share } = await openShare(kit, "pass b");
        assert.deepEqual(combineKits([{ kit, share }, a], now.known).secret, secret);
      } catch (error) {
        assert.ok(isExclaveError(error), String(error));
      }
    }),
    { numRuns: 60 },
  );
});

test("fewer than k good kits give nothing, and the others are named", () => {
  assert.throws(() => combineKits([a]), { code: "not-enough-shards" });
  assert.throws(
    () => combineKits([a, a, older.opened[1]!], now.known),
    (error) =>
      isExclaveError(error, "not-enough-shards") &&
      error.message.includes("key holder 1 is given twice") &&
      error.message.includes("key holder 2 is of an older set"),
  );
  assert.throws(() => combineKits(foreign.opened, now.known), { code: "foreign-state" });
  assert.throws(() => combineKits([], now.known), { code: "not-enough-shards" });
  assert.throws(() => combineKits([]), { code: "usage" });
  assert.throws(() => compareKits(Array.from({ length: 257 }, () => a.kit)), { code: "malformed" });
});

test("a forged kit whose set asks for one holder alone does not pass the charter, or the other kits", async () => {
  const set = splitSecret(randomBytes(32), { k: 1, n: 1, generation: 3 }, randomBytes);
  const { state, stateName, foundingHash, charterHash, witnessKeys, sites } = a.kit;
  const details = { state, stateName, foundingHash, charterHash, witnessKeys, sites };
  const forger = { office: "a", passphrase: "x" };
  const [made] = await sealKits(set, details, [forger], { workFactor: 10 });
  const kit = decodeKit(made!.kit);
  const forged = { kit, share: (await openShare(kit, "x")).share };
  const { secret: found, refused } = combineKits([forged, a, b]);
  assert.deepEqual(found, secret);
  assert.deepEqual(refused, [{ position: 0, index: 0, reason: "of a newer set" }]);
  assert.throws(() => combineKits([forged], now.known), { code: "not-enough-shards" });
});
