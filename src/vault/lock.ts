/** One writer at a time: for a register, and for what the State decides. */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { ExclaveError } from "../errors.ts";
import type { Home } from "./home.ts";
import type { RegisterId } from "./identifiers.ts";

/** How long one command waits for another that decides something. */
const STATE_WAIT_MILLISECONDS = 10_000;

/**
 * Takes the register's lock; the returned function gives it back. SQLite's file lock belongs to the
 * process, so the system takes it back however the process ends, and no lock is ever left behind.
 * Throws `busy` when another process has it.
 */
export function lockRegister(home: Home, register: RegisterId, name: string): () => void {
  return lock(home.path, register, 0, `register "${name}"`);
}

/** Takes the lock of what changes the charter or the configuration; waits for it a while. Throws `busy`. */
export function lockState(home: Home): () => void {
  return lock(home.path, "state", STATE_WAIT_MILLISECONDS, "the State's decisions");
}

/** Takes the lock of one change to config.json, which takes no longer than to write it; waits for it. Throws `busy`. */
export function lockConfig(home: string): () => void {
  return lock(home, "config", STATE_WAIT_MILLISECONDS, "the configuration");
}

function lock(home: string, file: string, timeout: number, what: string): () => void {
  const db = new DatabaseSync(join(home, "locks", `${file}.sqlite`), { timeout });
  try {
    db.exec("BEGIN EXCLUSIVE");
  } catch (cause) {
    db.close();
    throw new ExclaveError(
      "busy",
      `another process is at work on ${what}. Nothing was changed; try again when it is done`,
      { cause },
    );
  }
  return () => db.close();
}
