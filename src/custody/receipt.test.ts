import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { concat, fromHex, fromUtf8, toBase64, toHex, utf8 } from "../crypto/bytes.ts";
import { hmacSha256, sha256 } from "../crypto/hash.ts";
import { isExclaveError } from "../errors.ts";
import {
  decodeReceipt,
  encodeReceipt,
  makeReceipt,
  markKey,
  openReceipt,
  prepareRequest,
  type Receipt,
  receiptKey,
  receiptMark,
  shareProof,
  signReceipt,
  verifyReceipt,
} from "./receipt.ts";
import { ofState, shareContext, splitSecret } from "./share-set.ts";

const STATE = "5a".repeat(32);
const TIME = "2026-11-22T02:37:32Z";
const now = { time: TIME, randomBytes };
const set = splitSecret(randomBytes(32), { k: 3, n: 5, generation: 1 }, randomBytes);
const shares = ofState(set.shares, STATE);
const share = shares[2]!;
const marks = { usual: "01".repeat(16), duress: "02".repeat(16) };
const keys = { usual: markKey(marks.usual, share), duress: markKey(marks.duress, share) };
const request = prepareRequest(share, randomBytes);
const receipt = makeReceipt({ share, mark: marks.usual }, request.challenge, now);

test("a receipt is what the format says", () => {
  const { challenge } = request;
  const place = concat(fromHex(STATE), fromHex(share.setId), Uint8Array.of(2));
  const proof = hmacSha256(
    share.share,
    utf8("exclave/v1 share proof\0"),
    fromHex(STATE),
    shareContext(share),
    challenge,
  );
  const key = hmacSha256(fromHex(marks.usual), utf8("exclave/v1 mark key\0"), place);
  const token = hmacSha256(key, utf8("exclave/v1 receipt\0"), place, challenge, utf8(TIME));
  assert.deepEqual(receipt, {
    kind: "receipt",
    format: 1,
    state: STATE,
    setId: share.setId,
    generation: 1,
    index: 2,
    request: toHex(sha256(utf8("exclave/v1 receipt request\0"), challenge)),
    time: TIME,
    random: receipt.random,
    token: toHex(token),
    shareProof: toHex(proof),
  });
  assert.deepEqual(request.answer, sha256(utf8("exclave/v1 share answer\0"), proof));
  assert.match(receipt.random, /^[0-9a-f]{32}$/);
});

test("a receipt that was written reads back", () => {
  assert.deepEqual(decodeReceipt(encodeReceipt(receipt)), receipt);
});

test("who opened the share answers the request, whichever passphrase it was", () => {
  verifyReceipt(receipt, share, request);
  const duress = makeReceipt({ share, mark: marks.duress }, request.challenge, now);
  verifyReceipt(duress, share, request);
  assert.deepEqual(Object.keys(duress), Object.keys(receipt));
});

test("who has both mark keys tells duress from the usual, and from neither", () => {
  const { challenge } = request;
  const duress = makeReceipt({ share, mark: marks.duress }, challenge, now);
  assert.equal(receiptMark(receipt, challenge, keys), "usual");
  assert.equal(receiptMark(duress, challenge, keys), "duress");
  const neither = makeReceipt({ share, mark: "03".repeat(16) }, challenge, now);
  assert.equal(receiptMark(neither, challenge, keys), "unknown");
});

test("a token holds for its own time, request, holder and set alone", () => {
  const { challenge } = request;
  for (const moved of [
    { ...receipt, time: "2026-11-22T02:37:33Z" },
    { ...receipt, index: 1 },
    { ...receipt, setId: "00".repeat(16) },
    { ...receipt, state: "00".repeat(32) },
  ]) {
    assert.equal(receiptMark(moved, challenge, keys), "unknown");
  }
  assert.equal(receiptMark(receipt, randomBytes(32), keys), "unknown");
});

test("two receipts under one mark resemble each other no more than under two", () => {
  const { challenge } = request;
  const later = { ...now, time: "2027-11-22T02:37:32Z" };
  const tokens = [
    receipt,
    makeReceipt({ share, mark: marks.usual }, challenge, later),
    makeReceipt({ share, mark: marks.usual }, randomBytes(32), now),
    makeReceipt({ share, mark: marks.duress }, challenge, now),
  ].map(({ token }) => token);
  assert.equal(new Set(tokens).size, 4);
});

test("one mark belongs to one holder of one set: its key serves no other", () => {
  assert.notDeepEqual(markKey(marks.usual, shares[1]!), keys.usual);
  assert.notDeepEqual(markKey(marks.usual, { ...share, setId: "00".repeat(16) }), keys.usual);
  assert.throws(() => markKey("00", share), { code: "malformed" });
});

