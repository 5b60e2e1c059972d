import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { fromUtf8, toHex, utf8 } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { isExclaveError } from "../errors.ts";
import { toBase32 } from "./base32.ts";
import { decodeKit, encodeKit, fingerprint, type Kit, kitFileNames, openShare } from "./kit.ts";
import { sealedFromBytes, sealedToBytes, sealShare } from "./sealed-share.ts";
import { ofState, splitSecret } from "./share-set.ts";

const STATE = "5a".repeat(32);
const USUAL = "usual-pass";
const fast = { workFactor: 10 };

const secret = randomBytes(32);
function newSet(state: string) {
  const set = splitSecret(secret, { k: 3, n: 5, generation: 1 }, randomBytes);
  return { publicPart: set.publicPart, shares: ofState(set.shares, state) };
}
const { publicPart, shares } = newSet(STATE);
const share = shares[2]!;
const { sealed, marks } = await sealShare(share, USUAL, fast);

const kit: Kit = {
  kind: "kit",
  format: 1,
  instructions: 1,
  stateName: "Republic of Ruritania",
  state: STATE,
  fingerprint: fingerprint(STATE),
  foundingHash: "1b".repeat(32),
  charterHash: "2c".repeat(32),
  checkpoint: { origin: "ledger.example/ruritania", size: 12, root: "3d".repeat(32) },
  witnessKeys: ["witness.example+12345678+AAAA"],
  sites: [{ name: "north", country: "EE", operator: "Operator", where: "https://n.example" }],
  set: publicPart,
  holder: "Chief Justice",
  index: 2,
  sealed,
};
const kitBytes = encodeKit(kit);

test("a kit that was written reads back, with and without a checkpoint", () => {
  const { checkpoint: _, ...without } = kit;
  for (const one of [kit, without]) {
    assert.deepEqual(JSON.stringify(decodeKit(encodeKit(one))), JSON.stringify(one));
  }
  assert.equal(fromUtf8(kitBytes).at(-1), "\n");
});

test("a kit opens to its share", async () => {
  const opened = await openShare(decodeKit(kitBytes), USUAL);
  assert.deepEqual(opened, { share: { ...share }, mark: marks.usual });
});

test("a share that is not the one the kit names is refused, and said which it is", async () => {
  const foreign = newSet("a5".repeat(32));
  const older = newSet(STATE);
  const wrong = { ...share, share: Uint8Array.from(share.share, (byte) => byte ^ 1) };
  const newerKit = { ...kit, set: { ...older.publicPart, generation: 2 } };
  for (const [inside, around, why] of [
    [foreign.shares[2]!, kit, "of another State"],
    [older.shares[2]!, kit, "of another set"],
    [share, newerKit, "of an older set"],
    [shares[1]!, kit, "that of key holder 2"],
    [wrong, kit, "altered"],
  ] as const) {
    const { sealed } = await sealShare(inside, USUAL, fast);
    await assert.rejects(openShare({ ...around, sealed }, USUAL), (error) => {
      assert.ok(isExclaveError(error, "bad-key"));
      assert.ok(error.message.includes(why), error.message);
      return !error.message.includes(toHex(inside.share));
    });
  }
});

test("the fingerprint is 120 bits of a labelled hash", () => {
  const digest = sha256(utf8("exclave/v1 fingerprint\0"), new Uint8Array(32).fill(0x5a));
  const expected = toBase32(digest.subarray(0, 15));
  assert.equal(fingerprint(STATE).replaceAll("-", ""), expected);
  assert.match(fingerprint(STATE), /^[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){5}$/);
  assert.notEqual(fingerprint("5b".repeat(32)), fingerprint(STATE));
});

