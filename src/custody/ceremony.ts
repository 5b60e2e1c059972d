/**
 * What happens around a table when a State is founded, or its secret divided anew: each share is sealed
 * for its holder and becomes a kit. Files, printers and people are the caller's; the way back is in
 * combine-kits.ts.
 *
 * The order is forced by what names what. `splitSecret` comes first and knows no State, as the set's
 * commitments stand in the charter; then the charter is written, which gives the State its id; then
 * `sealKits`, whose kits name both. The secret is to be destroyed only when `sealKits` has returned,
 * what it returned is written, and each holder has opened their own kit once (kit.ts, `openShare`).
 */
import { randomBytes as nodeRandomBytes } from "node:crypto";
import { ExclaveError, invariant } from "../errors.ts";
import { checkRecipient } from "./age-recipient.ts";
import { testEverySubset } from "./every-subset.ts";
import { encodeKit, fingerprint, INSTRUCTIONS_VERSION, type Kit, kitFileNames } from "./kit.ts";
import { kitPage } from "./kit-page.ts";
import { encodeQr } from "./qr.ts";
import { markKey, type PreparedRequest, prepareRequest, receiptKey } from "./receipt.ts";
import { sealShare, sealShareTo } from "./sealed-share.ts";
import { type HeldShare, ofState, type ShareSet, type ShareSetPublic } from "./share-set.ts";

/** A request a year for a decade; a set that is kept longer is due to be divided anew. */
export const REQUESTS_PER_HOLDER = 10;

/** What all kits of a ceremony say alike. */
export type KitDetails = Pick<
  Kit,
  | "state"
  | "stateName"
  | "foundingHash"
  | "charterHash"
  | "checkpoint"
  | "witnessKeys"
  | "sites"
  | "program"
>;

/** Who gets a share, and what it is sealed with: all holders of a set with passphrases, or none. */
export type HolderSeal = {
  /** An office or a label; needs no person's name. */
  readonly office: string;
} & (
  | {
      readonly passphrase: string;
      /** Agreed for duress; see sealed-share.ts. */
      readonly duressPassphrase?: string;
    }
  | {
      /** An age recipient that begins with `age1pq1`. */
      readonly recipient: string;
    }
);

/** What a holder takes home, and what is kept for when the holder is asked. */
export interface SealedKit {
  readonly index: number;
  /** The kit file. */
  readonly kit: Uint8Array;
  /** The page to print, as an HTML document. */
  readonly page: string;
  readonly fileNames: { readonly kit: string; readonly page: string };
  /**
   * For the sealed annex, and never for a store at home: `receiptMark` tells by them how the share was
   * opened. 32 bytes each. Of a share that was sealed to a recipient, the second fits nothing.
   */
  readonly markKeys: { readonly usual: Uint8Array; readonly duress: Uint8Array };
  /** For the sealed annex; each serves once. */
  readonly requests: readonly PreparedRequest[];
  /** The public half of the key that signs the holder's receipts (crypto/signing.ts); no secret. */
  readonly receiptKey: Uint8Array;
}

export interface SealOptions {
  /** log2 of scrypt's N; below 18 only in tests. */
  readonly workFactor?: number;
  /** Called for each kit as it is done; sealing takes some seconds each, on purpose. */
  readonly onSealed?: (index: number) => void;
  readonly randomBytes?: (count: number) => Uint8Array;
}

/**
 * Tests that every choice of k shares gives the secret, and seals each share for its holder. Writes
 * and destroys nothing; when it throws, nothing was handed out and the secret can be split again.
 *
 * @param holders in the order of index, n of them
 * @returns in the same order
 * @throws ExclaveError `usage` when the holders are not n, mix passphrases with recipients, or two of them (or one
 *   holder's two) are the same, and for kits that would be too large; `not-enough-shards` and `altered`
 *   as `testEverySubset`
 */
