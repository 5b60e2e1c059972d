/**
 * The catalog: what home knows of packs, index segments and snapshots. A cache in SQLite, bounded in
 * memory however large the register; `exclave rebuild` makes it anew from the sites.
 */
import { DatabaseSync, type SQLOutputValue } from "node:sqlite";
import { ExclaveError } from "../errors.ts";
import { transaction } from "../platform/transaction.ts";
import type { DispersedRef } from "./gather.ts";
import {
  type DispersalId,
  type DocumentId,
  type PackId,
  parseId,
  type RegisterId,
  type StateId,
} from "./identifiers.ts";

/** An index segment of an epoch: which packs hold it, and the cached file of its bytes. */
export type Segment = {
  readonly id: number;
  /** Name of the file in the cache. */
  readonly file: string;
  readonly bytes: number;
  /** The element of `SnapshotRoot.index`, as JSON. */
  readonly ref: string;
};

/** A committed snapshot. */
export type SnapshotRow = {
  /** SHA-256 of the statement's payload. */
  readonly id: DocumentId;
  readonly register: RegisterId;
  readonly epoch: number;
  readonly term: number;
  readonly sequence: number;
  readonly time: string;
  /** The statement's envelope, and the root as JSON. */
  readonly envelope: Uint8Array;
  readonly root: string;
  /** Why it is not to be believed; such a one is shown, and never taken by itself. */
  readonly quarantined?: string;
};

/** A pack and how it is dispersed; `table` while no committed index has it. */
export type PackRow = DispersedRef & { readonly table?: Uint8Array };

/** A shard that a site should have and has not. */
export type Debt = { readonly id: DispersalId; readonly index: number; readonly site: string };

const VERSION = 2;
const BELIEVED = "(quarantined IS NULL)";
const NEWEST_FIRST = "ORDER BY term DESC, sequence DESC, id";
/** Rows with their tables that are held at once. */
const PAGE_ROWS = 64;

const SCHEMA = `
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS packs (
  register TEXT NOT NULL, epoch INTEGER NOT NULL, pack TEXT NOT NULL,
  dispersal TEXT NOT NULL, k INTEGER NOT NULL, n INTEGER NOT NULL, bytes INTEGER NOT NULL,
  committed INTEGER NOT NULL, packtable BLOB, PRIMARY KEY (register, epoch, pack)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS segments (
  id INTEGER PRIMARY KEY, register TEXT NOT NULL, epoch INTEGER NOT NULL,
  file TEXT NOT NULL, bytes INTEGER NOT NULL, ref TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS snapshots (
  id TEXT PRIMARY KEY, register TEXT NOT NULL, epoch INTEGER NOT NULL, term INTEGER NOT NULL,
  sequence INTEGER NOT NULL, time TEXT NOT NULL, envelope BLOB NOT NULL, root TEXT NOT NULL,
  quarantined TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS snapshots_by_register ON snapshots (register, sequence);
CREATE TABLE IF NOT EXISTS known_statements (object TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS other_statements (
  object TEXT PRIMARY KEY, register TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS debts (
  dispersal TEXT NOT NULL, shard INTEGER NOT NULL, site TEXT NOT NULL,
  PRIMARY KEY (dispersal, shard)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS opened_wraps (
  register TEXT NOT NULL, epoch INTEGER NOT NULL, time TEXT NOT NULL, PRIMARY KEY (register, epoch)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS checks (
  register TEXT NOT NULL, time TEXT NOT NULL, result TEXT NOT NULL
) STRICT;
`;

type Row = Record<string, SQLOutputValue>;

export class Catalog {
  readonly #db: DatabaseSync;