test("the files of a kit are named plainly, whatever the State is called", () => {
  assert.deepEqual(kitFileNames({ ...kit, stateName: "Belize" }), {
    kit: "belize-key-holder-3-of-5-generation-1.kit.json",
    page: "belize-key-holder-3-of-5-generation-1.html",
  });
  for (const [stateName, start] of [
    ["Côte d'Ivoire", "cote-d-ivoire"],
    ["../../etc/passwd", "etc-passwd"],
    ["ქართველო", "state"],
    ["-.-", "state"],
    ["x".repeat(200), "x".repeat(60)],
    [`${"x".repeat(59)} y`, "x".repeat(59)],
  ] as const) {
    const { kit: name } = kitFileNames({ ...kit, stateName });
    assert.equal(name, `${start}-key-holder-3-of-5-generation-1.kit.json`);
  }
});

const [first, second] = sealed;
const CONTRADICTIONS: Readonly<Record<string, unknown>> = {
  "another kind": { ...kit, kind: "share" },
  "another format": { ...kit, format: 2 },
  "an unknown member": { ...kit, more: 1 },
  "the fingerprint of another State": { ...kit, fingerprint: fingerprint("00".repeat(32)) },
  "an index beyond the holders": { ...kit, index: 5 },
  "an index below zero": { ...kit, index: -1 },
  "a set that contradicts itself": { ...kit, set: { ...publicPart, n: 4 } },
  "one sealed half": { ...kit, sealed: [first] },
  "three sealed parts": { ...kit, sealed: [first, second, first] },
  "one half twice": { ...kit, sealed: [first, first] },
  "halves of different lengths": {
    ...kit,
    sealed: [first, sealedFromBytes(sealedToBytes(kit.sealed).subarray(0, 400))[0]],
  },
  "a half without armor": { ...kit, sealed: [first, second.slice(1)] },
  "armor with other line breaks": { ...kit, sealed: [first, second.replaceAll("\n", "\r\n")] },
  "text behind the armor": { ...kit, sealed: [first, `${second}x`] },
  "a name that is no text": { ...kit, holder: "\ud800" },
  "an empty name": { ...kit, holder: "" },
  "a name that is too long": { ...kit, stateName: "x".repeat(201) },
  "a country that is none": { ...kit, sites: [{ ...kit.sites[0], country: "E" }] },
  "too many sites": { ...kit, sites: Array.from({ length: 33 }, () => kit.sites[0]) },
};

for (const [name, bad] of Object.entries(CONTRADICTIONS)) {
  test(`a kit is refused, read or written: ${name}`, () => {
    assert.throws(() => decodeKit(utf8(JSON.stringify(bad))), { code: "malformed" });
    assert.throws(() => encodeKit(bad as Kit), { code: "usage" });
  });
}

test("a kit file is bounded", () => {
  assert.throws(() => decodeKit(new Uint8Array(32 * 1024 + 1)), { code: "malformed" });
  const witnessKeys = Array.from({ length: 16 }, () => "w".repeat(4096));
  assert.throws(() => encodeKit({ ...kit, witnessKeys }), { code: "usage" });
  const nested = utf8(`${'{"a":'.repeat(5)}1${"}".repeat(5)}`);
  assert.throws(() => decodeKit(nested), { code: "malformed" });
});

test("any altered byte of a kit file is refused or is another kit that agrees with itself", () => {
  fc.assert(
    fc.property(fc.nat(kitBytes.length - 1), fc.nat(255), (at, byte) => {
      const changed = Uint8Array.from(kitBytes);
      changed[at] = byte;
      try {
        const read = decodeKit(changed);
        assert.deepEqual(JSON.parse(fromUtf8(encodeKit(read))), JSON.parse(fromUtf8(changed)));
      } catch (error) {
        assert.ok(isExclaveError(error, "malformed"), String(error));
        assert.ok(error.message.length < 200);
      }
    }),
    { numRuns: 1000 },
  );
});

test("any other JSON is refused as malformed", () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 3 }), (text) => {
      assert.throws(() => decodeKit(utf8(text)), { code: "malformed" });
    }),
  );
});
