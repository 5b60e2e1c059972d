import type { DatabaseSync } from "node:sqlite";

/**
 * Runs `work` in one transaction: all of what it does to the database or, when it throws, nothing. It takes
 * the write lock at once: two that first read and then both want to write would fail instead of wait.
 */
export function transaction<T>(db: DatabaseSync, work: () => T): T {
  db.exec("BEGIN IMMEDIATE");
  try {
    const result = work();
    db.exec("COMMIT");
    return result;
  } catch (error) {
    db.exec("ROLLBACK");
    throw error;
  }
}
