/**
 * A State as its sites tell it, for who has nothing but its id: the founding charter, which has that id as its
 * hash; the ledger's generations, each to the largest checkpoint that a site confirms; and every document that
 * they name. Nothing is believed before all of it fits.
 */

import { readCharter } from "../charter/charter.ts";
import { openPaper } from "../charter/decision.ts";
import type { Succession } from "../charter/succession.ts";
import { toHex } from "../crypto/bytes.ts";
import { envelopeId } from "../crypto/dsse.ts";
import { ExclaveError, invariant, isExclaveError } from "../errors.ts";
import { GOVERNING_KINDS } from "../ledger/entry.ts";
import { agreeOnHead, type HeadAnswer } from "../ledger/freshness.ts";
import { catchUp, gatherCheckpoints, headsAt } from "../ledger/from-sites.ts";
import { Log } from "../ledger/log.ts";
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
  witnessesOf,
} from "../vault/known-state.ts";
import { documentIds, fetchDocument } from "../vault/site-documents.ts";

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
  const documents = new Map<string, Uint8Array>();
  const documentOf = (kind: GoverningKind, id: string): Uint8Array => {
    const bytes = documents.get(`${kind}/${id}`);
    invariant(bytes, "documents were fetched before they are asked for");
    return bytes;
  };
  const generations: Generation[] = [];
  const keys: LedgerVerifierKeys[] = [ledgerKeysOf(readCharter(founding).charter.ledger)];
  try {
    for (;;) {
      const [generation, answers] = await readGeneration(
        home,
        generations.length + 1,
        keys,
        places,
      );
      generations.push(generation);
      await fetchDocuments(home, generation, places, documents);
      // Times are told by cosigned checkpoints, and whose cosignatures count, the charters say.
      const sites = places.map(({ site }) => site);
      await gatherCheckpoints(generation.log, sites, witnessesIn(documents));
      const known = knowState(founding, generations, documentOf, new Date());
      const next = await successionAfter(known, generation.log, places, onNotice);
      if (!next || generations.length >= GENERATIONS_MAX) {
        return { known, generations, keys, answers };
      }
      generations.splice(-1, 1, { log: generation.log, closedAt: next.closes.size });
      keys.push(ledgerKeysOf(next.ledger));
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

async function readGeneration(
  home: string,
  number: number,
  keys: readonly LedgerVerifierKeys[],
  places: readonly OpenPlace[],
): Promise<readonly [Generation, readonly HeadAnswer[]]> {
  const own = keys[number - 1];
  invariant(own, "each generation has its keys");
  const answers = await headsAt(places, own);
  // Whether so many answered that nothing newer is hidden is asked when it is known who there is to ask.
  const agreed = agreeOnHead(answers, { demands: [], acceptStale: true });
  const log = Log.open(ledgerFile(home, number), own);
  try {
    const sites = places.map(({ site }) => site);
    await catchUp(log, agreed.signed, sites, agreed.earlier);
  } catch (error) {
    log.close();
    throw error;
  }
  return [{ log }, answers];
}

async function fetchDocuments(
  home: string,
  { log }: Generation,
  places: readonly OpenPlace[],
  documents: Map<string, Uint8Array>,
): Promise<void> {
  for (const { kind, envelope } of log.entriesOf(GOVERNING_KINDS)) {
    const bytes = await fetchDocument(
      places,
      kind as GoverningKind,
      parseId("DocumentId", envelope),
    );
    await saveDocument(home, kind as GoverningKind, envelope, bytes);
    documents.set(`${kind}/${envelope}`, bytes);
  }
}

/** The succession that closed a ledger, when its next generation has begun; of several the last. */
async function successionAfter(
  { id, charter, recoverySigning }: KnownState,
  log: Log,
  places: readonly OpenPlace[],
  onNotice: (notice: string) => void,
): Promise<Succession | undefined> {
  // Of the charter in force where the ledger ends: a key that was replaced closes nothing.
  const trusted = new Map([[recoverySigning.id, recoverySigning]]);
  const begun: Succession[] = [];
  for (const object of await documentIds(places, "succession")) {
    try {
      const bytes = await fetchDocument(places, "succession", object);
      invariant(envelopeId(bytes) === object, "a document has the hash that it was fetched by");
      const { paper } = openPaper("succession", bytes, id, trusted);
      if (paper.ledger.generation !== charter.ledger.generation + 1) continue;
      if (!closes(log, paper)) {
        onNotice(
          `succession/${object} was left out: it closes a ledger that these sites do not have`,
        );
        continue;
      }
      const heads = await headsAt(places, ledgerKeysOf(paper.ledger));
      if (heads.some((one) => "signed" in one && one.signed)) begun.push(paper);
    } catch (error) {
      if (!isExclaveError(error) || error.code === "bug") throw error;
      onNotice(`succession/${object} was left out: ${error.message}`);
    }
  }
  if (begun.length > 1) {
    onNotice(
      `the recovery key was used ${begun.length} times on one ledger: of the homes that came of it, only the last one counts`,
    );
  }
  const order = (one: Succession): string => `${one.time} ${one.random}`;
  return begun.toSorted((a, b) => (order(a) < order(b) ? 1 : -1))[0];
}

function closes(log: Log, { closes: { origin, size, root } }: Succession): boolean {
  return log.keys[0].name === origin && size <= log.size && toHex(log.head(size).root) === root;
}