  /** Opens or makes the catalog of this State. Throws `foreign-state` for another State's, `malformed` for a damaged one. */
  constructor(path: string, state: StateId) {
    try {
      this.#db = new DatabaseSync(path, { timeout: 5000 });
      // With WAL and NORMAL a power cut may lose the last rows, never the file; what they say is at the sites.
      this.#db.exec(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -8000",
      );
      this.#db.exec(SCHEMA);
    } catch (cause) {
      throw catalogError(path, cause);
    }
    const owner = this.#meta("state");
    if (owner === undefined) {
      this.#setMeta("state", state);
      this.#setMeta("version", String(VERSION));
    } else if (owner !== state) {
      this.#db.close();
      throw new ExclaveError(
        "foreign-state",
        `the catalog ${path} belongs to another State. Nothing was changed; \`exclave rebuild\` makes this State's anew`,
      );
    } else if (this.#meta("version") !== String(VERSION)) {
      this.#db.close();
      throw new ExclaveError(
        "malformed",
        `the catalog ${path} is of another version; run \`exclave rebuild\``,
      );
    }
  }

  close(): void {
    this.#db.close();
  }

  /** Runs `work` in one transaction. */
  transaction<T>(work: () => T): T {
    return transaction(this.#db, work);
  }

  addPack(register: RegisterId, epoch: number, pack: PackRow, committed: boolean): void {
    this.#db
      .prepare(
        `INSERT INTO packs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (register, epoch, pack) DO UPDATE SET committed = max(committed, excluded.committed)`,
      )
      .run(
        register,
        epoch,
        pack.pack,
        pack.id,
        pack.k,
        pack.n,
        pack.packBytes,
        committed ? 1 : 0,
        pack.table ?? null,
      );
  }

  pack(register: RegisterId, epoch: number, id: PackId): PackRow | undefined {
    const row = this.#db
      .prepare("SELECT * FROM packs WHERE register = ? AND epoch = ? AND pack = ?")
      .get(register, epoch, id);
    return row && packOf(row);
  }

  /** Packs of an epoch that no statement lists yet, in pages: no cursor stays open meanwhile. */
  *openPacks(register: RegisterId, epoch: number): Generator<PackRow> {
    const page = this.#db.prepare(
      `SELECT * FROM packs WHERE register = ? AND epoch = ? AND pack > ? AND committed = 0
       ORDER BY pack LIMIT ${PAGE_ROWS}`,
    );
    for (let last = ""; ; ) {
      const rows = page.all(register, epoch, last).map(packOf);
      yield* rows;
      if (rows.length < PAGE_ROWS) return;
      last = rows.at(-1)?.pack ?? "";
    }
  }

  /** Every committed pack of a register, in pages. */
  *packsOf(register: RegisterId): Generator<PackRow> {
    const page = this.#db.prepare(
      `SELECT * FROM packs WHERE register = ? AND pack > ? AND committed = 1 ORDER BY pack LIMIT ${PAGE_ROWS}`,
    );
    for (let last = ""; ; ) {
      const rows = page.all(register, last).map(packOf);
      yield* rows;
      if (rows.length < PAGE_ROWS) return;
      last = rows.at(-1)?.pack ?? "";
    }
  }

  /** Packs of all registers. */
  packTotal(): number {
    return number(this.#db.prepare("SELECT count(*) AS packs FROM packs").get()?.packs);
  }

  packCount(register: RegisterId): number {
    const row = this.#db
      .prepare("SELECT count(*) AS packs FROM packs WHERE register = ? AND committed = 1")
      .get(register);
    return number(row?.packs);
  }

  /** So many committed packs of a register, at random. */
  samplePacks(register: RegisterId, most: number): readonly PackId[] {
    return this.#db
      .prepare(
        "SELECT pack FROM packs WHERE register = ? AND committed = 1 ORDER BY random() LIMIT ?",
      )
      .all(register, most)
      .map((row) => parseId("PackId", text(row.pack)));
  }

  /** Bytes of the tables of packs that no committed index has. */
  openTableBytes(register: RegisterId, epoch: number): number {
    const row = this.#db
      .prepare(
        "SELECT coalesce(sum(length(packtable)), 0) AS bytes FROM packs WHERE register = ? AND epoch = ? AND committed = 0",
      )
      .get(register, epoch);
    return number(row?.bytes);
  }

  /** Registers that have a snapshot. */
  registers(): readonly RegisterId[] {
    return this.#db
      .prepare(`SELECT DISTINCT register FROM snapshots WHERE ${BELIEVED} ORDER BY register`)
      .all()
      .map((row) => parseId("RegisterId", text(row.register)));
  }

  /** The k and n that packs of an epoch are dispersed with. */
  shapes(
    register: RegisterId,
    epoch: number,
  ): readonly { readonly k: number; readonly n: number }[] {
    return this.#db
      .prepare("SELECT DISTINCT k, n FROM packs WHERE register = ? AND epoch = ?")
      .all(register, epoch)
      .map((row) => ({ k: number(row.k), n: number(row.n) }));
  }

  forgetPack(register: RegisterId, epoch: number, id: PackId): void {
    this.#db
      .prepare("DELETE FROM packs WHERE register = ? AND epoch = ? AND pack = ?")
      .run(register, epoch, id);
  }

  commitPacks(register: RegisterId, epoch: number): void {
    this.#db
      .prepare("UPDATE packs SET committed = 1, packtable = NULL WHERE register = ? AND epoch = ?")
      .run(register, epoch);
  }

  segments(register: RegisterId, epoch: number): readonly Segment[] {
    return this.#db
      .prepare("SELECT * FROM segments WHERE register = ? AND epoch = ? ORDER BY id")
      .all(register, epoch)
      .map((row) => ({
        id: number(row.id),
        file: text(row.file),
        bytes: number(row.bytes),
        ref: text(row.ref),
      }));
  }

  /** Replaces the segments of an epoch. */
  setSegments(register: RegisterId, epoch: number, segments: readonly Omit<Segment, "id">[]): void {
    this.#db.prepare("DELETE FROM segments WHERE register = ? AND epoch = ?").run(register, epoch);
    const insert = this.#db.prepare(
      "INSERT INTO segments (register, epoch, file, bytes, ref) VALUES (?, ?, ?, ?, ?)",
    );
    for (const { file, bytes, ref } of segments) insert.run(register, epoch, file, bytes, ref);
  }

  addSnapshot(snapshot: SnapshotRow): void {
    this.#db
      .prepare("INSERT OR IGNORE INTO snapshots VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
      .run(
        snapshot.id,
        snapshot.register,
        snapshot.epoch,
        snapshot.term,
        snapshot.sequence,
        snapshot.time,
        snapshot.envelope,
        snapshot.root,
        snapshot.quarantined ?? null,
      );
  }

  /** Sets a snapshot aside that was believed before. */
  quarantine(id: DocumentId, why: string): void {
    this.#db.prepare("UPDATE snapshots SET quarantined = ? WHERE id = ?").run(why, id);
  }

  hasSnapshot(id: DocumentId): boolean {
    return this.#db.prepare("SELECT 1 FROM snapshots WHERE id = ?").get(id) !== undefined;
  }

  /** The object of this name was read, and is in the catalog or was refused for good. */
  addKnownStatement(object: DocumentId): void {
    this.#db.prepare("INSERT OR IGNORE INTO known_statements VALUES (?)").run(object);
  }

  /** The object of this name is a statement of that register, which is not being imported now. */
  addOtherStatement(object: DocumentId, register: RegisterId): void {
    this.#db.prepare("INSERT OR IGNORE INTO other_statements VALUES (?, ?)").run(object, register);
  }

  otherStatement(object: DocumentId): string | undefined {
    const row = this.#db
      .prepare("SELECT register FROM other_statements WHERE object = ?")
      .get(object);
    return row && text(row.register);
  }

  isKnownStatement(object: DocumentId): boolean {
    const row = this.#db.prepare("SELECT 1 FROM known_statements WHERE object = ?").get(object);
    return row !== undefined;
  }

  /** Newest first: by term, then by sequence; no clock decides. */
  snapshots(register: RegisterId): readonly SnapshotRow[] {
    return this.#db
      .prepare(`SELECT * FROM snapshots WHERE register = ? AND ${BELIEVED} ${NEWEST_FIRST}`)
      .all(register)
      .map(snapshotOf);
  }

  /** Those that are not to be believed, newest first. */
  quarantined(register: RegisterId): readonly SnapshotRow[] {
    return this.#db
      .prepare(`SELECT * FROM snapshots WHERE register = ? AND NOT ${BELIEVED} ${NEWEST_FIRST}`)
      .all(register)
      .map(snapshotOf);
  }

  latestSnapshot(register: RegisterId): SnapshotRow | undefined {
    const row = this.#db
      .prepare(`SELECT * FROM snapshots WHERE register = ? AND ${BELIEVED} ${NEWEST_FIRST} LIMIT 1`)
      .get(register);
    return row && snapshotOf(row);
  }

  addDebt(debt: Debt): void {
    this.#db
      .prepare("INSERT OR REPLACE INTO debts VALUES (?, ?, ?)")
      .run(debt.id, debt.index, debt.site);
  }

  removeDebt(id: DispersalId, index: number): void {
    this.#db.prepare("DELETE FROM debts WHERE dispersal = ? AND shard = ?").run(id, index);
  }

  /**
   * Of all packs of a register, the most shards that one lacks at sites that answer: what is owed, without the
   * shards of `silent` places, which are missing anyway.
   */
  mostOwed(register: RegisterId, silent: readonly number[]): number {
    const row = this.#db
      .prepare(
        `SELECT max(owed) AS most FROM (
           SELECT count(*) AS owed FROM debts JOIN packs USING (dispersal)
           WHERE register = ? AND shard NOT IN (SELECT value FROM json_each(?)) GROUP BY dispersal)`,
      )
      .get(register, JSON.stringify(silent));
    return Number(row?.most ?? 0);
  }

  /** Shards owed, a site each. */
  debts(): readonly { readonly site: string; readonly shards: number }[] {
    return this.#db
      .prepare("SELECT site, count(*) AS shards FROM debts GROUP BY site ORDER BY site")
      .all()
      .map((row) => ({ site: text(row.site), shards: number(row.shards) }));
  }

  addCheck(register: RegisterId, time: string, result: string): void {
    this.#db.prepare("INSERT INTO checks VALUES (?, ?, ?)").run(register, time, result);
  }

  latestCheck(
    register: RegisterId,
  ): { readonly time: string; readonly result: string } | undefined {
    const row = this.#db
      .prepare("SELECT time, result FROM checks WHERE register = ? ORDER BY time DESC LIMIT 1")
      .get(register);
    return row && { time: text(row.time), result: text(row.result) };
  }

  /** The recovery key was seen to open the wrap of this epoch's key. */
  addOpenedWrap(register: RegisterId, epoch: number, time: string): void {
    this.#db
      .prepare("INSERT OR REPLACE INTO opened_wraps VALUES (?, ?, ?)")
      .run(register, epoch, time);
  }

  /** When that was; undefined when nobody has tried. */
  openedWrap(register: RegisterId, epoch: number): string | undefined {
    const row = this.#db
      .prepare("SELECT time FROM opened_wraps WHERE register = ? AND epoch = ?")
      .get(register, epoch);
    return row && text(row.time);
  }

  /** A scratch set of names, on disk when large: which shards the sites say they hold. */
  beginHeld(): void {
    this.#db.exec(
      "CREATE TEMP TABLE IF NOT EXISTS held (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID",
    );
    this.#db.exec("DELETE FROM held");
  }

  addHeld(names: readonly string[]): void {
    const insert = this.#db.prepare("INSERT OR IGNORE INTO held VALUES (?)");
    this.transaction(() => {
      for (const name of names) insert.run(name);
    });
  }

  /** That a site holds a shard is known now, without listing it again. */
  addHeldShard(name: string): void {
    this.#db.prepare("INSERT OR IGNORE INTO held VALUES (?)").run(name);
  }

  isHeld(name: string): boolean {
    return this.#db.prepare("SELECT 1 FROM held WHERE name = ?").get(name) !== undefined;
  }

  /** How many shards of a dispersal are listed. */
  heldShards(id: DispersalId): number {
    const row = this.#db
      .prepare("SELECT count(*) AS held FROM held WHERE name > ? AND name < ?")
      .get(`shard/${id}.`, `shard/${id}/`);
    return number(row?.held);
  }

  #meta(key: string): string | undefined {
    const row = this.#db.prepare("SELECT value FROM meta WHERE key = ?").get(key);
    return row && text(row.value);
  }

  #setMeta(key: string, value: string): void {
    this.#db.prepare("INSERT OR REPLACE INTO meta VALUES (?, ?)").run(key, value);
  }
}

