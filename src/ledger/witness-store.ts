/** What a witness remembers, in SQLite: one row for every log. */
import { DatabaseSync } from "node:sqlite";
import { ExclaveError } from "../errors.ts";
import { transaction } from "../platform/transaction.ts";
import { parseNote } from "./note.ts";
import { isSameTreeHead, parseTreeHead, type TreeHead } from "./tree-head.ts";
import type { WitnessedHead, WitnessStore } from "./witness.ts";

const BUSY_MILLISECONDS = 5000;

const SCHEMA = `
CREATE TABLE IF NOT EXISTS heads (
  origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, checkpoint BLOB NOT NULL
) STRICT, WITHOUT ROWID;
`;

export class SqliteWitnessStore implements WitnessStore {
  readonly #db: DatabaseSync;

  /**
   * Opens or makes the store. Throws `malformed` for a file that is no such database.
   *
   * @param busyMilliseconds how long to wait for another process's transaction
   */
  constructor(path: string, busyMilliseconds: number = BUSY_MILLISECONDS) {
    this.#db = new DatabaseSync(path, { timeout: busyMilliseconds });
    try {
      // FULL, unlike a cache: a row that a power cut takes back is a history that can be cosigned twice.
      this.#db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
      this.#db.exec(SCHEMA);
    } catch (cause) {
      this.#db.close();
      throw new ExclaveError("malformed", `the witness's memory ${path} cannot be read`, { cause });
    }
  }

  close(): void {
    this.#db.close();
  }

  /**
   * Throws `malformed` when a row contradicts itself; a witness then cosigns nothing for that log. Errors
   * of SQLite, here and in `replace`, pass through: nothing was kept.
   */
  latest(origin: string): WitnessedHead | undefined {
    const row = this.#db
      .prepare("SELECT size, root, checkpoint FROM heads WHERE origin = ?")
      .get(origin);
    if (row === undefined) return undefined;
    const { size, root, checkpoint } = row;
    if (
      typeof size !== "number" ||
      !(root instanceof Uint8Array) ||
      !(checkpoint instanceof Uint8Array)
    )
      throw new ExclaveError("malformed", `what the witness remembers of ${origin} is damaged`);
    const head = { origin, size, root };
    if (!isSameTreeHead(parseTreeHead(parseNote(checkpoint).text), head))
      throw new ExclaveError("malformed", `what the witness remembers of ${origin} is damaged`);
    return { head, checkpoint };
  }

  replace(expected: TreeHead | undefined, { head, checkpoint }: WitnessedHead): boolean {
    const { origin, size, root } = head;
    return transaction(this.#db, () => {
      const kept = this.latest(origin)?.head;
      const unchanged =
        kept === undefined || expected === undefined
          ? kept === expected
          : isSameTreeHead(kept, expected);
      if (unchanged)
        this.#db
          .prepare("INSERT OR REPLACE INTO heads VALUES (?, ?, ?, ?)")
          .run(origin, size, root, checkpoint);
      return unchanged;
    });
  }
}
