/** The site as a witness of the ledgers that it follows (C2SP tlog-witness). docs/site-protocol.md, section 7. */
import { ExclaveError } from "../errors.ts";
import type { LedgerKey } from "../ledger/log-key.ts";
import type { VerifierKey } from "../ledger/note.ts";
import { addCheckpoint, type WitnessStore } from "../ledger/witness.ts";

/** What a ledger's State says of it. */
export type WitnessedLog = {
  readonly keys: readonly VerifierKey[];
  /** Whether the site stands by a checkpoint of so many entries. */
  mayCosign(size: number): "yes" | { readonly no: string };
  /** Follows what is stored by now. */
  follow(): Promise<void>;
};

export type SiteWitness = {
  readonly key: LedgerKey;
  readonly store: WitnessStore;
  /** By origin. */
  readonly logs: () => ReadonlyMap<string, WitnessedLog>;
  readonly now: () => Date;
};

export type WitnessAnswer = {
  readonly status: number;
  readonly contentType: string;
  readonly body: Uint8Array;
};

const TEXT = "text/plain; charset=utf-8";

/** Answers a request, with the status and the body that C2SP has. Throws `site-unavailable` when it holds back. */
export async function witnessAnswer(
  witness: SiteWitness,
  body: Uint8Array,
): Promise<WitnessAnswer> {
  try {
    return answerOnce(witness, body);
  } catch (error) {
    if (!(error instanceof HeldBack)) throw error;
    // What it has not followed may be here already.
    await error.log.follow();
    return answerOnce(witness, body);
  }
}

function answerOnce({ key, store, logs, now }: SiteWitness, body: Uint8Array): WitnessAnswer {
  const known = logs();
  const guarded: WitnessStore = {
    latest: (origin) => store.latest(origin),
    // Only now it is certain that the log signed it, so strangers learn nothing and start nothing.
    replace: (expected, next) => {
      const log = known.get(next.head.origin);
      const may = log?.mayCosign(next.head.size) ?? { no: "the ledger is not known" };
      if (may !== "yes") throw new HeldBack(may.no, log);
      return store.replace(expected, next);
    },
  };
  const keys = new Map([...known].map(([origin, log]) => [origin, log.keys]));
  const seconds = Math.floor(now().getTime() / 1000);
  const result = addCheckpoint({ key, logs: keys, store: guarded }, body, seconds);
  if (result.status === 200) {
    return { status: 200, contentType: TEXT, body: result.cosignatures };
  }
  if (result.status === 409) {
    return {
      status: 409,
      contentType: "text/x.tlog.size",
      body: Buffer.from(`${result.size}\n`),
    };
  }
  return {
    status: result.status,
    contentType: TEXT,
    body: Buffer.from(`${result.error.message}\n`),
  };
}

class HeldBack extends ExclaveError {
  readonly log: Pick<WitnessedLog, "follow">;

  constructor(why: string, log: Pick<WitnessedLog, "follow"> | undefined) {
    super("site-unavailable", why);
    this.log = log ?? { follow: () => Promise.resolve() };
  }
}
