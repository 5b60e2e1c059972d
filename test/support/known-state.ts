/** A State as it is known, with keys of a test's own: its charter is the one of charter.ts with these in it. */
import { type Charter, type StoredCharter, writeCharter } from "../../src/charter/charter.ts";
import { toBase64 } from "../../src/crypto/bytes.ts";
import type { SigningKey } from "../../src/crypto/signing.ts";
import { ExclaveError } from "../../src/errors.ts";
import { type KnownState, knowState } from "../../src/vault/known-state.ts";
import type { RecoveryKey } from "../../src/vault/recovery-key.ts";
import { founding, NOW } from "./charter.ts";

type TestAgent = {
  readonly key: SigningKey;
  readonly term: number;
  /** All of them unless told otherwise. */
  readonly registers?: readonly string[];
  readonly suspectFrom?: string;
};

/** A founding charter with these keys; the last agent's term is the current one. */
function charterWith(
  recovery: RecoveryKey,
  agents: readonly TestAgent[],
  changes: Partial<Charter> = {},
): StoredCharter {
  const { charter } = founding;
  return writeCharter({
    ...charter,
    term: agents.at(-1)?.term ?? 1,
    recovery: {
      ...charter.recovery,
      kem: toBase64(recovery.kem.publicKey),
      signing: toBase64(recovery.signing.publicKey.bytes),
    },
    agents: agents.map(({ key, term, registers = [], suspectFrom }) => ({
      signing: toBase64(key.publicKey.bytes),
      term,
      registers: [...registers],
      quotaBytesPerDay: 1e12,
      quotaObjectsPerDay: 1e6,
      ...(suspectFrom === undefined ? {} : { suspectFrom }),
    })),
    ...changes,
  });
}

/** The State that such a charter founds, with a ledger that holds nothing yet. */
export function knownStateWith(
  recovery: RecoveryKey,
  agents: readonly TestAgent[],
  changes: Partial<Charter> = {},
): KnownState {
  const { payload } = charterWith(recovery, agents, changes);
  return knowState(payload, [], noDocument, NOW);
}

function noDocument(): never {
  throw new ExclaveError("bug", "an empty ledger names no document");
}
