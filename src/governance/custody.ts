/**
 * What home knows of the key holders: by which keys their receipts are told, who has shown that they can still
 * open their share, and when. Which passphrase was used it does not know, and must not: that is for who watches
 * abroad (custody/receipt.ts).
 */
import { z } from "zod";
import { fromBase64, fromHex, toBase64, toHex } from "../crypto/bytes.ts";
import { envelopeId } from "../crypto/dsse.ts";
import { sha256 } from "../crypto/hash.ts";
import { parseSigningPublicKey } from "../crypto/signing.ts";
import { encodeJson, parseStrictJson } from "../crypto/strict-json.ts";
import type { SealedKit } from "../custody/ceremony.ts";
import { openReceipt, requestId, verifyAnswer } from "../custody/receipt.ts";
import { ExclaveError } from "../errors.ts";
import { documentRandom } from "../vault/documents.ts";
import type { Home } from "../vault/home.ts";
import { enter } from "./ledger-at-sites.ts";
import { recordsOf, signRecord } from "./records.ts";

const hex = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`));
const CUSTODY_BYTES_MAX = 256 * 1024;

const custodySchema = z.strictObject({
  kind: z.literal("custody"),
  format: z.literal(1),
  setId: hex(16),
  generation: z.int().min(1),
  /** The KEM key of who watches abroad, base64; what is sealed to it says how kits were opened. */
  watch: z.string().max(4096),
  holders: z
    .array(
      z.strictObject({
        /** The public key of the holder's receipts, base64. */
        receiptKey: z.string().max(8192),
        /** Requests that were made ready: their ids, and the SHA-256 that the right proof has. */
        requests: z.array(z.strictObject({ id: hex(32), answer: hex(32) })).max(32),
      }),
    )
    .min(1)
    .max(32),
  random: hex(16),
});
export type Custody = z.infer<typeof custodySchema>;

/** What home is to know of a set's kits. */
export function custodyOf(
  set: { readonly setId: string; readonly generation: number },
  kits: readonly SealedKit[],
  watch: Uint8Array,
): Custody {
  return {
    kind: "custody",
    format: 1,
    setId: set.setId,
    generation: set.generation,
    watch: toBase64(watch),
    holders: kits.map(({ receiptKey, requests }) => ({
      receiptKey: toBase64(receiptKey),
      requests: requests.map(({ challenge, answer }) => ({
        id: toHex(requestId(challenge)),
        answer: toHex(answer),
      })),
    })),
    random: documentRandom(),
  };
}

/** The annex about custody, when it is one. */
export function readCustody(content: unknown): Custody | undefined {
  const parsed = custodySchema.safeParse(content);
  return parsed.success ? parsed.data : undefined;
}

export async function saveCustody(home: Home, custody: Custody): Promise<void> {
  await home.saveCustody(custody.setId, encodeJson(custody, { bytesMax: CUSTODY_BYTES_MAX }));
}

/** What home knows of a share set's holders; undefined when it knows nothing. */
export async function loadCustody(home: Home, setId: string): Promise<Custody | undefined> {
  const bytes = await home.custody(setId);
  return bytes && readCustody(parseStrictJson(bytes, { bytesMax: CUSTODY_BYTES_MAX }));
}

/** One key holder, as people are to see them. */
export type HolderStatus = {
  /** 1 to n, as on the kits. */
  readonly number: number;
  readonly office: string;
  readonly jurisdiction: string;
  /** When they last proved that they can open their share. */
  readonly confirmed?: Date;
};

export type CustodyStatus = {
  readonly setId: string;
  readonly generation: number;
  readonly k: number;
  readonly n: number;
  readonly holders: readonly HolderStatus[];
};

/** Who holds the shares of the charter's set, and who has confirmed. */
export async function custodyStatus(home: Home): Promise<CustodyStatus> {
  const { shares, holders } = home.charter.recovery;
  const latest = new Map<number, Date>();
  for (const { setId, index, time } of await recordsOf(home, "receipt")) {
    const at = new Date(time);
    const before = latest.get(index);
    if (setId === shares.setId && (!before || before < at)) latest.set(index, at);
  }
  return {
    setId: shares.setId,
    generation: shares.generation,
    k: shares.k,
    n: shares.n,
    holders: holders.map(({ index, office, jurisdiction }) => {
      const confirmed = latest.get(index);
      return { number: index + 1, office, jurisdiction, ...(confirmed ? { confirmed } : {}) };
    }),
  };
}

/** Whose receipt it was, of which set. */
export type Confirmed = { readonly number: number; readonly setId: string };

/**
 * Takes a key holder's receipt: it must be signed by the holder's key, answer a request that was made ready and
 * not answered before, and prove the share. The ledger gets its hash, and home keeps nothing else of it.
 *
 * @throws ExclaveError `untrusted` for a receipt that no holder of a set at home signed; `altered` for one that
 *   proves nothing, or answers what was answered already
 */
export async function confirmReceipt(home: Home, bytes: Uint8Array, now: Date): Promise<Confirmed> {
  const sets = await home.custodySets();
  for (const setId of sets) {
    const custody = await loadCustody(home, setId);
    for (const [index, holder] of custody?.holders.entries() ?? []) {
      const key = parseSigningPublicKey(fromBase64(holder.receiptKey));
      let receipt: ReturnType<typeof openReceipt>;
      try {
        receipt = openReceipt(bytes, key);
      } catch (error) {
        if (error instanceof ExclaveError && error.code === "untrusted") continue;
        throw error;
      }
      const request = holder.requests.find(({ id }) => id === receipt.request);
      const isOurs =
        receipt.state === home.state && receipt.setId === setId && receipt.index === index;
      if (!request || !isOurs) {
        throw new ExclaveError(
          "altered",
          `the receipt of key holder ${index + 1} answers no request of this State. Nothing was recorded; ask again, with a request from who watches`,
        );
      }
      verifyAnswer(receipt, fromHex(request.answer, 32));
      const said = await recordsOf(home, "receipt");
      if (said.some((one) => one.request === receipt.request)) {
        throw new ExclaveError(
          "altered",
          `the request that this receipt of key holder ${index + 1} answers was answered before. Nothing was recorded; ask again, with a new request`,
        );
      }
      const record = signRecord(
        "receipt",
        {
          setId,
          generation: receipt.generation,
          index,
          receipt: envelopeId(bytes),
          request: receipt.request,
        },
        { state: home.state, agent: home.agent, now },
      );
      await enter(home, [record], now);
      return { number: index + 1, setId };
    }
  }
  throw new ExclaveError(
    "untrusted",
    "the receipt is signed by no key holder that home knows. Nothing was recorded",
  );
}

/** SHA-256 of a file, as transcripts and records have it. */
export function hashOf(bytes: Uint8Array): string {
  return toHex(sha256(bytes));
}
