/** Takes in at home what a site has signed for a pouch. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fromBase64, toHex } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { parseSigningPublicKey } from "../crypto/signing.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { writeDurably } from "../sites/durable.ts";
import { readPouch, readReceipts } from "../sites/pouch-medium.ts";
import { openSiteReceipt } from "../sites/site-receipt.ts";
import type { Catalog } from "../vault/catalog.ts";
import type { Home } from "../vault/home.ts";
import { PouchBook } from "../vault/pouch-book.ts";
import { parseShardName } from "../vault/shard.ts";
import { pouchBookPath } from "./pack-pouch.ts";

export type ReceiveReport = {
  readonly pouch: string;
  readonly site: string;
  readonly part: number;
  /** Of the medium. */
  readonly receipts: number;
  /** Shards that are confirmed by now, for the first time. */
  readonly confirmed: number;
  /** Shards of this pouch that the site has not signed for. */
  readonly unconfirmed: number;
  /** Until then the site keeps what it has signed for; the earliest of its receipts. */
  readonly retainUntil?: string;
  /** Receipts that are not the site's, or say something else. */
  readonly problems: readonly string[];
};

const PROBLEMS_KEPT_MAX = 100;

/**
 * Reads the receipts on a medium, keeps those that the site signed, and strikes off what it holds now. Safe to repeat.
 *
 * @throws ExclaveError `usage` when there is no pouch, `foreign-state` when it is another State's or not this home's
 */
export async function receivePouch(options: {
  readonly home: Home;
  readonly catalog: Catalog;
  readonly folder: string;
  readonly now: Date;
}): Promise<ReceiveReport> {
  const { home, catalog, folder, now } = options;
  const { pouch } = await readPouch(folder);
  const site = home.charter.sites.find(({ name }) => name === pouch.siteName);
  if (pouch.state !== home.state || site?.signing === undefined) {
    throw new ExclaveError(
      "foreign-state",
      `the pouch in ${folder} is another State's, or for a site that this State has not. Nothing was changed`,
    );
  }
  const key = parseSigningPublicKey(fromBase64(site.signing));
  const book = new PouchBook(pouchBookPath(home));
  const problems: string[] = [];
  let [receipts, confirmed] = [0, 0];
  let retainUntil: string | undefined;
  try {
    for await (const bytes of readReceipts(folder)) {
      try {
        const receipt = openSiteReceipt(bytes, key, home.state);
        await keep(home, bytes);
        const shards = receipt.objects
          .map(([name]) => name)
          .filter((name) => name.startsWith("shard/"));
        confirmed += book.confirm(site.name, shards);
        for (const name of shards) {
          const { id, index } = parseShardName(name);
          catalog.removeDebt(id, index);
        }
        receipts++;
        if (retainUntil === undefined || receipt.retainUntil < retainUntil) {
          retainUntil = receipt.retainUntil;
        }
      } catch (error) {
        if (!isExclaveError(error) || error.code === "bug") throw error;
        if (problems.length < PROBLEMS_KEPT_MAX) problems.push(error.message);
      }
    }
    if (receipts > 0) book.noteReceived(pouch.pouch, now.toISOString());
    const carried = book.all().find(({ id }) => id === pouch.pouch);
    return {
      pouch: pouch.pouch,
      site: site.name,
      part: pouch.part,
      receipts,
      confirmed,
      unconfirmed: carried?.unconfirmed ?? 0,
      ...(retainUntil === undefined ? {} : { retainUntil }),
      problems,
    };
  } finally {
    book.close();
  }
}

/** A site's word for what it holds is kept as it was signed. */
async function keep(home: Home, bytes: Uint8Array): Promise<void> {
  const folder = join(home.path, "pouches", "receipts");
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const name = toHex(sha256(bytes));
  const temporary = join(home.path, "tmp", `${process.pid}-receipt-${name}`);
  await writeDurably(join(folder, `${name}.json`), temporary, [bytes]);
}