function packOf(row: Row): PackRow {
  return {
    pack: parseId("PackId", text(row.pack)),
    id: parseId("DispersalId", text(row.dispersal)),
    k: number(row.k),
    n: number(row.n),
    packBytes: number(row.bytes),
    ...(row.packtable instanceof Uint8Array ? { table: row.packtable } : {}),
  };
}

function snapshotOf(row: Row): SnapshotRow {
  return {
    id: parseId("DocumentId", text(row.id)),
    register: parseId("RegisterId", text(row.register)),
    epoch: number(row.epoch),
    term: number(row.term),
    sequence: number(row.sequence),
    time: text(row.time),
    envelope: row.envelope instanceof Uint8Array ? row.envelope : new Uint8Array(),
    root: text(row.root),
    ...(row.quarantined === null ? {} : { quarantined: text(row.quarantined) }),
  };
}

function number(value: SQLOutputValue | undefined): number {
  if (typeof value !== "number") throw new ExclaveError("malformed", "the catalog is damaged");
  return value;
}

function text(value: SQLOutputValue | undefined): string {
  if (typeof value !== "string") throw new ExclaveError("malformed", "the catalog is damaged");
  return value;
}

function catalogError(path: string, cause: unknown): ExclaveError {
  const what = cause instanceof Error ? cause.message : String(cause);
  if (/disk is full|SQLITE_FULL/i.test(what)) {
    return new ExclaveError("disk-full", "the disk of home is full; nothing was committed", {
      cause,
    });
  }
  return new ExclaveError(
    "malformed",
    `the catalog ${path} cannot be read (${what}). The sites hold everything: run \`exclave rebuild\``,
    { cause },
  );
}
