/** A home that was put back from a backup, or lost a file: its ledger and documents again, from the sites. */
import { isExclaveError } from "../errors.ts";
import { GOVERNING_KINDS, RECORD_KINDS } from "../ledger/entry.ts";
import { agreeOnHead } from "../ledger/freshness.ts";
import { catchUp, headsAt } from "../ledger/from-sites.ts";
import type { Home } from "../vault/home.ts";
import { parseId } from "../vault/identifiers.ts";
import type { LedgerDocumentKind } from "../vault/known-state.ts";
import { isOpen, type SitePlace } from "../vault/open-sites.ts";
import { fetchDocument } from "../vault/site-documents.ts";

/**
 * Brings home's ledger to what the sites have of the open generation. Returns how many entries came in. Throws
 * `altered` when the two have forked; then nothing is changed.
 */
export async function catchUpHome(home: Home, places: readonly SitePlace[]): Promise<number> {
  const open = places.filter(isOpen);
  const added = await home.withLedger(async (log) => {
    const answers = await headsAt(open, log.keys);
    if (!answers.some((one) => "signed" in one && one.signed)) return 0;
    const { signed, earlier } = agreeOnHead(answers, { demands: [], acceptStale: true });
    const sites = open.map(({ site }) => site);
    const caughtUp = await catchUp(log, signed, sites, earlier);
    for (const { kind, envelope } of log.entriesOf([...GOVERNING_KINDS, ...RECORD_KINDS])) {
      await keepDocument(home, open, kind as LedgerDocumentKind, envelope);
    }
    return caughtUp.added;
  });
  home.refresh();
  return added;
}

async function keepDocument(
  home: Home,
  places: readonly SitePlace[],
  kind: LedgerDocumentKind,
  id: string,
): Promise<void> {
  try {
    home.document(kind, id);
  } catch (error) {
    if (!isExclaveError(error, "altered")) throw error;
    await home.saveDocument(kind, id, await fetchDocument(places, kind, parseId("DocumentId", id)));
  }
}
