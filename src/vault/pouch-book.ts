/**
 * Home's book of pouches: which shards are on their way to a site on a medium, and which it has confirmed. Losing it
 * costs no more than packing what is on its way once more.
 */
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync, type SQLOutputValue } from "node:sqlite";
import { ExclaveError } from "../errors.ts";
import { transaction } from "../platform/transaction.ts";

const SCHEMA = `
CREATE TABLE IF NOT EXISTS pouches (
  id TEXT PRIMARY KEY, site TEXT NOT NULL, register TEXT NOT NULL, part INTEGER NOT NULL,
  time TEXT NOT NULL, objects INTEGER NOT NULL, bytes INTEGER NOT NULL, received TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS carried (
  site TEXT NOT NULL, name TEXT NOT NULL, pouch TEXT NOT NULL, received INTEGER NOT NULL,
  PRIMARY KEY (site, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS carried_by_pouch ON carried (pouch, received);
`;

export type CarriedPouch = {
  readonly id: string;
  readonly site: string;
  /** The register's name. */
  readonly register: string;
  readonly part: number;
  readonly time: string;
  /** Everything on the medium. */
  readonly objects: number;
  readonly bytes: number;
  /** Shards that the site has not confirmed yet. */
  readonly unconfirmed: number;
  /** When receipts came back last. */
  readonly received?: string;
};

export class PouchBook {
  readonly #db: DatabaseSync;

  constructor(path: string) {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    this.#db = new DatabaseSync(path, { timeout: 5000 });
    this.#db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
    this.#db.exec(SCHEMA);
  }

  close(): void {
    this.#db.close();
  }

  /** Notes a pouch that is packed. */
  add(pouch: Omit<CarriedPouch, "unconfirmed" | "received">): void {
    const { id, site, register, part, time, objects, bytes } = pouch;
    this.#db
      .prepare("INSERT OR REPLACE INTO pouches VALUES (?, ?, ?, ?, ?, ?, ?, NULL)")
      .run(id, site, register, part, time, objects, bytes);
  }

  /** Notes some of the shards that are on it. */
  carry(site: string, pouch: string, shards: readonly string[]): void {
    const insert = this.#db.prepare("INSERT OR REPLACE INTO carried VALUES (?, ?, ?, 0)");
    transaction(this.#db, () => {
      for (const name of shards) insert.run(site, name, pouch);
    });
  }

  /** Whether a shard is on its way to a site, or was confirmed by it; undefined for neither. */
  find(site: string, name: string): "under way" | "received" | undefined {
    const row = this.#db
      .prepare("SELECT received FROM carried WHERE site = ? AND name = ?")
      .get(site, name);
    if (!row) return undefined;
    return row.received === 1 ? "received" : "under way";
  }

  /** Shards that a site says it holds now. Returns how many of them were on their way. */
  confirm(site: string, names: readonly string[]): number {
    return transaction(this.#db, () => {
      const take = this.#db.prepare(
        "UPDATE carried SET received = 1 WHERE site = ? AND name = ? AND received = 0",
      );
      return names.reduce((sum, name) => sum + Number(take.run(site, name).changes), 0);
    });
  }

  /** Receipts of a pouch came back. */
  noteReceived(id: string, time: string): void {
    this.#db.prepare("UPDATE pouches SET received = ? WHERE id = ?").run(time, id);
  }

  /** What was on its way to a site, and is not any more: the medium was lost. Returns how many shards. */
  giveUp(site: string, register: string): number {
    const { changes } = this.#db
      .prepare(
        `DELETE FROM carried WHERE site = ? AND received = 0
         AND pouch IN (SELECT id FROM pouches WHERE register = ?)`,
      )
      .run(site, register);
    return Number(changes);
  }

  /** The number of the next medium to a site. */
  nextPart(site: string): number {
    const row = this.#db
      .prepare("SELECT coalesce(max(part), 0) AS part FROM pouches WHERE site = ?")
      .get(site);
    return number(row?.part) + 1;
  }

  /** Every pouch, the newest last. */
  all(): readonly CarriedPouch[] {
    const open = this.#db.prepare(
      "SELECT count(*) AS shards FROM carried WHERE pouch = ? AND received = 0",
    );
    return this.#db
      .prepare("SELECT * FROM pouches ORDER BY time, site, part")
      .all()
      .map((row) => ({
        id: text(row.id),
        site: text(row.site),
        register: text(row.register),
        part: number(row.part),
        time: text(row.time),
        objects: number(row.objects),
        bytes: number(row.bytes),
        unconfirmed: number(open.get(text(row.id))?.shards),
        ...(row.received === null ? {} : { received: text(row.received) }),
      }));
  }
}

function number(value: SQLOutputValue | undefined): number {
  if (typeof value === "number") return value;
  throw new ExclaveError("malformed", "the book of pouches is damaged; delete it, and pack again");
}

function text(value: SQLOutputValue | undefined): string {
  if (typeof value === "string") return value;
  throw new ExclaveError("malformed", "the book of pouches is damaged; delete it, and pack again");
}
