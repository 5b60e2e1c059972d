import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { armor as ageArmor } from "age-encryption";
import fc from "fast-check";
import { fromUtf8, utf8 } from "../crypto/bytes.ts";
import { generatePassphrase, openKeyFile, sealKeyFile } from "../crypto/key-file.ts";
import { isExclaveError } from "../errors.ts";
import {
  openSealed,
  type SealedShare,
  sealedFromBytes,
  sealedToBytes,
  sealShare,
} from "./sealed-share.ts";
import { ofState, splitSecret } from "./share-set.ts";
import { decodeShareText, encodeShareText } from "./share-text.ts";

const USUAL = "usual-pass";
const DURESS = "other-pass";
const fast = { workFactor: 10 };

const set = splitSecret(randomBytes(32), { k: 3, n: 5, generation: 1 }, randomBytes);
const share = ofState(set.shares, "5a".repeat(32))[2]!;
const agreed = await sealShare(share, USUAL, { ...fast, duressPassphrase: DURESS });
const notAgreed = await sealShare(share, USUAL, fast);

test("both passphrases open the same share, and differ in the mark alone", async () => {
  const usual = await openSealed(agreed.sealed, USUAL);
  const duress = await openSealed(agreed.sealed, DURESS);
  assert.deepEqual(usual.share, duress.share);
  assert.equal(usual.mark, agreed.marks.usual);
  assert.equal(duress.mark, agreed.marks.duress);
  assert.notEqual(usual.mark, duress.mark);
  assert.deepEqual(usual.share, { ...share });
});

test("a kit with a second passphrase looks like one without", () => {
  const shape = (sealed: SealedShare) => sealed.map((text) => text.replace(/[A-Za-z0-9+/=]/g, "x"));
  assert.deepEqual(shape(agreed.sealed), shape(notAgreed.sealed));
  assert.equal(agreed.sealed[0].length, agreed.sealed[1].length);
  assert.deepEqual(Object.keys(agreed.marks), Object.keys(notAgreed.marks));
  const header = (text: string) =>
    Buffer.from(ageArmor.decode(text))
      .toString("latin1")
      .split("\n")[1]
      ?.replace(/ \S{22} /, " ");
  const headers = [...agreed.sealed, ...notAgreed.sealed].map(header);
  assert.equal(new Set(headers).size, 1);
});

test("the order of the two blobs follows the random bit, whichever was agreed", async () => {
  for (const [bit, at] of [
    [0, 0],
    [1, 1],
  ] as const) {
    const fixed = (count: number) => (count === 1 ? Uint8Array.of(bit) : randomBytes(count));
    const { sealed } = await sealShare(share, USUAL, { ...fast, randomBytes: fixed });
    await openKeyFile(utf8(sealed[at]), USUAL);
    await assert.rejects(openKeyFile(utf8(sealed[1 - at]!), USUAL), { code: "wrong-passphrase" });
  }
});

test("where no second passphrase was agreed, a random one is used and forgotten", async () => {
  const asked: number[] = [];
  const fixed = (count: number) => {
    asked.push(count);
    return new Uint8Array(count).fill(asked.length);
  };
  const { sealed, marks } = await sealShare(share, USUAL, { ...fast, randomBytes: fixed });
  assert.deepEqual(asked, [16, 16, 28, 1]);
  const thrownAway = generatePassphrase((count) => new Uint8Array(count).fill(3));
  assert.equal((await openSealed(sealed, thrownAway)).mark, marks.duress);
});

test("a wrong passphrase is told, and is not in the message", async () => {
  for (const sealed of [agreed.sealed, notAgreed.sealed]) {
    await assert.rejects(openSealed(sealed, "hunter2 hunter2"), (error) => {
      assert.ok(isExclaveError(error, "wrong-passphrase"));
      return !error.message.includes("hunter2");
    });
  }
  await assert.rejects(openSealed(agreed.sealed, ""), { code: "usage" });
});

