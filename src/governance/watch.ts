/**
 * The watch: what tells how a key holder's kit was opened, as usual or under duress. It leaves the room where kits
 * are made, to people abroad, and is never at home.
 */
import { z } from "zod";
import { fromBase64, fromHex, fromUtf8, toBase64, toHex, utf8 } from "../crypto/bytes.ts";
import { type KemKeyPair, kemKeyPairFromSeed } from "../crypto/kem.ts";
import { openKeyFile, sealKeyFile } from "../crypto/key-file.ts";
import { parseSigningPublicKey } from "../crypto/signing.ts";
import { encodeJson, parseStrictJson } from "../crypto/strict-json.ts";
import { unwrap, wrapTo } from "../crypto/wrap.ts";
import type { SealedKit } from "../custody/ceremony.ts";
import { openReceipt, receiptMark, requestId, verifyReceipt } from "../custody/receipt.ts";
import { ExclaveError } from "../errors.ts";

const hex = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`));
const WATCH_BYTES_MAX = 256 * 1024;

const watchSchema = z.strictObject({
  kind: z.literal("watch"),
  format: z.literal(1),
  state: hex(32),
  stateName: z.string().max(200),
  setId: hex(16),
  generation: z.int().min(1),
  /** Of the KEM key that openings are sealed to. */
  seed: hex(32),
  holders: z
    .array(
      z.strictObject({
        office: z.string().max(200),
        receiptKey: z.string().max(8192),
        markKeys: z.strictObject({ usual: hex(32), duress: hex(32) }),
        requests: z.array(z.strictObject({ challenge: hex(32), answer: hex(32) })).max(32),
      }),
    )
    .min(1)
    .max(32),
});
export type Watch = z.infer<typeof watchSchema>;

/** The watch over a set of kits that was just made. */
export function watchOf(
  set: { readonly setId: string; readonly generation: number },
  state: { readonly state: string; readonly stateName: string },
  kits: readonly SealedKit[],
  offices: readonly string[],
  seed: Uint8Array,
): Watch {
  return {
    kind: "watch",
    format: 1,
    ...state,
    setId: set.setId,
    generation: set.generation,
    seed: toHex(seed),
    holders: kits.map(({ index, receiptKey, markKeys, requests }) => ({
      office: offices[index] ?? "",
      receiptKey: toBase64(receiptKey),
      markKeys: { usual: toHex(markKeys.usual), duress: toHex(markKeys.duress) },
      requests: requests.map(({ challenge, answer }) => ({
        challenge: toHex(challenge),
        answer: toHex(answer),
      })),
    })),
  };
}

/** The watch as an age file under a passphrase. */
export async function sealWatch(
  watch: Watch,
  passphrase: string,
  workFactor?: number,
): Promise<Uint8Array> {
  const options = workFactor === undefined ? {} : { workFactor };
  return sealKeyFile(encodeJson(watch, { bytesMax: WATCH_BYTES_MAX }), passphrase, options);
}

/** Opens such a file. Throws `wrong-passphrase` or `bad-key`. */
export async function openWatch(file: Uint8Array, passphrase: string): Promise<Watch> {
  const json = parseStrictJson(await openKeyFile(file, passphrase), { bytesMax: WATCH_BYTES_MAX });
  const parsed = watchSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new ExclaveError("bad-key", "the file opens, but it is no watch over key holders");
}

const requestSchema = z.strictObject({
  kind: z.literal("receipt-request"),
  format: z.literal(1),
  state: hex(32),
  setId: hex(16),
  index: z.int().min(0).max(31),
  challenge: hex(32),
});
/** What a key holder is asked with: a file for that holder's eyes. */
export type ReceiptRequest = z.infer<typeof requestSchema>;

/**
 * The request of a number for a holder, both from 1 on; each serves once. Throws `usage` when there is none:
 * the set is due to be divided anew.
 */
export function requestFor(watch: Watch, holder: number, number: number): Uint8Array {
  const { challenge } = watch.holders[holder - 1]?.requests[number - 1] ?? {};
  if (challenge === undefined) {
    throw new ExclaveError(
      "usage",
      `there is no request ${number} for key holder ${holder}; when all are used, divide the key anew: exclave keyholder reshare`,
    );
  }
  const { state, setId } = watch;
  const index = holder - 1;
  return encodeJson({ kind: "receipt-request", format: 1, state, setId, index, challenge });
}

/** Reads a request. Throws `malformed` for another form. */
export function readRequest(bytes: Uint8Array): ReceiptRequest {
  const parsed = requestSchema.safeParse(parseStrictJson(bytes, { bytesMax: 4096 }));
  if (parsed.success) return parsed.data;
  throw new ExclaveError("malformed", "the file is no request to a key holder");
}

/** How a kit was opened, as its receipt tells who watches. */
export type Watched = {
  readonly number: number;
  readonly office: string;
  readonly time: string;
  readonly mark: "usual" | "duress" | "unknown";
};

/**
 * Looks at one receipt that answers a request of the watch.
 *
 * @throws ExclaveError `untrusted` when no holder of this set signed it; `altered` when it proves nothing
 */
export function watchReceipt(watch: Watch, bytes: Uint8Array): Watched {
  for (const [index, holder] of watch.holders.entries()) {
    const receipt = receiptOf(bytes, holder.receiptKey);
    if (!receipt) continue;
    const request = holder.requests.find(
      ({ challenge }) => toHex(requestId(fromHex(challenge, 32))) === receipt.request,
    );
    if (!request) throw new ExclaveError("altered", "the receipt answers no request of this watch");
    const challenge = fromHex(request.challenge, 32);
    const { state, setId, generation } = watch;
    const expected = { state, setId, generation, index };
    verifyReceipt(receipt, expected, { challenge, answer: fromHex(request.answer, 32) });
    return watched(watch, index, receipt, challenge);
  }
  throw new ExclaveError("untrusted", "no key holder of this set signed the receipt");
}

/** What an opening's receipts say; the challenge is what the opening was bound to. */
export function watchOpening(
  watch: Watch,
  sealed: { readonly encapsulation: string; readonly sealed: string },
  challenge: Uint8Array,
): readonly Watched[] {
  const key = kemKeyPairFromSeed(fromHex(watch.seed, 32));
  return openReceipts(key, sealed, watch, challenge).map((bytes) => {
    for (const [index, holder] of watch.holders.entries()) {
      const receipt = receiptOf(bytes, holder.receiptKey);
      if (receipt) return watched(watch, index, receipt, challenge);
    }
    throw new ExclaveError("untrusted", "no key holder of this set signed a receipt in it");
  });
}

function receiptOf(bytes: Uint8Array, key: string): ReturnType<typeof openReceipt> | undefined {
  try {
    return openReceipt(bytes, parseSigningPublicKey(fromBase64(key)));
  } catch (error) {
    if (error instanceof ExclaveError && error.code === "untrusted") return undefined;
    throw error;
  }
}

function watched(
  watch: Watch,
  index: number,
  receipt: ReturnType<typeof openReceipt>,
  challenge: Uint8Array,
): Watched {
  const { office, markKeys } = watch.holders[index] ?? {};
  const keys = {
    usual: fromHex(markKeys?.usual ?? "", 32),
    duress: fromHex(markKeys?.duress ?? "", 32),
  };
  const mark = receiptMark(receipt, challenge, keys);
  return { number: index + 1, office: office ?? "", time: receipt.time, mark };
}

type SetOf = Pick<Watch, "state" | "setId">;

function contextOf({ state, setId }: SetOf, challenge: Uint8Array): Uint8Array {
  return utf8(`exclave/v1 opening\0${state}${setId}${toHex(challenge)}`);
}

/** Receipts sealed to who watches: in the room nobody reads them, and their number is plain. */
export function sealReceipts(
  receipts: readonly Uint8Array[],
  watchKey: Uint8Array,
  set: SetOf,
  challenge: Uint8Array,
): { readonly encapsulation: string; readonly sealed: string } {
  const text = encodeJson(
    receipts.map((bytes) => fromUtf8(bytes)),
    { bytesMax: WATCH_BYTES_MAX },
  );
  const { encapsulation, sealed } = wrapTo(watchKey, text, contextOf(set, challenge));
  return { encapsulation: toBase64(encapsulation), sealed: toBase64(sealed) };
}

function openReceipts(
  key: KemKeyPair,
  { encapsulation, sealed }: { readonly encapsulation: string; readonly sealed: string },
  set: SetOf,
  challenge: Uint8Array,
): readonly Uint8Array[] {
  const wrap = { encapsulation: fromBase64(encapsulation), sealed: fromBase64(sealed) };
  const json = parseStrictJson(unwrap(key, wrap, contextOf(set, challenge)), {
    bytesMax: WATCH_BYTES_MAX,
  });
  return z
    .array(z.string())
    .max(32)
    .parse(json)
    .map((text) => utf8(text));
}
