/**
 * The ceremony: around one table, on one machine that is on no network, the recovery key is made or brought
 * together, divided among its key holders, and sealed into kits. What is written is tested before the secret is
 * forgotten. A transcript says what was done, without a secret in it; its hash comes into the ledger.
 */
import { randomBytes } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { equalConstantTime, toHex, utf8, wipe } from "../crypto/bytes.ts";
import { kemKeyPairFromSeed } from "../crypto/kem.ts";
import { generatePassphrase } from "../crypto/key-file.ts";
import { type HolderSeal, type KitDetails, type SealedKit, sealKits } from "../custody/ceremony.ts";
import { decodeKit, fingerprint, type Kit, openShare } from "../custody/kit.ts";
import { makeReceipt, signReceipt } from "../custody/receipt.ts";
import type { OpenedShare } from "../custody/sealed-share.ts";
import type { ShareSet } from "../custody/share-set.ts";
import { ExclaveError, invariant, isExclaveError } from "../errors.ts";
import { writeKeyFile } from "../vault/key-files.ts";
import { type Custody, custodyOf, hashOf } from "./custody.ts";
import { sealWatch, watchOf } from "./watch.ts";

/** A holder's mistypings at the table, before the ceremony is broken off: a typing error must not end it. */
const OPENING_TRIES_MAX = 5;

/** Who is to keep a share. */
export type KeyHolder = {
  /** The person's; it is nowhere but in the sealed annex. */
  readonly name: string;
  readonly office: string;
  readonly jurisdiction: string;
  /** A post-quantum age recipient, in the place of a passphrase; for all of them or none. */
  readonly recipient?: string | undefined;
};

/** What the people around the table do; how, is the caller's. */
export type Table = {
  /**
   * Shows a passphrase that was made for someone, until they have written it down. They may agree a second
   * one, for duress.
   */
  readonly give: (
    who: string,
    passphrase: string,
  ) => Promise<{ readonly duressPassphrase?: string }>;
  /** The passphrase or identity that opens a kit again, typed by its holder; undefined for later. */
  readonly typeAgain: (holder: number, office: string) => Promise<string | undefined>;
  readonly onStep: (step: string) => void;
  /** log2 of scrypt's N; below 18 only in tests. */
  readonly workFactor?: number;
};

/** What a ceremony leaves. */
export type Kits = {
  readonly custody: Custody;
  /** Of those who opened their kit at once. */
  readonly receipts: readonly Uint8Array[];
  readonly transcript: string;
  /** SHA-256 of the transcript, and of each kit. */
  readonly transcriptHash: string;
  readonly kitHashes: readonly string[];
};

/**
 * Seals a set's shares for their holders and writes what they take with them: `folder/kits` with a file and a
 * page for each, `folder/watch.age` for who watches abroad, `folder/transcript.txt`. Shares are wiped.
 *
 * @throws ExclaveError `usage` when something is in the way, or the seals are no good; `altered` when what was
 *   written is not what was sealed. Then nothing counts: delete the folder and begin again
 */
export async function makeKits(options: {
  readonly set: ShareSet;
  readonly details: KitDetails;
  readonly holders: readonly KeyHolder[];
  readonly folder: string;
  readonly table: Table;
  readonly now: Date;
}): Promise<Kits> {
  const { set, details, holders, folder, table, now } = options;
  try {
    await mkdir(join(folder, "kits"), { recursive: true, mode: 0o700 });
    const seals = await sealsOf(holders, table);
    table.onStep("sealing");
    const kits = await sealKits(set, details, seals, {
      onSealed: (index) => table.onStep(`kit ${index + 1} is sealed`),
      ...(table.workFactor === undefined ? {} : { workFactor: table.workFactor }),
    });
    for (const { kit, page, fileNames } of kits) {
      await writeKeyFile(join(folder, "kits", fileNames.kit), kit);
      await writeKeyFile(join(folder, "kits", fileNames.page), utf8(page));
    }
    const watchSeed = randomBytes(32);
    await writeWatch(options, kits, watchSeed);
    const receipts = await openAgain(options, kits);
    const custody = custodyOf(set.publicPart, kits, kemKeyPairFromSeed(watchSeed).publicKey);
    wipe(watchSeed);
    const transcript = transcriptOf(options, kits, receipts.length, now);
    await writeKeyFile(join(folder, "transcript.txt"), utf8(transcript));
    return {
      custody,
      receipts,
      transcript,
      transcriptHash: hashOf(utf8(transcript)),
      kitHashes: kits.map(({ kit }) => hashOf(kit)),
    };
  } finally {
    wipe(...set.shares.map(({ share }) => share));
  }
}

