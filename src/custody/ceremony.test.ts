import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import {
  generateHybridIdentity,
  generateX25519Identity,
  identityToRecipient,
} from "age-encryption";
import { fromUtf8, toHex } from "../crypto/bytes.ts";
import { parseSigningPublicKey } from "../crypto/signing.ts";
import { isExclaveError } from "../errors.ts";
import { type HolderSeal, REQUESTS_PER_HOLDER, sealKits } from "./ceremony.ts";
import { decodeKit, fingerprint, KIT_BYTES_MAX, openShare } from "./kit.ts";
import { makeReceipt, openReceipt, receiptMark, signReceipt, verifyReceipt } from "./receipt.ts";
import { sealedFromBytes, sealedToBytes } from "./sealed-share.ts";
import { type ShareSet, splitSecret } from "./share-set.ts";
import { decodeShareText } from "./share-text.ts";

const STATE = "5a".repeat(32);
const details = {
  state: STATE,
  stateName: "Belize",
  foundingHash: "1b".repeat(32),
  charterHash: "2c".repeat(32),
  checkpoint: { origin: "ledger.example/belize", size: 12, root: "3d".repeat(32) },
  witnessKeys: ["witness.example+12345678+AAAA"],
  sites: [{ name: "north", country: "EE", operator: "Operator", where: "https://n.example" }],
};
const fast = { workFactor: 10 };
const newSet = (k = 2, n = 3) => splitSecret(randomBytes(32), { k, n, generation: 1 }, randomBytes);
const set = newSet();
const holders: readonly HolderSeal[] = [
  { office: "Chief Justice", passphrase: "first" },
  { office: "Registrar General", passphrase: "second", duressPassphrase: "forced" },
  { office: "Ombudsman", passphrase: "third" },
];
const done: number[] = [];
const kits = await sealKits(set, details, holders, {
  ...fast,
  onSealed: (index) => done.push(index),
});
const identities = await Promise.all([0, 1, 2].map(() => generateHybridIdentity()));
const recipients = await Promise.all(identities.map((one) => identityToRecipient(one)));
const toRecipients = recipients.map((recipient, i) => ({ office: `Office ${i}`, recipient }));
const sealedTo = await sealKits(set, details, toRecipients, fast);

test("each holder gets a kit that says what it belongs to and opens to their own share", async () => {
  assert.deepEqual(done, [0, 1, 2]);
  for (const [index, { passphrase }] of (holders as readonly { passphrase: string }[]).entries()) {
    const made = kits[index]!;
    const kit = decodeKit(made.kit);
    assert.equal(made.index, index);
    assert.equal(kit.holder, holders[index]!.office);
    assert.equal(kit.index, index);
    assert.equal(kit.fingerprint, fingerprint(STATE));
    assert.deepEqual(kit.set, set.publicPart);
    for (const [name, value] of Object.entries(details)) {
      assert.deepEqual(kit[name as keyof typeof details], value);
    }
    const opened = await openShare(kit, passphrase);
    assert.deepEqual(opened.share, { ...set.shares[index]!, state: STATE });
    assert.ok(made.page.includes(`Key holder ${index + 1} of 3: ${holders[index]!.office}`));
    assert.equal(made.fileNames.page, `belize-key-holder-${index + 1}-of-3-generation-1.html`);
  }
});

test("what is kept of a kit tells duress from the usual, and knows every answer and signature", async () => {
  const { kit, markKeys, requests, receiptKey } = kits[1]!;
  assert.equal(requests.length, REQUESTS_PER_HOLDER);
  assert.equal(new Set(requests.map(({ challenge }) => toHex(challenge))).size, requests.length);
  const now = { time: "2026-11-22T02:37:32Z", randomBytes };
  for (const [passphrase, mark] of [
    ["second", "usual"],
    ["forced", "duress"],
  ] as const) {
    const opened = await openShare(decodeKit(kit), passphrase);
    for (const request of requests) {
      const made = makeReceipt(opened, request.challenge, now);
      const signed = signReceipt(made, opened.share);
      const receipt = openReceipt(signed, parseSigningPublicKey(receiptKey));
      verifyReceipt(receipt, opened.share, request);
      assert.equal(receiptMark(receipt, request.challenge, markKeys), mark);
    }
  }
});

test("a share that is sealed to a recipient opens with the identity, is one file, and has one mark", async () => {
  const now = { time: "2026-11-22T02:37:32Z", randomBytes };
  for (const [index, { kit, page, markKeys, requests }] of sealedTo.entries()) {
    assert.ok(kit.byteLength < KIT_BYTES_MAX / 4);
    const read = decodeKit(kit);
    assert.equal(read.sealed.length, 1);
    const opened = await openShare(read, identities[index]!);
    assert.deepEqual(opened.share, { ...set.shares[index]!, state: STATE });
    const { challenge } = requests[0]!;
    assert.equal(receiptMark(makeReceipt(opened, challenge, now), challenge, markKeys), "usual");
    assert.equal(markKeys.duress.byteLength, 32);
    assert.match(page, /Then type your age identity/);
    const text = /<pre>([^<]*)<\/pre>/.exec(page)?.[1] ?? "";
    assert.deepEqual(sealedFromBytes(decodeShareText(text)), read.sealed);
  }
  const other = openShare(decodeKit(sealedTo[0]!.kit), identities[1]!);
  await assert.rejects(other, { code: "wrong-passphrase" });
  await assert.rejects(openShare(decodeKit(sealedTo[0]!.kit), "first"), /begins with AGE-SECRET/);
});