test("one passphrase for both is refused, when sealing and when opening", async () => {
  await assert.rejects(sealShare(share, USUAL, { ...fast, duressPassphrase: USUAL }), {
    code: "usage",
  });
  await assert.rejects(sealShare(share, USUAL, { ...fast, duressPassphrase: "" }), {
    code: "usage",
  });
  const other = await sealShare(share, USUAL, fast);
  const opens = async (text: string) =>
    openKeyFile(utf8(text), USUAL).then(
      () => true,
      () => false,
    );
  const both: string[] = [];
  for (const text of [...notAgreed.sealed, ...other.sealed]) if (await opens(text)) both.push(text);
  const sealed = [both[0]!, both[1]!] as const;
  await assert.rejects(openSealed(sealed, USUAL), { code: "bad-key" });
});

/** One altered character well inside the payload, where age has its authentication. */
const damage = (text: string): string => {
  const at = text.length - 60;
  return text.slice(0, at) + (text[at] === "A" ? "B" : "A") + text.slice(at + 1);
};

test("a damaged half leaves the other one of use, and is told apart from a wrong passphrase", async () => {
  const [first, second] = agreed.sealed;
  const opened = async (sealed: SealedShare, passphrase: string) =>
    openSealed(sealed, passphrase).then(
      ({ mark }) => mark,
      (error) => (isExclaveError(error) ? error.code : String(error)),
    );
  const outcomes = [
    await opened([damage(first), second], USUAL),
    await opened([damage(first), second], DURESS),
  ].toSorted();
  const marks = Object.values(agreed.marks);
  assert.equal(outcomes.filter((outcome) => marks.includes(outcome)).length, 1);
  assert.equal(outcomes.filter((outcome) => outcome === "bad-key").length, 1);
  assert.equal(await opened([damage(first), damage(second)], USUAL), "bad-key");
  assert.equal(await opened([first.slice(0, 200), first.slice(0, 200)], USUAL), "bad-key");
});

test("what opens and holds something other than a share is refused without being quoted", async () => {
  const plaintext = fromUtf8(
    await openKeyFile(utf8(agreed.sealed[0]), USUAL).catch(() =>
      openKeyFile(utf8(agreed.sealed[1]), USUAL),
    ),
  );
  const json = JSON.parse(plaintext);
  for (const contents of [
    "hunter2",
    plaintext.replace('{"kind"', '{"kind":"share","kind"'),
    JSON.stringify({ ...json, kind: "recovery-key" }),
    JSON.stringify({ ...json, format: 2 }),
    JSON.stringify({ ...json, note: "hunter2" }),
    JSON.stringify({ ...json, share: json.share.slice(2) }),
    JSON.stringify({ ...json, mark: undefined }),
  ]) {
    const sealed = fromUtf8(await sealKeyFile(utf8(contents), USUAL, fast));
    const filler = fromUtf8(await sealKeyFile(utf8(contents), "nobody", fast));
    await assert.rejects(openSealed([filler, sealed], USUAL), (error) => {
      assert.ok(isExclaveError(error, "bad-key"));
      assert.equal(error.cause, undefined);
      return !error.message.includes("hunter2");
    });
  }
});

test("a sealed share survives paper", async () => {
  const text = encodeShareText(sealedToBytes(agreed.sealed));
  const sealed = sealedFromBytes(decodeShareText(text.toLowerCase()));
  assert.deepEqual(sealed, agreed.sealed);
  for (const length of [0, 3, 4098]) {
    assert.throws(() => sealedFromBytes(new Uint8Array(length)), { code: "malformed" });
  }
});

test("one altered bit anywhere, in both halves alike, is refused", async () => {
  const bytes = sealedToBytes(agreed.sealed);
  const half = bytes.length / 2;
  // The work factor's own digits aside: other values only take longer to fail.
  const digits = Buffer.from(bytes).toString("latin1").indexOf(" 10\n") + 1;
  await fc.assert(
    fc.asyncProperty(fc.nat(half - 1), fc.nat(7), async (at, bit) => {
      fc.pre(at < digits || at > digits + 1);
      const changed = Uint8Array.from(bytes);
      changed[at]! ^= 1 << bit;
      changed[half + at]! ^= 1 << bit;
      await assert.rejects(
        openSealed(sealedFromBytes(changed), USUAL),
        (error) => isExclaveError(error, "bad-key") || isExclaveError(error, "wrong-passphrase"),
      );
    }),
    { numRuns: 30 },
  );
});
