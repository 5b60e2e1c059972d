/**
 * A holder's receipt: "I opened my own share". The payload of a document that the holder signs, with a
 * key that is made from the share.
 *
 *     request    = SHA-256("exclave/v1 receipt request" || 0x00 || challenge)
 *     shareProof = HMAC-SHA-256(share, "exclave/v1 share proof" || 0x00 || place || challenge)
 *     answer     = SHA-256("exclave/v1 share answer" || 0x00 || shareProof)
 *     receipt key = signing key of the seed HKDF-SHA-256(share, no salt,
 *                  "exclave/v1 receipt key" || 0x00 || place)
 *     markKey    = HMAC-SHA-256(mark, "exclave/v1 mark key" || 0x00 || State id || set id || index (1))
 *     token      = HMAC-SHA-256(markKey, "exclave/v1 receipt" || 0x00 || State id || set id || index (1)
 *                               || challenge || time, as written)
 *
 * `place` is State id || context || index (1); `context` and `index` are those of share-set.ts, which
 * leave the State out, as it was founded later. The challenge is 32 random bytes, known to who asks
 * and to the holder, and not in the receipt.
 *
 * **Who can tell what.**
 * - *Everybody* sees which share of which set a receipt claims, when, and to which request.
 * - *The proof* needs the share, and a commitment alone cannot check it. So the ceremony, while it still
 *   has every share, prepares requests for the years to come (`prepareRequest`) and keeps of each the
 *   challenge and the answer. Who has these can check one proof, once, and learns nothing that makes
 *   one. Who prepared no request can check it only with the share in hand (`shareProof`).
 * - *Which passphrase was used* is known to nobody from the receipt alone, not even with the share, the
 *   kit or the passphrase: a token is a PRF's output, and tokens of two receipts do not resemble each
 *   other, whether their marks are the same or not.
 * - *Who has both `markKey`s* (left at the ceremony with signatories abroad, in the sealed annex)
 *   and the challenge tells duress from the usual: `receiptMark`. It could also make tokens, and put
 *   them beside a proof that it saw; therefore receipts are signed. It cannot make proofs or
 *   signatures, and does not learn the mark.
 * - *Who has the receipt key's public half*, taken down at the ceremony as the requests are, knows that
 *   time, token and random field are the holder's, whether or not a request was prepared. Holders have
 *   no key in the charter, and need none: a key of their own would be a second thing to keep and to
 *   lose, while this one is lost with the share alone, and replaced with it. It proves no more than
 *   the share does: whoever can come by the share (any k holders together) can sign so too.
 * - *Who has one mark* (a coercer who had the kit opened before his eyes, by his own program) knows
 *   one of two, and not which. He must not get hold of an earlier receipt of this holder together
 *   with its challenge: whether its token was made with the mark he sees would tell him. Therefore
 *   requests and receipts go between the holder and abroad only, sealed; no store at home keeps
 *   them, and a ledger names a receipt by its hash, which its random field makes unguessable.
 */
import { z } from "zod";
import { concat, equalConstantTime, fromHex, toHex, utf8, wipe } from "../crypto/bytes.ts";
import { openEnvelope, signEnvelope } from "../crypto/dsse.ts";
import { hkdfSha256, hmacSha256, sha256 } from "../crypto/hash.ts";
import {
  type PublicSigningKey,
  SIGNING_SEED_BYTES,
  type SigningKey,
  signingKeyFromSeed,
} from "../crypto/signing.ts";
import { encodeJson, parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError, invariant } from "../errors.ts";
import { MARK_BYTES, type OpenedShare } from "./sealed-share.ts";
import {
  generationSchema,
  type HeldShare,
  holderIndexSchema,
  setIdSchema,
  shareContext,
  stateIdSchema,
} from "./share-set.ts";

export const CHALLENGE_BYTES = 32;
const RECEIPT_BYTES_MAX = 4096;
/** A receipt and one signature, both in base64. */
const SIGNED_RECEIPT_BYTES_MAX = 16 * 1024;
const RECEIPT_TYPE = "application/vnd.exclave.receipt.v1+json";
const RANDOM_BYTES = 16;

const label = (text: string) => concat(utf8(`exclave/v1 ${text}`), Uint8Array.of(0));
const REQUEST_LABEL = label("receipt request");
const PROOF_LABEL = label("share proof");
const ANSWER_LABEL = label("share answer");
const MARK_KEY_LABEL = label("mark key");
const TOKEN_LABEL = label("receipt");
const KEY_LABEL = label("receipt key");

const hash = z.string().regex(/^[0-9a-f]{64}$/);
const receiptTime = z
  .string()
  .regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$/)
  .refine((text) => !Number.isNaN(Date.parse(text)));

