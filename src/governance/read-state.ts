/**
 * A State as its sites tell it, for who has nothing but its id: the founding charter, which has that id as its
 * hash; the ledger's generations, each to where the next one closed it, and the newest to the largest checkpoint
 * that a site confirms; and every document that they name. Nothing is believed before all of it fits.
 */
import { readCharter } from "../charter/charter.ts";
import { ExclaveError, invariant, isExclaveError } from "../errors.ts";
import { GOVERNING_KINDS, RECORD_KINDS } from "../ledger/entry.ts";
import type { HeadAnswer } from "../ledger/freshness.ts";
import { gatherCheckpoints } from "../ledger/from-sites.ts";
import type { LedgerVerifierKeys } from "../ledger/log-key.ts";
import type { Site } from "../sites/site.ts";
import { ledgerFile, saveDocument } from "../vault/home.ts";
import { parseId } from "../vault/identifiers.ts";
import {
  type Generation,
  type GoverningKind,
  type KnownState,
  knowState,
  ledgerKeysOf,
  type RecordKind,
  witnessesOf,
} from "../vault/known-state.ts";
import { fetchDocument } from "../vault/site-documents.ts";
import { readGeneration } from "./branches.ts";

type OpenPlace = { readonly name: string; readonly site: Site };

export type ReadState = {
  readonly known: KnownState;
  /** Open; the caller closes their logs. */
  readonly generations: readonly Generation[];
  /** Keys of each generation. */
  readonly keys: readonly LedgerVerifierKeys[];
  /** What each site answered about the newest generation. */
  readonly answers: readonly HeadAnswer[];
};

/** Generations that a State can have had; more are a loop. */
const GENERATIONS_MAX = 1000;

/**
 * Reads the State into the folders of a home that is being made (`prepareHome`): ledgers and documents.
 *
 * @throws ExclaveError `untrusted` when no site has its founding charter, `site-unavailable` when none has its
 *   ledger, `altered` for a fork, `not-found` for a document that the ledger names and no site has
 */
export async function readState(
  home: string,
  state: string,
  places: readonly OpenPlace[],
  onNotice: (notice: string) => void,
): Promise<ReadState> {
  const founding = await fetchFounding(places, state);
  const sites = places.map(({ site }) => site);
  const documents = new Map<string, Uint8Array>();
  const documentOf = (kind: GoverningKind, id: string): Uint8Array => {
    const bytes = documents.get(`${kind}/${id}`);
    invariant(bytes, "documents were fetched before they are asked for");
    return bytes;
  };
  const generations: Generation[] = [];
  const keys: LedgerVerifierKeys[] = [];
  const know = async (last: Generation): Promise<KnownState> => {
    await fetchDocuments(home, last, places, documents);
    // Times are told by cosigned checkpoints, and whose cosignatures count, the charters say.
    await gatherCheckpoints(last.log, sites, witnessesIn(documents), "branch");
    return knowState(founding, [...generations, last], documentOf, new Date());
  };
  let { charter } = readCharter(founding);
  try {
    for (;;) {
      const own = ledgerKeysOf(charter.ledger);
      const file = ledgerFile(home, keys.length + 1);
      const source = { state, keys: own, file, charter, places, know, onNotice };
      const { generation, known, next, answers } = await readGeneration(source);
      generations.push(generation);
      keys.push(own);
      if (!next) return { known, generations, keys, answers };
      if (generations.length >= GENERATIONS_MAX) {
        throw new ExclaveError(
          "malformed",
          `the ledger has more than ${GENERATIONS_MAX} generations`,
        );
      }
      charter = { ...known.charter, ledger: next.ledger };
    }
  } catch (error) {
    for (const { log } of generations) log.close();
    throw error;
  }
}

function witnessesIn(documents: ReadonlyMap<string, Uint8Array>) {
  return [...documents].flatMap(([name, bytes]) => {
    if (!name.startsWith("charter/")) return [];
    try {
      return [witnessesOf(readCharter(bytes).charter)];
    } catch (error) {
      // What is no charter counts for nothing, when the ledger is replayed.
      if (!isExclaveError(error)) throw error;
      return [];
    }
  });
}

async function fetchFounding(places: readonly OpenPlace[], state: string): Promise<Uint8Array> {
  try {
    return await fetchDocument(places, "charter", parseId("DocumentId", state));
  } catch (cause) {
    if (!isExclaveError(cause, "not-found")) throw cause;
    throw new ExclaveError(
      "foreign-state",
      "none of these sites has the founding charter of this State: they are another State's, or damaged. Nothing was changed",
      { cause },
    );
  }
}

async function fetchDocuments(
  home: string,
  { log }: Generation,
  places: readonly OpenPlace[],
  documents: Map<string, Uint8Array>,
): Promise<void> {
  for (const { kind, envelope } of log.entriesOf(GOVERNING_KINDS)) {
    if (documents.has(`${kind}/${envelope}`)) continue;
    const bytes = await fetchDocument(
      places,
      kind as GoverningKind,
      parseId("DocumentId", envelope),
    );
    await saveDocument(home, kind as GoverningKind, envelope, bytes);
    documents.set(`${kind}/${envelope}`, bytes);
  }
  // Nothing follows from a record: one that no site has is missed, and stops nothing.
  for (const { kind, envelope } of log.entriesOf(RECORD_KINDS)) {
    try {
      const id = parseId("DocumentId", envelope);
      const bytes = await fetchDocument(places, kind as RecordKind, id);
      await saveDocument(home, kind as RecordKind, envelope, bytes);
    } catch (error) {
      if (!isExclaveError(error, "not-found")) throw error;
    }
  }
}