test("a receipt of another State, set, holder or request, or without the share, confirms nothing", () => {
  const other = { ...share, share: Uint8Array.from(share.share, (byte) => byte ^ 1) };
  const forged = makeReceipt({ share: other, mark: marks.usual }, request.challenge, now);
  const cases: readonly (readonly [Receipt, typeof share, typeof request, string, RegExp])[] = [
    [{ ...receipt, state: "00".repeat(32) }, share, request, "foreign-state", /another State/],
    [{ ...receipt, setId: "00".repeat(16) }, share, request, "altered", /another set/],
    [{ ...receipt, generation: 2 }, share, request, "altered", /another set/],
    [receipt, shares[1]!, request, "altered", /that of key holder 3/],
    [receipt, share, prepareRequest(share, randomBytes), "altered", /another request/],
    [forged, share, request, "altered", /without the share/],
  ];
  for (const [given, expected, asked, code, message] of cases) {
    assert.throws(
      () => verifyReceipt(given, expected, asked),
      (error) => isExclaveError(error) && error.code === code && message.test(error.message),
    );
  }
});

test("neither receipt nor prepared request shows the share, the mark or the challenge", () => {
  const text = fromUtf8(encodeReceipt(receipt));
  for (const hidden of [share.share, fromHex(marks.usual), request.challenge, keys.usual]) {
    assert.ok(!text.includes(toHex(hidden)));
  }
  assert.notDeepEqual(request.answer, shareProof(share, request.challenge));
});

test("a receipt is signed by a key that its share alone gives", () => {
  const signed = signReceipt(receipt, share);
  const { publicKey } = receiptKey(share);
  assert.deepEqual(openReceipt(signed, publicKey), receipt);
  const keys = new Set([
    ...shares.map((one) => receiptKey(one).id),
    receiptKey({ ...share, state: "00".repeat(32) }).id,
    receiptKey({ ...share, setId: "00".repeat(16) }).id,
    receiptKey({ ...share, share: new Uint8Array(32) }).id,
  ]);
  assert.equal(keys.size, shares.length + 3);
  // Where one share is enough they are all one, and yet their holders are told apart.
  assert.notEqual(receiptKey({ ...share, index: 0 }).id, publicKey.id);
});

test("a receipt that another share signed, or whose signature is not its own, is refused", () => {
  const { publicKey } = receiptKey(share);
  const byAnother = signReceipt(receipt, shares[1]!);
  assert.throws(() => openReceipt(byAnother, publicKey), { code: "untrusted" });
  const later = encodeReceipt({ ...receipt, time: "2027-11-22T02:37:32Z" });
  const { payload: _, ...rest } = JSON.parse(fromUtf8(signReceipt(receipt, share)));
  const moved = { ...rest, payload: toBase64(later) };
  assert.throws(() => openReceipt(utf8(JSON.stringify(moved)), publicKey), { code: "altered" });
  assert.throws(() => openReceipt(encodeReceipt(receipt), publicKey), { code: "malformed" });
  const large = new Uint8Array(16 * 1024 + 1);
  assert.throws(() => openReceipt(large, publicKey), { code: "malformed" });
});

test("challenges of other lengths are refused", () => {
  for (const length of [0, 31, 33]) {
    const challenge = new Uint8Array(length);
    assert.throws(() => shareProof(share, challenge), { code: "malformed" });
    assert.throws(() => makeReceipt({ share, mark: marks.usual }, challenge, now), {
      code: "malformed",
    });
    assert.throws(() => receiptMark(receipt, challenge, keys), { code: "malformed" });
    assert.throws(() => prepareRequest(share, () => challenge), { code: "malformed" });
  }
});

test("what is no receipt is refused", () => {
  for (const bad of [
    { ...receipt, kind: "kit" },
    { ...receipt, format: 2 },
    { ...receipt, more: 1 },
    { ...receipt, time: "2026-11-22 02:37:32" },
    { ...receipt, time: "2026-13-22T02:37:32Z" },
    { ...receipt, token: "00" },
    { ...receipt, index: 32 },
    { ...receipt, mark: marks.usual },
  ]) {
    assert.throws(() => decodeReceipt(utf8(JSON.stringify(bad))), { code: "malformed" });
    assert.throws(() => encodeReceipt(bad as Receipt), { code: "bug" });
  }
  assert.throws(() => decodeReceipt(new Uint8Array(4097)), { code: "malformed" });
  assert.throws(
    () => makeReceipt({ share, mark: marks.usual }, request.challenge, { ...now, time: "today" }),
    { code: "bug" },
  );
});

test("a receipt with any byte altered is malformed, or another receipt that no longer confirms", () => {
  const bytes = encodeReceipt(receipt);
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.nat(255), (at, byte) => {
      fc.pre(bytes[at] !== byte);
      const changed = Uint8Array.from(bytes);
      changed[at] = byte;
      try {
        const read = decodeReceipt(changed);
        assert.notDeepEqual(read, receipt);
        const { token, time, random } = receipt;
        // Token, time and the random field are the signature's to protect.
        if (read.token !== token || read.time !== time || read.random !== random) return;
        verifyReceipt(read, share, request);
        assert.fail("an altered receipt confirms");
      } catch (error) {
        assert.ok(isExclaveError(error), String(error));
      }
    }),
    { numRuns: 1000 },
  );
});