const receiptSchema = z
  .strictObject({
    kind: z.literal("receipt"),
    format: z.literal(1),
    state: stateIdSchema,
    setId: setIdSchema,
    generation: generationSchema,
    index: holderIndexSchema,
    /** Names the challenge without telling it. */
    request: hash,
    /** When the share was opened, UTC, by the holder's clock. */
    time: receiptTime,
    random: z.string().regex(new RegExp(`^[0-9a-f]{${RANDOM_BYTES * 2}}$`)),
    token: hash,
    shareProof: hash,
  })
  .readonly();
export type Receipt = z.infer<typeof receiptSchema>;

/** What a mark is told by, without being the mark; kept where duress is to be noticed. 32 bytes. */
export function markKey(
  mark: string,
  share: Pick<HeldShare, "state" | "setId" | "index">,
): Uint8Array {
  const key = fromHex(mark, MARK_BYTES);
  try {
    return hmacSha256(key, MARK_KEY_LABEL, markContext(share));
  } finally {
    wipe(key);
  }
}

/** A request made ready at the ceremony: the challenge to send, and how its answer is known. */
export interface PreparedRequest {
  /** 32 bytes; told to the holder alone, when it is used. */
  readonly challenge: Uint8Array;
  /** 32 bytes; makes no proof. */
  readonly answer: Uint8Array;
}

/**
 * Prepares one request while the share is at hand. Each serves once: its proof, once seen, can be
 * repeated by whoever saw it.
 */
export function prepareRequest(
  share: HeldShare,
  randomBytes: (count: number) => Uint8Array,
): PreparedRequest {
  const challenge = Uint8Array.from(randomBytes(CHALLENGE_BYTES));
  return { challenge, answer: sha256(ANSWER_LABEL, shareProof(share, challenge)) };
}

/** The proof that belongs to a share and a challenge: 32 bytes. Throws `malformed` for another length of challenge. */
export function shareProof(share: HeldShare, challenge: Uint8Array): Uint8Array {
  checkChallenge(challenge);
  return hmacSha256(share.share, PROOF_LABEL, sharePlace(share), challenge);
}

/**
 * The receipt for an opened share. It is made the same way whichever mark is in it.
 *
 * @param challenge 32 bytes, from the request; other lengths are `malformed`
 * @param now.time UTC, as `2026-11-22T02:37:32Z`
 * @param now.randomBytes returns that many random bytes
 */
export function makeReceipt(
  opened: OpenedShare,
  challenge: Uint8Array,
  now: { readonly time: string; readonly randomBytes: (count: number) => Uint8Array },
): Receipt {
  checkChallenge(challenge);
  const { state, setId, generation, index } = opened.share;
  const random = now.randomBytes(RANDOM_BYTES);
  invariant(random.byteLength === RANDOM_BYTES, "too few random bytes");
  invariant(receiptTime.safeParse(now.time).success, "a receipt's time is UTC");
  const key = markKey(opened.mark, opened.share);
  try {
    return {
      kind: "receipt",
      format: 1,
      state,
      setId,
      generation,
      index,
      request: toHex(requestId(challenge)),
      time: now.time,
      random: toHex(random),
      token: toHex(tokenOf(key, { state, setId, index, time: now.time }, challenge)),
      shareProof: toHex(shareProof(opened.share, challenge)),
    };
  } finally {
    wipe(key);
  }
}

/** Strict JSON, to be signed as the payload of a document. Throws `bug` for what `decodeReceipt` would refuse. */
export function encodeReceipt(receipt: Receipt): Uint8Array {
  invariant(receiptSchema.safeParse(receipt).success, "a receipt has its form");
  return encodeJson(receipt, { bytesMax: RECEIPT_BYTES_MAX });
}

/** Reads a receipt of at most 4 KiB. Throws `malformed` for another form. Nothing is verified by it. */
export function decodeReceipt(bytes: Uint8Array): Receipt {
  const json = parseStrictJson(bytes, { bytesMax: RECEIPT_BYTES_MAX, depthMax: 1 });
  const parsed = receiptSchema.safeParse(json);
  if (!parsed.success)
    throw new ExclaveError("malformed", "The file is no receipt of a key holder.");
  return parsed.data;
}

/** The key that receipts for a share are signed with; see above why it is made from the share. */
export function receiptKey(share: HeldShare): SigningKey {
  const info = concat(KEY_LABEL, sharePlace(share));
  const seed = hkdfSha256(share.share, new Uint8Array(), info, SIGNING_SEED_BYTES);
  try {
    return signingKeyFromSeed(seed);
  } finally {
    wipe(seed);
  }
}

