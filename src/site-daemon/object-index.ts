/**
 * What a site holds of a State, to count and to find: a cache beside the objects. It is written after an object is
 * durable, so a crash leaves objects that it does not know, and `fill` takes them in when the site starts again.
 */
import { rmSync } from "node:fs";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { isExclaveError } from "../errors.ts";
import { transaction } from "../platform/transaction.ts";
import { OBJECT_KINDS, type ObjectKind, parseObjectName } from "../sites/site.ts";

const FORMAT = 1;
const BUSY_MILLISECONDS = 5000;
/** Rows that are written in one transaction when the index is made anew. */
const ROWS_AT_ONCE = 1000;
/** Rows that are kept at hand: whoever reads a shard comes back for its next block. */
const ROWS_KEPT_MAX = 1024;

const SCHEMA = `
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
  kind TEXT NOT NULL, rest TEXT NOT NULL, bytes INTEGER NOT NULL, stored INTEGER NOT NULL,
  owner TEXT NOT NULL, retain INTEGER NOT NULL,
  register TEXT, epoch INTEGER, k INTEGER, n INTEGER,
  PRIMARY KEY (kind, rest)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS shards_by_epoch ON objects (register, epoch) WHERE register IS NOT NULL;
CREATE TABLE IF NOT EXISTS totals (
  kind TEXT PRIMARY KEY, objects INTEGER NOT NULL, bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`;

/** Of a shard, as its front says, which its name binds. */
export type ShardFacts = {
  readonly register: string;
  readonly epoch: number;
  readonly k: number;
  readonly n: number;
};

export type IndexRow = {
  readonly name: string;
  readonly bytes: number;
  readonly storedAt: Date;
  /** Key id of who stored it; empty when that is not known. */
  readonly owner: string;
  /** Until when the place's lock, if it has one, keeps it. */
  readonly retainUntil: Date;
  readonly shard: ShardFacts | undefined;
};

export type Total = { readonly kind: ObjectKind; readonly objects: number; readonly bytes: number };

export class ObjectIndex {
  readonly #db: DatabaseSync;
  readonly #get: StatementSync;
  readonly #insert: StatementSync;
  readonly #count: StatementSync;
  /** Rows that were found; the first of them goes first, and every change of a row takes it out. */
  readonly #kept = new Map<string, IndexRow>();
  /** Whether it was closed as it should, so that it knows every object. */
  readonly wasClean: boolean;

