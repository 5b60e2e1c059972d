/** A home that was put back from a backup, or lost a file: its ledger and documents again, from the sites. */
import { isExclaveError } from "../errors.ts";
import { GOVERNING_KINDS, RECORD_KINDS } from "../ledger/entry.ts";
import { agreeOnHead } from "../ledger/freshness.ts";
import { catchUp, gatherCheckpoints, headsAt } from "../ledger/from-sites.ts";
import {
  type Home,
  identityOf,
  type MissingDocument,
  missingDocuments,
  saveDocument,
} from "../vault/home.ts";
import { parseId } from "../vault/identifiers.ts";
import { type LedgerDocumentKind, witnessesOf } from "../vault/known-state.ts";
import { isOpen, type SitePlace } from "../vault/open-sites.ts";
import { openAt, parseSiteAddress } from "../vault/site-address.ts";
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
  // Now it is known whose cosignatures tell the times, of decisions and of statements.
  const witnesses = home.known.history.history.map(({ charter }) => witnessesOf(charter));
  const kinds = [...GOVERNING_KINDS, "statement"] as const;
  const sites = open.map(({ site }) => site);
  if (added > 0) {
    await home.withLedger((log) => gatherCheckpoints(log, sites, witnesses, "branch", kinds));
    home.refresh();
  }
  return added;
}

/** A document is there, or is fetched; of records, from which nothing follows, one that no site has is missed. */
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
    const bytes = await fetchNamed(places, { kind, id });
    if (bytes) await home.saveDocument(kind, id, bytes);
  }
}

async function fetchNamed(
  places: readonly SitePlace[],
  { kind, id }: MissingDocument,
): Promise<Uint8Array | undefined> {
  try {
    return await fetchDocument(places, kind, parseId("DocumentId", id));
  } catch (error) {
    const isRecord = RECORD_KINDS.some((one) => one === kind);
    if (isRecord && isExclaveError(error, "not-found")) return undefined;
    throw error;
  }
}

/**
 * Fetches what a home that does not open has lost of its documents. Each is known by its hash, so that the sites
 * are believed in nothing, though nothing of the State can be read yet.
 */
export async function mendDocuments(path: string): Promise<void> {
  const { state, missing, sites } = await missingDocuments(path);
  if (missing.length === 0) return;
  const places: SitePlace[] = [];
  for (const config of sites) {
    try {
      // Each document is known by its hash: whoever answers at the address is believed in nothing.
      const { site } = await openAt(parseSiteAddress(config.at), {
        identity: identityOf(config),
        state,
      });
      places.push({ name: config.name, site });
    } catch (error) {
      if (!isExclaveError(error)) throw error;
      places.push({ name: config.name, problem: error.message });
    }
  }
  for (const one of missing) {
    const bytes = await fetchNamed(places, one);
    if (bytes) await saveDocument(path, one.kind, one.id, bytes);
  }
}