export async function sealKits(
  set: ShareSet,
  details: KitDetails,
  holders: readonly HolderSeal[],
  options: SealOptions = {},
): Promise<readonly SealedKit[]> {
  const { randomBytes = nodeRandomBytes, onSealed } = options;
  const { publicPart } = set;
  if (holders.length !== publicPart.n) {
    throw new ExclaveError(
      "usage",
      `There are ${publicPart.n} shares and ${holders.length} key holders. Nothing was sealed; name one key holder for each share.`,
    );
  }
  await checkSeals(holders);
  const shares = ofState(set.shares, details.state);
  testEverySubset(shares, publicPart, details.state, randomBytes);
  const kits: SealedKit[] = [];
  for (const [index, holder] of holders.entries()) {
    const share = shares.find((one) => one.index === index);
    invariant(share, "a set has a share of each index");
    kits.push(await sealKit(share, publicPart, details, holder, options));
    onSealed?.(index);
  }
  return kits;
}

async function sealKit(
  share: HeldShare,
  set: ShareSetPublic,
  details: KitDetails,
  holder: HolderSeal,
  { workFactor, randomBytes = nodeRandomBytes }: SealOptions,
): Promise<SealedKit> {
  const { sealed, marks } =
    "recipient" in holder
      ? await sealShareTo(share, holder.recipient, randomBytes)
      : await sealShare(share, holder.passphrase, {
          randomBytes,
          ...(workFactor === undefined ? {} : { workFactor }),
          ...(holder.duressPassphrase === undefined
            ? {}
            : { duressPassphrase: holder.duressPassphrase }),
        });
  const { state, stateName, foundingHash, charterHash, checkpoint, witnessKeys, sites, program } =
    details;
  const kit: Kit = {
    kind: "kit",
    format: 1,
    instructions: INSTRUCTIONS_VERSION,
    stateName,
    state,
    fingerprint: fingerprint(state),
    foundingHash,
    charterHash,
    ...(checkpoint === undefined ? {} : { checkpoint }),
    witnessKeys,
    sites,
    ...(program === undefined ? {} : { program }),
    set,
    holder: holder.office,
    index: share.index,
    sealed,
  };
  const bytes = encodeKit(kit);
  return {
    index: share.index,
    kit: bytes,
    page: kitPage(bytes, encodeQr),
    fileNames: kitFileNames(kit),
    markKeys: { usual: markKey(marks.usual, share), duress: markKey(marks.duress, share) },
    requests: Array.from({ length: REQUESTS_PER_HOLDER }, () => prepareRequest(share, randomBytes)),
    receiptKey: receiptKey(share).publicKey.bytes,
  };
}

/** That what the shares are sealed with is of one kind, and different for each. */
async function checkSeals(holders: readonly HolderSeal[]): Promise<void> {
  const withRecipients = holders.filter((holder) => "recipient" in holder).length;
  if (
    (withRecipients > 0 && withRecipients < holders.length) ||
    holders.some(
      (holder) => "recipient" in holder && ("passphrase" in holder || "duressPassphrase" in holder),
    )
  ) {
    throw new ExclaveError(
      "usage",
      "Some shares would be sealed with passphrases and some to age recipients. Nothing was sealed; choose one way for all key holders, so that nobody has to remember at a recovery who has which.",
    );
  }
  const owners = new Map<string, number>();
  for (const [index, holder] of holders.entries()) {
    const secrets =
      "recipient" in holder
        ? [holder.recipient]
        : [holder.passphrase, holder.duressPassphrase].filter((text) => text !== undefined);
    if ("recipient" in holder) await checkRecipient(holder.recipient);
    for (const secret of secrets) {
      if (secret === "" || !secret.isWellFormed()) {
        throw new ExclaveError(
          "usage",
          `A passphrase of key holder ${index + 1} is empty or not valid text. Nothing was sealed.`,
        );
      }
      // In one spelling: keyboards differ in how they write an é.
      const spelled = secret.normalize("NFC");
      const owner = owners.get(spelled);
      if (owner !== undefined) throw sameSeal(owner, index, "recipient" in holder);
      owners.set(spelled, index);
    }
  }
}

/** It does not say which passphrase of whom: that there is a second one is nobody's business. */
function sameSeal(first: number, second: number, isRecipient: boolean): ExclaveError {
  const who =
    first === second
      ? `Key holder ${first + 1} has the same passphrase twice`
      : `Key holders ${first + 1} and ${second + 1} have the same ${isRecipient ? "age recipient" : "passphrase"}`;
  return new ExclaveError(
    "usage",
    `${who}. Nothing was sealed; who has one kit must not be able to open another with it.`,
  );
}
