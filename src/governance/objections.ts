/**
 * Vetoes and freezes count on delivery to any site. Home takes those that its sites have been given into the ledger,
 * before it lets anything take effect.
 */
import { keysFor } from "../charter/assess.ts";
import { openPaper } from "../charter/decision.ts";
import { isExclaveError } from "../errors.ts";
import type { Home } from "../vault/home.ts";
import type { SitePlace } from "../vault/open-sites.ts";
import { documentIds, fetchDocument } from "../vault/site-documents.ts";
import { object } from "./decide.ts";

/** More than people sign; what is beyond waits for the next time. */
const TAKEN_AT_ONCE_MAX = 1000;

/** Takes in what the sites have and the ledger has not. Returns how many came in. */
export async function takeObjections(
  home: Home,
  places: readonly SitePlace[],
  now: Date,
): Promise<number> {
  let taken = 0;
  for (const kind of ["veto", "freeze"] as const) {
    const named = new Set(
      await home.withLedger((log) => [...log.entriesOf([kind])].map(({ envelope }) => envelope)),
    );
    for (const id of await documentIds(places, kind)) {
      if (named.has(id) || taken >= TAKEN_AT_ONCE_MAX) continue;
      try {
        const envelope = await fetchDocument(places, kind, id);
        openPaper(kind, envelope, home.state, keysFor([home.charter]));
        await object(home, kind, envelope, now);
        taken++;
      } catch (error) {
        // Signed by nobody who has a seat now, or damaged: it counts for nothing.
        if (!isExclaveError(error) || error.code === "bug") throw error;
      }
    }
  }
  return taken;
}
