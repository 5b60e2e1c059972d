/**
 * Proofs for people outside: that a recovery point was in the State's ledger, in one file that anybody verifies
 * with the State's policy and no network (C2SP tlog-proof and tlog-policy).
 */
import type { Charter } from "../charter/charter.ts";
import { toHex } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { ExclaveError, invariant, isExclaveError } from "../errors.ts";
import { verifyCheckpoint } from "../ledger/checkpoint.ts";
import { cosignedSeconds, type Witnesses } from "../ledger/cosigned-time.ts";
import {
  decodeLedgerEntry,
  encodeLedgerEntry,
  entryPrefix,
  type LedgerEntry,
} from "../ledger/entry.ts";
import { parseVerifierKey } from "../ledger/note.ts";
import {
  formatPolicy,
  POLICY_GROUPS_MAX,
  POLICY_WITNESSES_MAX,
  type Policy,
  parsePolicy,
} from "../ledger/policy.ts";
import {
  formatProof,
  PROOF_EXTRA_BYTES_MAX,
  type ProvenEntry,
  parseProof,
  verifyProof,
} from "../ledger/proof.ts";
import type { Home } from "../vault/home.ts";
import { type Generation, witnessesOf } from "../vault/known-state.ts";

/** The quorum that asks for nobody, as C2SP calls it. */
const NO_QUORUM = "none";

export type Proof = {
  /** The proof; it carries the statement when that is small enough. */
  readonly proof: Uint8Array;
  readonly carriesStatement: boolean;
  /** Who is to be believed of the generation that the statement is in. */
  readonly policy: Uint8Array;
  readonly generation: number;
  readonly position: number;
  readonly size: number;
};

/** Proves that the ledger has a statement, under its newest checkpoint. Throws `not-found` when it has not. */
export async function proveStatement(home: Home, envelope: Uint8Array): Promise<Proof> {
  const entry = statementEntry(envelope);
  return home.withGenerations((generations) => {
    for (const [i, generation] of [...generations.entries()].toReversed()) {
      const position = generation.log.find(entry);
      if (position === undefined) continue;
      const charter = lastCharterOf(home, i + 1);
      const checkpoint = newestCovering(generation, position, witnessesOf(charter));
      if (!checkpoint) continue;
      const carriesStatement = envelope.byteLength <= PROOF_EXTRA_BYTES_MAX;
      const proof = formatProof({
        ...parseProof(generation.log.prove(position, checkpoint)),
        extra: carriesStatement ? envelope : encodeLedgerEntry(entry),
      });
      const { size } = verifyCheckpoint(checkpoint, generation.log.keys).head;
      const policy = policyOf(charter.ledger);
      return { proof, carriesStatement, policy, generation: i + 1, position, size };
    }
    throw new ExclaveError(
      "not-found",
      "no checkpoint of the ledger covers this recovery point, so nothing proves it. A recovery point that was set aside has no proof; for any other, run `exclave protect` and try again",
    );
  });
}

/** The newest checkpoint that covers a position and counts. */
function newestCovering(
  { log, closedAt }: Generation,
  position: number,
  witnesses: Witnesses,
): Uint8Array | undefined {
  const counts = (checkpoint: Uint8Array): boolean =>
    cosignedSeconds(checkpoint, log.keys, witnesses) !== undefined;
  const end = closedAt ?? log.size;
  const latest = log.latest();
  if (latest && latest.size > position && latest.size <= end && counts(latest.checkpoint)) {
    return latest.checkpoint;
  }
  let newest: Uint8Array | undefined;
  for (const { checkpoint } of log.checkpointsBetween(position + 1, end)) {
    if (counts(checkpoint)) newest = checkpoint;
  }
  return newest;
}

/** The last charter of a generation: it says who is to be believed of that ledger. */
function lastCharterOf(home: Home, generation: number): Charter {
  const { history } = home.known.history;
  const last = history.findLast(({ charter }) => charter.ledger.generation === generation);
  invariant(last, "a generation begins with a charter");
  return last.charter;
}

/**
 * The policy that says what a charter says: both keys of the log, and the quorum of witnesses, each of which
 * counts with any of its keys.
 */
function policyOf(ledger: Charter["ledger"]): Uint8Array {
  const witnesses = ledger.witnesses.flatMap(({ name, keys }) =>
    keys.map((key, i) => ({ name: `${name}/${i + 1}`, key: parseVerifierKey(key) })),
  );
  const each = ledger.witnesses.map(({ name, keys }) => ({
    name: `${name}/any`,
    threshold: 1,
    members: keys.map((_, i) => `${name}/${i + 1}`),
  }));
  const isAsked = ledger.quorum > 0;
  const quorum = {
    name: "quorum",
    threshold: ledger.quorum,
    members: each.map(({ name }) => name),
  };
  const groups = isAsked ? [...each, quorum] : [];
  if (witnesses.length > POLICY_WITNESSES_MAX || groups.length > POLICY_GROUPS_MAX) {
    throw new ExclaveError(
      "usage",
      "this State has more witnesses than a policy file can name. Nothing was written",
    );
  }
  return formatPolicy({
    logs: ledger.keys.map((key) => ({ key: parseVerifierKey(key) })),
    witnesses,
    groups,
    quorum: isAsked ? quorum.name : NO_QUORUM,
  });
}

export type VerifiedProof = ProvenEntry & {
  readonly entry: LedgerEntry;
  /** The statement, when the proof or the caller has it. */
  readonly statement?: Uint8Array;
  readonly policy: Policy;
};

/**
 * Verifies a proof, with nothing but a policy and, where the proof does not carry it, the statement.
 *
 * @throws ExclaveError as `verifyProof` does, and `malformed` for a proof that carries nothing of ours
 */
export function verifyStatementProof(
  proof: Uint8Array,
  policyText: Uint8Array,
  given?: Uint8Array,
): VerifiedProof {
  const policy = parsePolicy(policyText);
  const { extra } = parseProof(proof);
  const carried = extra && carriedEntry(extra);
  const statement = given ?? (carried ? undefined : extra);
  const entry = statement ? statementEntry(statement) : carried;
  if (!entry) {
    throw new ExclaveError(
      "malformed",
      "the proof does not say of what it is one. Give the statement with --statement FILE",
    );
  }
  const proven = verifyProof(proof, encodeLedgerEntry(entry), policy);
  return { ...proven, entry, policy, ...(statement ? { statement } : {}) };
}

function statementEntry(envelope: Uint8Array): LedgerEntry {
  return { kind: "statement", envelope: toHex(sha256(envelope)) };
}

/** The entry of a statement that was too large to be carried. */
function carriedEntry(extra: Uint8Array): LedgerEntry | undefined {
  if (!Buffer.from(extra).toString("latin1").startsWith(entryPrefix("statement"))) return undefined;
  try {
    return decodeLedgerEntry(extra);
  } catch (error) {
    if (!isExclaveError(error, "malformed")) throw error;
    return undefined;
  }
}
