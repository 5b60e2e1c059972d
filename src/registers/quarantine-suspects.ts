/** Sets aside what a revoked agent wrote since it is suspect, of the recovery points that home knows already. */
import { isExclaveError } from "../errors.ts";
import type { Catalog } from "../vault/catalog.ts";
import { openStatement } from "../vault/documents.ts";
import type { Home } from "../vault/home.ts";
import { statementTimes } from "../vault/known-state.ts";
import { suspicionOf } from "./import-snapshots.ts";

/**
 * Sets aside every recovery point in the catalog that a revoked agent signed, or that the ledger had, since its
 * suspect date: it is shown, and never restored by default. Returns how many there were. Costs nothing where no
 * agent was revoked.
 */
export async function quarantineSuspects(home: Home, catalog: Catalog): Promise<number> {
  const { known } = home;
  const suspects = [...known.agents].filter(([, { suspectFrom }]) => suspectFrom !== undefined);
  if (suspects.length === 0) return 0;
  const doubted = await home.withGenerations((generations) => {
    const loggedAt = statementTimes(generations, known);
    return catalog.registers().flatMap((register) =>
      catalog.snapshots(register).flatMap(({ id, envelope }) => {
        try {
          const { id: object, document } = openStatement(envelope, known);
          // What the ledger does not have in time, the statement's own time speaks for.
          const at = loggedAt(object) ?? new Date(document.time);
          const why = suspicionOf(known, document, at);
          return why === undefined ? [] : [{ id, why }];
        } catch (error) {
          if (!isExclaveError(error) || error.code === "bug") throw error;
          return [{ id, why: error.message }];
        }
      }),
    );
  });
  catalog.transaction(() => {
    for (const { id, why } of doubted) catalog.quarantine(id, why);
  });
  return doubted.length;
}
