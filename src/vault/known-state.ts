/**
 * A State as this machine knows it: the charter in force and how it came about, replayed from the founding
 * charter and what the ledger holds. Whoever writes to or reads from a site asks it who may have signed what.
 */
import { type Charter, readCharter, type StoredCharter } from "../charter/charter.ts";
import { type History, type HistoryEntry, replay } from "../charter/history.ts";
import { fromBase64, toHex } from "../crypto/bytes.ts";
import { type PublicSigningKey, parseSigningPublicKey } from "../crypto/signing.ts";
import { ExclaveError, invariant } from "../errors.ts";
import { GOVERNING_KINDS, type RECORD_KINDS } from "../ledger/entry.ts";
import type { Log } from "../ledger/log.ts";
import type { LedgerVerifierKeys } from "../ledger/log-key.ts";
import { parseVerifierKey } from "../ledger/note.ts";
import { parseId, type StateId } from "./identifiers.ts";

export type KnownAgent = {
  readonly key: PublicSigningKey;
  readonly term: number;
  /** Pseudonyms of the registers that it may write; all of them when empty. */
  readonly registers: readonly string[];
  /** What the ledger had of it from then on is set aside. */
  readonly suspectFrom?: Date;
};

export type KnownState = {
  readonly id: StateId;
  /** In force. */
  readonly charter: Charter;
  /** SHA-256 of its payload. */
  readonly charterId: string;
  readonly history: History;
  /** Every agent that there ever was, by key id; what one signed also has to fit its term. */
  readonly agents: ReadonlyMap<string, KnownAgent>;
  readonly recoverySigning: PublicSigningKey;
};

/** The kinds of entries that the charter follows from. */
export type GoverningKind = (typeof GOVERNING_KINDS)[number];
export type RecordKind = (typeof RECORD_KINDS)[number];
/** What the ledger names and home keeps; statements are in the catalog. */
export type LedgerDocumentKind = GoverningKind | RecordKind;

/** One generation of the ledger, as far as it counts. */
export type Generation = {
  readonly log: Log;
  /** Where the next generation closed it; the newest is open. */
  readonly closedAt?: number;
};

/**
 * Replays the ledger's generations, the first one first.
 *
 * @param founding payload of the founding charter, whose SHA-256 is the State's id
 * @param document the document that an entry names. It throws when it has none: to go on without a veto
 *   would let whoever hides it decide
 * @param uncoveredAt for who asks what would follow: when entries count that too few witnesses have cosigned yet
 */
export function knowState(
  founding: Uint8Array,
  generations: readonly Generation[],
  document: (kind: GoverningKind, id: string) => Uint8Array,
  now: Date,
  uncoveredAt?: Date,
): KnownState {
  const first = readCharter(founding);
  const entries: HistoryEntry[] = [];
  for (const [i, { log, closedAt }] of generations.entries()) {
    for (const { position, kind, envelope } of log.entriesOf(GOVERNING_KINDS)) {
      if (closedAt !== undefined && position >= closedAt) break;
      const bytes = document(kind as GoverningKind, envelope);
      const at = (charter: Charter): Date | undefined =>
        log.coveredAt(position, witnessesOf(charter)) ??
        (i > 0 && position <= SUCCESSION_ENTRIES_LAST
          ? log.coveredAt(position, NO_WITNESSES)
          : undefined) ??
        uncoveredAt;
      entries.push({ kind: kind as GoverningKind, bytes, position, generation: i + 1, at });
    }
  }
  const history = replay(first, first.id, entries, {
    hadCheckpoint: (checkpoint) => hadCheckpoint(generations, checkpoint),
    now,
  });
  return knownStateOf(first, history);
}

/**
 * A generation begins with its succession, and the charter that follows. They count from the log's own time while
 * witnesses have not cosigned them: these only know the next ledger when it has been begun.
 */
const SUCCESSION_ENTRIES_LAST = 1;
const NO_WITNESSES = { witnesses: [], quorum: 0 };

/** Whether any generation of the ledger once had this checkpoint. */
export function hadCheckpoint(
  generations: readonly Generation[],
  { size, root }: { readonly size: number; readonly root: string },
): boolean {
  return generations.some(({ log }) => size <= log.size && toHex(log.head(size).root) === root);
}

/** What follows from a history that was replayed. */
function knownStateOf(founding: StoredCharter, history: History): KnownState {
  const current = history.history.at(-1);
  invariant(current, "a State has a charter");
  const { charter } = current;
  return {
    id: parseId("StateId", founding.id),
    charter,
    charterId: current.id,
    history,
    agents: new Map(
      charter.agents.map(({ signing, term, registers, suspectFrom }) => {
        const key = parseSigningPublicKey(fromBase64(signing));
        const suspect = suspectFrom === undefined ? {} : { suspectFrom: new Date(suspectFrom) };
        return [key.id, { key, term, registers, ...suspect }] as const;
      }),
    ),
    recoverySigning: parseSigningPublicKey(fromBase64(charter.recovery.signing)),
  };
}

/** The witnesses that must have seen what counts, as the ledger's code wants them. */
export function witnessesOf({ ledger }: Charter) {
  return {
    witnesses: ledger.witnesses.map(({ name, keys }) => ({
      name,
      keys: keys.map(parseVerifierKey),
    })),
    quorum: ledger.quorum,
  };
}

/** The two keys that sign a ledger's checkpoints, of their texts. */
export function ledgerKeysOf({ keys }: { readonly keys: readonly string[] }): LedgerVerifierKeys {
  const [ed25519, mlDsa44] = keys.map(parseVerifierKey);
  if (!ed25519 || !mlDsa44) throw new ExclaveError("malformed", "a ledger has two keys");
  return [ed25519, mlDsa44];
}

/** When the ledger had a statement, by its object's id: undefined for one that it has not, or not in time. */
export function statementTimes(
  generations: readonly Generation[],
  { charter, history }: KnownState,
): (statement: string) => Date | undefined {
  // Witnesses that came later have not seen a ledger that was closed before.
  const lastOf = generations.map((_, i) =>
    history.history.findLast((one) => one.charter.ledger.generation === i + 1),
  );
  return (statement) => {
    for (const [i, { log, closedAt }] of [...generations.entries()].toReversed()) {
      const position = log.find({ kind: "statement", envelope: statement });
      if (position === undefined || position >= (closedAt ?? Number.POSITIVE_INFINITY)) continue;
      return log.coveredAt(position, witnessesOf(lastOf[i]?.charter ?? charter));
    }
    return undefined;
  };
}