async function sealsOf(
  holders: readonly KeyHolder[],
  table: Table,
): Promise<readonly HolderSeal[]> {
  const seals: HolderSeal[] = [];
  for (const [i, { office, recipient }] of holders.entries()) {
    if (recipient !== undefined) {
      seals.push({ office, recipient });
      continue;
    }
    const passphrase = generatePassphrase();
    const { duressPassphrase } = await table.give(`key holder ${i + 1}, ${office}`, passphrase);
    seals.push({
      office,
      passphrase,
      ...(duressPassphrase === undefined ? {} : { duressPassphrase }),
    });
  }
  return seals;
}

async function writeWatch(
  { set, details, holders, folder, table }: Parameters<typeof makeKits>[0],
  kits: readonly SealedKit[],
  seed: Uint8Array,
): Promise<void> {
  const passphrase = generatePassphrase();
  await table.give("who watches abroad, for watch.age", passphrase);
  const { state, stateName } = details;
  const offices = holders.map(({ office }) => office);
  const watch = watchOf(set.publicPart, { state, stateName }, kits, offices, seed);
  await writeKeyFile(
    join(folder, "watch.age"),
    await sealWatch(watch, passphrase, table.workFactor),
  );
}

/** Each holder opens the kit that was written, from where it was written, and signs that they could. */
async function openAgain(
  { set, holders, folder, table, now }: Parameters<typeof makeKits>[0],
  kits: readonly SealedKit[],
): Promise<readonly Uint8Array[]> {
  const receipts: Uint8Array[] = [];
  for (const { index, kit, fileNames, requests } of kits) {
    const written = await readFile(join(folder, "kits", fileNames.kit));
    if (!equalConstantTime(written, kit)) {
      throw new ExclaveError(
        "altered",
        `the kit of key holder ${index + 1} is not what was written: the medium is bad. Nothing counts; begin again with another one`,
      );
    }
    const opened = await openedBy(table, decodeKit(written), holders[index]?.office ?? "");
    if (opened === undefined) continue;
    const [request] = requests;
    const own = set.shares.find((share) => share.index === index);
    invariant(request && own, "each holder has a share and a request");
    if (!equalConstantTime(opened.share.share, own.share)) {
      throw new ExclaveError("altered", `the kit of key holder ${index + 1} holds another share`);
    }
    const time = `${now.toISOString().slice(0, 19)}Z`;
    const receipt = makeReceipt(opened, request.challenge, { time, randomBytes });
    receipts.push(signReceipt(receipt, opened.share));
    wipe(opened.share.share);
    table.onStep(`key holder ${index + 1} has opened their kit`);
  }
  return receipts;
}

/** A kit as its holder opens it; undefined when that is to be later. Throws `wrong-passphrase` after some tries. */
async function openedBy(table: Table, kit: Kit, office: string): Promise<OpenedShare | undefined> {
  for (let tries = 1; ; tries++) {
    const opener = await table.typeAgain(kit.index + 1, office);
    if (opener === undefined) return undefined;
    try {
      return await openShare(kit, opener);
    } catch (error) {
      if (tries >= OPENING_TRIES_MAX || !isExclaveError(error, "wrong-passphrase")) throw error;
      table.onStep("that does not open it; look at the card again");
    }
  }
}

function transcriptOf(
  { set, details, holders }: Parameters<typeof makeKits>[0],
  kits: readonly SealedKit[],
  confirmed: number,
  now: Date,
): string {
  const { publicPart } = set;
  return [
    `Ceremony of ${details.stateName}, ${now.toISOString()}`,
    `State        ${details.state}`,
    `fingerprint  ${fingerprint(details.state)}`,
    `charter      ${details.charterHash}`,
    `share set    ${publicPart.setId}, generation ${publicPart.generation}`,
    `any ${publicPart.k} of ${publicPart.n} key holders; every choice of ${publicPart.k} shares was tested`,
    `secret       commitment ${publicPart.secretCommitment}`,
    ...kits.flatMap(({ index, kit, page, fileNames }) => [
      `kit ${index + 1}        ${holders[index]?.office ?? ""}`,
      `             ${fileNames.kit}  SHA-256 ${hashOf(kit)}`,
      `             ${fileNames.page}  SHA-256 ${hashOf(utf8(page))}`,
      `             share commitment ${publicPart.shareCommitments[index] ?? ""}`,
    ]),
    `kits opened again at the table: ${confirmed} of ${publicPart.n}`,
    `random       ${toHex(randomBytes(16))}`,
    "",
  ].join("\n");
}
