/** One writer at a time for a register. */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { ExclaveError } from "../errors.ts";
import type { Home } from "../vault/home.ts";
import type { RegisterId } from "../vault/identifiers.ts";

/**
 * Takes the register's lock; the returned function gives it back. SQLite's file lock belongs to the
 * process, so the system takes it back however the process ends, and no lock is ever left behind.
 * Throws `busy` when another process has it.
 */
export function lockRegister(home: Home, register: RegisterId, name: string): () => void {
  const db = new DatabaseSync(join(home.path, "locks", `${register}.sqlite`), { timeout: 0 });
  try {
    db.exec("BEGIN EXCLUSIVE");
  } catch (cause) {
    db.close();
    throw new ExclaveError(
      "busy",
      `another process is at work on register "${name}". Nothing was changed; try again when it is done`,
      { cause },
    );
  }
  return () => db.close();
}