/** A receipt as the holder sends it: the envelope's bytes. Throws as `encodeReceipt`. */
export function signReceipt(receipt: Receipt, share: HeldShare): Uint8Array {
  return signEnvelope(RECEIPT_TYPE, encodeReceipt(receipt), [receiptKey(share)]);
}

/**
 * The receipt of an envelope that `signReceipt` made, its signature verified.
 *
 * @param key the public half of the holder's receipt key, as taken down at the ceremony
 * @throws ExclaveError `malformed` for another form; `untrusted` when another key signed it; `altered` when the
 *   signature does not verify
 */
export function openReceipt(bytes: Uint8Array, key: PublicSigningKey): Receipt {
  const limits = { bytesMax: SIGNED_RECEIPT_BYTES_MAX };
  return decodeReceipt(openEnvelope(bytes, RECEIPT_TYPE, new Map([[key.id, key]]), limits).payload);
}

/**
 * Checks that a receipt answers this request for this share: the holder of share `expected.index` could
 * still open it after the challenge was told. The signature around it is `openReceipt`'s to check, and
 * that the request was not used before, the caller's.
 *
 * @throws ExclaveError `foreign-state` for another State; `altered`, saying what, for another set, holder or
 *   request, and for a proof that is not this share's
 */
export function verifyReceipt(
  receipt: Receipt,
  expected: Pick<HeldShare, "state" | "setId" | "generation" | "index">,
  request: PreparedRequest,
): void {
  if (receipt.state !== expected.state) {
    throw new ExclaveError("foreign-state", "The receipt is of another State.");
  }
  const differs =
    receipt.setId !== expected.setId || receipt.generation !== expected.generation
      ? "is for a share of another set"
      : receipt.index !== expected.index
        ? `is that of key holder ${receipt.index + 1}`
        : receipt.request !== toHex(requestId(request.challenge))
          ? "answers another request"
          : undefined;
  if (differs !== undefined) throw refused(receipt, expected.index, differs);
  verifyAnswer(receipt, request.answer);
}

/** That a receipt's proof is the one that was made ready. Throws `altered` when it is not. */
export function verifyAnswer(receipt: Receipt, answer: Uint8Array): void {
  const given = sha256(ANSWER_LABEL, fromHex(receipt.shareProof, 32));
  if (!equalConstantTime(given, answer)) {
    throw refused(receipt, receipt.index, "was made without the share");
  }
}

/**
 * Which passphrase the share was opened with; "unknown" where the token is of neither mark, as in a
 * receipt whose token, time or challenge is not the original. For who has both mark keys, and never
 * to be shown where the holder is. Both are always compared, in constant time.
 */
export function receiptMark(
  receipt: Receipt,
  challenge: Uint8Array,
  keys: { readonly usual: Uint8Array; readonly duress: Uint8Array },
): "usual" | "duress" | "unknown" {
  checkChallenge(challenge);
  const token = fromHex(receipt.token, 32);
  const usual = equalConstantTime(tokenOf(keys.usual, receipt, challenge), token);
  const duress = equalConstantTime(tokenOf(keys.duress, receipt, challenge), token);
  return duress ? "duress" : usual ? "usual" : "unknown";
}

function tokenOf(
  key: Uint8Array,
  receipt: Pick<Receipt, "state" | "setId" | "index" | "time">,
  challenge: Uint8Array,
): Uint8Array {
  return hmacSha256(key, TOKEN_LABEL, markContext(receipt), challenge, utf8(receipt.time));
}

/** A request's name: 32 bytes, which do not tell the challenge. */
export function requestId(challenge: Uint8Array): Uint8Array {
  checkChallenge(challenge);
  return sha256(REQUEST_LABEL, challenge);
}

function sharePlace(share: HeldShare): Uint8Array {
  return concat(fromHex(share.state, 32), shareContext(share));
}

function markContext(share: Pick<HeldShare, "state" | "setId" | "index">): Uint8Array {
  return concat(fromHex(share.state, 32), fromHex(share.setId, 16), Uint8Array.of(share.index));
}

function checkChallenge(challenge: Uint8Array): void {
  if (challenge.byteLength !== CHALLENGE_BYTES) {
    throw new ExclaveError("malformed", "The request's challenge is not 32 bytes.");
  }
}

function refused(receipt: Receipt, index: number, why: string): ExclaveError {
  return new ExclaveError(
    "altered",
    `The receipt of ${receipt.time} does not confirm the share of key holder ${index + 1}: it ${why}. Ask the holder again, with a new request.`,
  );
}