test("the largest numbers a share can have still fit a kit that is sealed to a recipient", async () => {
  const large = splitSecret(
    randomBytes(32),
    { k: 32, n: 32, generation: 0xffff_ffff },
    randomBytes,
  );
  const made = await Promise.all(
    Array.from({ length: 32 }, async (_, i) => ({
      office: `Office ${i}`,
      recipient: await identityToRecipient(await generateHybridIdentity()),
    })),
  );
  const last = (await sealKits(large, details, made, fast)).at(-1)!;
  assert.ok(sealedToBytes(decodeKit(last.kit).sealed).byteLength < 2048);
});

test("an age file of another kind is no sealed share", async () => {
  const kit = decodeKit(sealedTo[0]!.kit);
  const [half] = decodeKit(kits[0]!.kit).sealed;
  const [one] = kit.sealed;
  for (const sealed of [[half], [one, one], [one, half], [half, one], []]) {
    const forged = new TextEncoder().encode(JSON.stringify({ ...kit, sealed }));
    assert.throws(() => decodeKit(forged), { code: "malformed" });
  }
});

const [chief, registrar] = [holders[0]!, holders[1]!];
const [toFirst, toSecond, toThird] = toRecipients as [HolderSeal, HolderSeal, HolderSeal];
const REFUSED: Readonly<Record<string, readonly [readonly HolderSeal[], RegExp]>> = {
  "too few holders": [[chief, registrar], /3 shares and 2 key holders/],
  "too many holders": [[...holders, { office: "x", passphrase: "x" }], /3 shares and 4/],
  "passphrases and recipients in a mix": [[chief, registrar, toThird], /one way for all/],
  "a holder with both": [
    [{ ...toFirst, passphrase: "x" } as HolderSeal, toSecond, toThird],
    /one way for all/,
  ],
  "two holders with one passphrase": [
    [chief, registrar, { office: "x", passphrase: "first" }],
    /^Key holders 1 and 3 have the same passphrase\. Nothing was sealed/,
  ],
  "one holder's second passphrase as another's first": [
    [chief, registrar, { office: "x", passphrase: "forced" }],
    /^Key holders 2 and 3 have the same passphrase\. Nothing was sealed/,
  ],
  "two second passphrases that are one": [
    [chief, registrar, { office: "x", passphrase: "y", duressPassphrase: "forced" }],
    /^Key holders 2 and 3 have the same passphrase\. Nothing was sealed/,
  ],
  "a second passphrase that is the first": [
    [chief, registrar, { office: "x", passphrase: "y", duressPassphrase: "y" }],
    /^Key holder 3 has the same passphrase twice/,
  ],
  "one passphrase in two spellings of Unicode": [
    [
      { office: "x", passphrase: "caf\u00e9" },
      registrar,
      { office: "y", passphrase: "cafe\u0301" },
    ],
    /^Key holders 1 and 3 have the same passphrase/,
  ],
  "two holders with one recipient": [[toFirst, toSecond, toFirst], /1 and 3 have the same age rec/],
  "a recipient that is none": [
    [toFirst, toSecond, { office: "x", recipient: "age1pq1x" }],
    /no age recipient/,
  ],
  "a duress passphrase beside a recipient": [
    [{ ...toFirst, duressPassphrase: "x" } as HolderSeal, toSecond, toThird],
    /one way for all/,
  ],
  "an empty passphrase": [[chief, registrar, { office: "x", passphrase: "" }], /is empty/],
};

for (const [name, [bad, why]] of Object.entries(REFUSED)) {
  test(`nothing is sealed for ${name}`, async () => {
    await assert.rejects(
      sealKits(set, details, bad, { ...fast, onSealed: () => assert.fail("sealed") }),
      (error) => {
        assert.ok(isExclaveError(error, "usage"), String(error));
        assert.match(error.message, why);
        return !/first|forced|caf/.test(error.message);
      },
    );
  });
}

test("an old kind of recipient is refused", async () => {
  const recipient = await identityToRecipient(await generateX25519Identity());
  await assert.rejects(
    sealKits(set, details, [toFirst, toSecond, { office: "x", recipient }], fast),
    {
      code: "usage",
      message: /post-quantum/,
    },
  );
});

test("a set that does not give its secret is sealed for nobody", async () => {
  const off = newSet();
  const share = Uint8Array.from(set.shares[2]!.share);
  share[0]! ^= 1;
  const altered: ShareSet = {
    ...set,
    shares: [...set.shares.slice(0, 2), { ...set.shares[2]!, share }],
  };
  const untrue: ShareSet = {
    ...set,
    publicPart: { ...set.publicPart, secretCommitment: off.publicPart.secretCommitment },
  };
  const seal = (bad: ShareSet) =>
    sealKits(bad, details, holders, { ...fast, onSealed: () => assert.fail("sealed") });
  await assert.rejects(seal(altered), { code: "not-enough-shards" });
  await assert.rejects(seal(untrue), { code: "altered" });
});

test("neither kit nor page nor what is kept holds a share, a passphrase or a secret", () => {
  for (const made of [...kits, ...sealedTo]) {
    const { kit, page, ...kept } = made;
    const text =
      fromUtf8(kit) +
      page +
      JSON.stringify(kept, (_, value) => (value instanceof Uint8Array ? toHex(value) : value));
    for (const { share } of set.shares) assert.ok(!text.includes(toHex(share)));
    for (const hidden of ["forced", "duressPassphrase", ...identities]) {
      assert.ok(!text.includes(hidden));
    }
  }
});