  private constructor(db: DatabaseSync, state: string) {
    this.#db = db;
    // A cache: a power cut may take the last rows, and `fill` brings them back.
    db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL");
    db.exec(SCHEMA);
    const expected = `${FORMAT} ${state}`;
    this.wasClean = this.#meta("of") === expected && this.#meta("clean") === "yes";
    if (this.#meta("of") !== expected) db.exec("DELETE FROM objects; DELETE FROM totals");
    this.#setMeta("of", expected);
    this.#setMeta("clean", "no");
    this.#get = db.prepare(
      "SELECT bytes, stored, owner, retain, register, epoch, k, n FROM objects WHERE kind = ? AND rest = ?",
    );
    this.#insert = db.prepare(
      "INSERT OR IGNORE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    );
    this.#count = db.prepare(
      "INSERT INTO totals VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET objects = objects + excluded.objects, bytes = bytes + excluded.bytes",
    );
  }

  /** Opens it; one that is damaged or another State's is begun anew. */
  static open(path: string, state: string): ObjectIndex {
    try {
      return ObjectIndex.#at(path, state);
    } catch (error) {
      if (isExclaveError(error)) throw error;
      for (const end of ["", "-wal", "-shm"]) rmSync(path + end, { force: true });
      return ObjectIndex.#at(path, state);
    }
  }

  static #at(path: string, state: string): ObjectIndex {
    const db = new DatabaseSync(path, { timeout: BUSY_MILLISECONDS });
    try {
      return new ObjectIndex(db, state);
    } catch (error) {
      db.close();
      throw error;
    }
  }

  /** From now on it is known to be whole. */
  close(): void {
    this.#setMeta("clean", "yes");
    this.#db.close();
  }

  /** As a crash leaves it. */
  abandon(): void {
    this.#db.close();
  }

  find(name: string): IndexRow | undefined {
    const kept = this.#kept.get(name);
    if (kept) return kept;
    const parsed = parseObjectName(name);
    const found = parsed && this.#get.get(parsed.kind, parsed.rest);
    if (!found) return undefined;
    const row = rowOf(name, found);
    this.#kept.set(name, row);
    const [first] = this.#kept.keys();
    if (this.#kept.size > ROWS_KEPT_MAX && first !== undefined) this.#kept.delete(first);
    return row;
  }

  /** Takes in an object that is stored durably; one that it knows is left as it is, and false. */
  add(row: IndexRow): boolean {
    return transaction(this.#db, () => this.#add(row));
  }

  #add({ name, bytes, storedAt, owner, retainUntil, shard }: IndexRow): boolean {
    const parsed = parseObjectName(name);
    if (!parsed) return false;
    const { kind, rest } = parsed;
    const { changes } = this.#insert.run(
      kind,
      rest,
      bytes,
      storedAt.getTime(),
      owner,
      retainUntil.getTime(),
      shard?.register ?? null,
      shard?.epoch ?? null,
      shard?.k ?? null,
      shard?.n ?? null,
    );
    if (Number(changes) === 0) return false;
    this.#count.run(kind, 1, bytes);
    return true;
  }

  /** For an object that was replaced by another of another size. */
  resize(name: string, bytes: number): void {
    const row = this.find(name);
    const parsed = parseObjectName(name);
    if (!row || !parsed || row.bytes === bytes) return;
    this.#kept.delete(name);
    transaction(this.#db, () => {
      this.#db
        .prepare("UPDATE objects SET bytes = ? WHERE kind = ? AND rest = ?")
        .run(bytes, parsed.kind, parsed.rest);
      this.#count.run(parsed.kind, 0, bytes - row.bytes);
    });
  }

  /** Notes that other bytes are stored under the name than before, and that nothing is known of their lock. */
  heal(name: string, bytes: number): void {
    this.resize(name, bytes);
    const parsed = parseObjectName(name);
    if (!parsed) return;
    this.#kept.delete(name);
    this.#db
      .prepare("UPDATE objects SET retain = 0 WHERE kind = ? AND rest = ?")
      .run(parsed.kind, parsed.rest);
  }

  retain(name: string, until: Date): void {
    const parsed = parseObjectName(name);
    if (!parsed) return;
    this.#kept.delete(name);
    this.#db
      .prepare("UPDATE objects SET retain = max(retain, ?) WHERE kind = ? AND rest = ?")
      .run(until.getTime(), parsed.kind, parsed.rest);
  }

  /** Forgets an object that is no longer stored. */
  remove(name: string): void {
    const row = this.find(name);
    const parsed = parseObjectName(name);
    if (!row || !parsed) return;
    this.#kept.delete(name);
    transaction(this.#db, () => {
      this.#db
        .prepare("DELETE FROM objects WHERE kind = ? AND rest = ?")
        .run(parsed.kind, parsed.rest);
      this.#count.run(parsed.kind, -1, -row.bytes);
    });
  }

  /** Names of a kind in order, without the kind, after the one that is given; at most `count`. */
  page(kind: ObjectKind, after: string, count: number): readonly string[] {
    return this.#db
      .prepare("SELECT rest FROM objects WHERE kind = ? AND rest > ? ORDER BY rest LIMIT ?")
      .all(kind, after, count)
      .map(({ rest }) => String(rest));
  }

  /** Names of a kind that begin so, in order, without the kind; at most `count`. */
  beginning(kind: ObjectKind, prefix: string, count: number): readonly string[] {
    return this.#db
      .prepare(
        "SELECT rest FROM objects WHERE kind = ? AND rest >= ? AND rest < ? ORDER BY rest LIMIT ?",
      )
      .all(kind, prefix, `${prefix}~`, count)
      .map(({ rest }) => String(rest));
  }

  /** Shards of an epoch, at most `count`: whoever removes them asks again until there are none. */
  shardsOf(register: string, epoch: number, after: string, count: number): readonly IndexRow[] {
    return this.#db
      .prepare(
        "SELECT * FROM objects WHERE register = ? AND epoch = ? AND kind = 'shard' AND rest > ? ORDER BY rest LIMIT ?",
      )
      .all(register, epoch, after, count)
      .map((row) => rowOf(`shard/${String(row.rest)}`, row));
  }

  totals(): readonly Total[] {
    return this.#db
      .prepare("SELECT kind, objects, bytes FROM totals ORDER BY kind")
      .all()
      .flatMap((row) => {
        const kind = OBJECT_KINDS.find((one) => one === row.kind);
        return kind ? [{ kind, objects: Number(row.objects), bytes: Number(row.bytes) }] : [];
      });
  }

  get bytes(): number {
    const row = this.#db.prepare("SELECT sum(bytes) AS bytes FROM totals").get();
    return Number(row?.bytes ?? 0);
  }

  /**
   * Makes it know exactly the objects that are there: takes in those that it does not know, and forgets those that
   * are gone. Memory is bounded, however many there are.
   *
   * @param describe what to note of an object that is not known yet; undefined for what is none
   */
  async fill(
    names: AsyncIterable<string>,
    describe: (name: string) => Promise<IndexRow | undefined>,
  ): Promise<{ readonly added: number; readonly gone: number }> {
    this.#db.exec("DROP TABLE IF EXISTS seen");
    this.#db.exec(
      "CREATE TABLE seen (kind TEXT, rest TEXT, PRIMARY KEY (kind, rest)) STRICT, WITHOUT ROWID",
    );
    let added = 0;
    let batch: string[] = [];
    const flush = async (): Promise<void> => {
      const unknown = batch.filter((name) => !this.find(name));
      const rows: IndexRow[] = [];
      for (const name of unknown) {
        const row = await describe(name);
        if (row) rows.push(row);
      }
      transaction(this.#db, () => {
        const see = this.#db.prepare("INSERT OR IGNORE INTO seen VALUES (?, ?)");
        for (const name of batch) {
          const parsed = parseObjectName(name);
          if (parsed) see.run(parsed.kind, parsed.rest);
        }
        for (const row of rows) if (this.#add(row)) added++;
      });
      batch = [];
    };
    for await (const name of names) {
      batch.push(name);
      if (batch.length >= ROWS_AT_ONCE) await flush();
    }
    await flush();
    this.#kept.clear();
    const gone = transaction(this.#db, () => {
      const { changes } = this.#db
        .prepare(
          "DELETE FROM objects WHERE NOT EXISTS (SELECT 1 FROM seen WHERE seen.kind = objects.kind AND seen.rest = objects.rest)",
        )
        .run();
      this.#db.exec("DROP TABLE seen; DELETE FROM totals");
      this.#db.exec(
        "INSERT INTO totals SELECT kind, count(*), sum(bytes) FROM objects GROUP BY kind",
      );
      return Number(changes);
    });
    return { added, gone };
  }

  #meta(key: string): string | undefined {
    const row = this.#db.prepare("SELECT value FROM meta WHERE key = ?").get(key);
    return row && String(row.value);
  }

  #setMeta(key: string, value: string): void {
    this.#db.prepare("INSERT OR REPLACE INTO meta VALUES (?, ?)").run(key, value);
  }
}

function rowOf(name: string, row: Readonly<Record<string, unknown>>): IndexRow {
  return {
    name,
    bytes: Number(row.bytes),
    storedAt: new Date(Number(row.stored)),
    owner: String(row.owner),
    retainUntil: new Date(Number(row.retain)),
    shard:
      typeof row.register !== "string"
        ? undefined
        : {
            register: row.register,
            epoch: Number(row.epoch),
            k: Number(row.k),
            n: Number(row.n),
          },
  };
}
