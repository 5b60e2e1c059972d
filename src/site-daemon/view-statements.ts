/**
 * Which epoch of each register is open: the newest of a statement that counts. Statements are read once, verified, and
 * what they say of their epoch is kept; a cache, made anew from the objects when it is lost.
 */
import { DatabaseSync } from "node:sqlite";
import { toHex } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { isExclaveError } from "../errors.ts";
import { transaction } from "../platform/transaction.ts";
import { suspicionOf } from "../registers/import-snapshots.ts";
import type { Site } from "../sites/site.ts";
import { openStatement, type Statement } from "../vault/documents.ts";
import { type Generation, type KnownState, statementTimes } from "../vault/known-state.ts";
import { readDocument } from "../vault/site-documents.ts";

/** Of the statements that are not here, so many are looked for again: those of other sites' registers never come. */
const LOOKED_FOR_AGAIN_MAX = 256;
/** Statements that are written at once. */
const BATCH = 256;

const SCHEMA = `
CREATE TABLE IF NOT EXISTS statements (
  envelope TEXT PRIMARY KEY, generation INTEGER NOT NULL, position INTEGER NOT NULL,
  register TEXT, epoch INTEGER, agent TEXT, time TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS of_register ON statements (register, epoch, generation, position);
`;

type Row = {
  readonly envelope: string;
  readonly generation: number;
  readonly position: number;
};

export class Statements {
  readonly #db: DatabaseSync;

  constructor(path: string) {
    this.#db = new DatabaseSync(path);
    this.#db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL");
    this.#db.exec(SCHEMA);
  }

  close(): void {
    this.#db.close();
  }

  /** Whether one of the newest that were missing when the ledger named them is here by now. */
  async hasCome(objects: Site): Promise<boolean> {
    for (const { envelope } of this.#missing()) {
      if (await objects.stat(`statement/${envelope}`)) return true;
    }
    return false;
  }

  /** Reads the statements that the ledger has by now. Rejects with nothing that a site can cause. */
  async read(objects: Site, generations: readonly Generation[], known: KnownState): Promise<void> {
    let batch: Row[] = [...this.#missing()];
    for (const [i, { log, closedAt }] of generations.entries()) {
      const generation = i + 1;
      const next = this.#next(generation);
      for (const { position, envelope } of log.entriesOf(["statement"])) {
        if (position < next) continue;
        if (closedAt !== undefined && position >= closedAt) break;
        batch.push({ envelope, generation, position });
        if (batch.length < BATCH) continue;
        await this.#readAll(batch, objects, known);
        batch = [];
      }
    }
    await this.#readAll(batch, objects, known);
  }

  /** The newest epoch of each register of which a statement counts. */
  openEpochs(generations: readonly Generation[], known: KnownState): ReadonlyMap<string, number> {
    const loggedAt = statementTimes(generations, known);
    const registers = this.#db
      .prepare("SELECT DISTINCT register FROM statements WHERE register IS NOT NULL")
      .all();
    const newest = this.#db.prepare(
      "SELECT envelope, epoch, agent, time FROM statements WHERE register = ? ORDER BY epoch DESC, generation, position",
    );
    const epochs = new Map<string, number>();
    for (const { register } of registers) {
      for (const row of newest.iterate(String(register))) {
        const at = loggedAt(String(row.envelope));
        const said = { agent: String(row.agent), time: String(row.time) };
        if (!at || suspicionOf(known, said, at) !== undefined) continue;
        epochs.set(String(register), Number(row.epoch));
        break;
      }
    }
    return epochs;
  }

  /** The newest that could not be read. */
  #missing(): readonly Row[] {
    return this.#db
      .prepare(
        "SELECT envelope, generation, position FROM statements WHERE register IS NULL ORDER BY generation DESC, position DESC LIMIT ?",
      )
      .all(LOOKED_FOR_AGAIN_MAX)
      .map((row) => ({
        envelope: String(row.envelope),
        generation: Number(row.generation),
        position: Number(row.position),
      }));
  }

  #next(generation: number): number {
    const { last } =
      this.#db
        .prepare("SELECT MAX(position) AS last FROM statements WHERE generation = ?")
        .get(generation) ?? {};
    return typeof last === "number" ? last + 1 : 0;
  }

  async #readAll(rows: readonly Row[], objects: Site, known: KnownState): Promise<void> {
    const read: { readonly row: Row; readonly said: Statement | undefined }[] = [];
    for (const row of rows) read.push({ row, said: await statementIn(objects, row, known) });
    transaction(this.#db, () => {
      const insert = this.#db.prepare(
        "INSERT OR REPLACE INTO statements VALUES (?, ?, ?, ?, ?, ?, ?)",
      );
      for (const { row, said } of read) {
        const { register = null, epoch = null, agent = null, time = null } = said ?? {};
        insert.run(row.envelope, row.generation, row.position, register, epoch, agent, time);
      }
    });
  }
}

async function statementIn(
  objects: Site,
  { envelope }: Row,
  known: KnownState,
): Promise<Statement | undefined> {
  const bytes = await readDocument(objects, `statement/${envelope}`);
  if (!bytes || toHex(sha256(bytes)) !== envelope) return undefined;
  try {
    return openStatement(bytes, known).document;
  } catch (error) {
    if (!isExclaveError(error) || error.code === "bug") throw error;
    return undefined;
  }
}
