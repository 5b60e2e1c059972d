/** `found`: makes a State: its recovery key, its founding charter, the beginning of its ledger, its home. */
import { randomBytes } from "node:crypto";
import { type Charter, momentOf, type StoredCharter, writeCharter } from "../charter/charter.ts";
import { constitutionOf } from "../charter/presets.ts";
import { toBase64, toHex, wipe } from "../crypto/bytes.ts";
import { signingKeyFromSeed } from "../crypto/signing.ts";
import { splitSecret } from "../custody/share-set.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { Log } from "../ledger/log.ts";
import { type LedgerKey, logKeyFromSeed, verifierKeysOf } from "../ledger/log-key.ts";
import { formatVerifierKey } from "../ledger/note.ts";
import { documentRandom } from "../vault/documents.ts";
import {
  Home,
  ledgerFile,
  prepareHome,
  refuseExistingHome,
  saveAnnex,
  saveDocument,
} from "../vault/home.ts";
import { writeKeyFile } from "../vault/key-files.ts";
import {
  type ReaderKey,
  readerKeyFromSeed,
  recoveryKeyFromSeed,
  sealKey,
} from "../vault/recovery-key.ts";
import { digestOf, type People, peopleOf, personOf, sealAnnex } from "./annex.ts";

const YEAR_SECONDS = 365 * 86_400;
/** A seat's end, and a charter's review, when nobody says otherwise. */
const TRIAL_YEARS = 10;
/**
 * How long a register's epoch lasts, when nobody says otherwise: as long as key holders go between checks, who
 * are to see that the recovery key opens each new one.
 */
export const REGISTER_EPOCH_SECONDS = 365 * 86_400;
/** ISO 3166 leaves these letters to its users: a State that did not say where it is. */
const NOWHERE = "ZZ";
const FOUNDER = "Founder";

/** An agent of a State that has said nothing about how much it may write. */
export const AGENT_QUOTA = { quotaBytesPerDay: 2 ** 50, quotaObjectsPerDay: 1e9 };

export type FoundOptions = {
  readonly home: string;
  readonly stateName: string;
  readonly passphrase: string;
  /** Where the recovery key goes; must not exist. */
  readonly recoveryKeyFile: string;
  /** Where a reader key goes, when one is wanted. */
  readonly readerKeyFile?: string;
  readonly now: Date;
  /** log2 of scrypt's N for the key files; age's own default when absent. */
  readonly workFactor?: number;
};

/**
 * Makes a trial State and its home: one person, one passphrase, no delays. Nothing is left behind when it
 * fails, but key files already written.
 */
export async function found(options: FoundOptions): Promise<Home> {
  const { stateName, now, passphrase } = options;
  await refuseExistingHome(options.home);
  const recovery = recoveryKeyFromSeed(randomBytes(32));
  const readerSeed = options.readerKeyFile === undefined ? undefined : randomBytes(32);
  const seatSeed = randomBytes(32);
  const people = peopleOf([FOUNDER]);
  const founder = personOf(people.salt, FOUNDER);
  const until = momentOf(new Date(now.getTime() + TRIAL_YEARS * YEAR_SECONDS * 1000));
  const constitution = constitutionOf(
    "trial",
    [
      {
        name: "founder",
        office: FOUNDER,
        institution: FOUNDER,
        jurisdiction: NOWHERE,
        until,
        people: [{ person: founder, key: publicKeyOf(seatSeed) }],
      },
    ],
    NOWHERE,
  );
  const set = splitSecret(recovery.seed, { k: 1, n: 1, generation: 1 }, randomBytes);
  for (const { share } of set.shares) wipe(share);
  const draft = draftState({
    stateName,
    now,
    constitution,
    recovery: {
      ...publicPartOf(recovery),
      shares: { ...set.publicPart, shareCommitments: [...set.publicPart.shareCommitments] },
      holders: [{ index: 0, office: FOUNDER, jurisdiction: NOWHERE, person: founder }],
    },
    people,
    ...(readerSeed ? { reader: publicPartOf(readerKeyFromSeed(readerSeed)) } : {}),
    releaseDelaySeconds: 0,
    retentionSeconds: 0,
  });
  const key = { stateName, state: draft.founding.id };
  // The key file first: a State whose recovery key was lost in a crash must not exist.
  await writeKeyFile(
    options.recoveryKeyFile,
    await sealKey("recovery-key", { ...key, seed: recovery.seed }, passphrase, options.workFactor),
  );
  if (readerSeed && options.readerKeyFile !== undefined) {
    await writeKeyFile(
      options.readerKeyFile,
      await sealKey("reader-key", { ...key, seed: readerSeed }, passphrase, options.workFactor),
    );
  }
  return createState(options.home, draft, { seatSeed, now });
}

/** The public halves of a recovery or reader key, as a charter has them. */
export function publicPartOf({ kem, signing }: ReaderKey) {
  return { kem: toBase64(kem.publicKey), signing: toBase64(signing.publicKey.bytes) };
}

function publicKeyOf(seed: Uint8Array): string {
  return toBase64(signingKeyFromSeed(seed).publicKey.bytes);
}

/** What a State begins with; its keys are drawn by `draftState`. */
export type StatePlan = {
  readonly stateName: string;
  readonly now: Date;
  readonly constitution: Charter["constitution"];
  readonly recovery: Charter["recovery"];
  readonly people: People;
  readonly reader?: NonNullable<Charter["reader"]>;
  readonly releaseDelaySeconds: number;
  /** How long what is stored is promised, and locked, by sites that do so. */
  readonly retentionSeconds: number;
};

/** A State that is about to be: its founding charter, and the secrets of its home. */
export type StateDraft = {
  readonly founding: StoredCharter;
  readonly people: People;
  readonly agentSeed: Uint8Array;
  readonly ledgerSeed: Uint8Array;
  readonly ledgerKey: LedgerKey;
};

/** Draws the keys of home and writes the founding charter. Throws `usage` for what no charter can say. */
export function draftState(plan: StatePlan): StateDraft {
  const { now, people } = plan;
  const [agentSeed, ledgerSeed] = [randomBytes(32), randomBytes(32)];
  const { ledgerKey, ledger } = newLedger(ledgerSeed, toHex(randomBytes(8)), 1);
  const agent = { signing: publicKeyOf(agentSeed), term: 1, registers: [], ...AGENT_QUOTA };
  const charter: Charter = {
    kind: "charter",
    format: 2,
    version: 1,
    name: plan.stateName,
    time: momentOf(now),
    random: documentRandom(),
    term: 1,
    review: momentOf(new Date(now.getTime() + TRIAL_YEARS * YEAR_SECONDS * 1000)),
    crypto: "exclave/v1",
    constitution: plan.constitution,
    recovery: plan.recovery,
    ...(plan.reader ? { reader: plan.reader } : {}),
    agents: [agent],
    sites: [],
    registers: [],
    ledger,
    retentionSeconds: plan.retentionSeconds,
    releaseDelaySeconds: plan.releaseDelaySeconds,
    annex: digestOf(people),
  };
  try {
    return { founding: writeCharter(charter), people, agentSeed, ledgerSeed, ledgerKey };
  } catch (cause) {
    if (!isExclaveError(cause, "malformed")) throw cause;
    throw new ExclaveError("usage", `no State can be founded so: ${cause.message}`, { cause });
  }
}

/** A generation of a State's ledger: its key, and what the charter says of it. */
export function newLedger(
  seed: Uint8Array,
  name: string,
  generation: number,
): { readonly ledgerKey: LedgerKey; readonly ledger: Charter["ledger"] } {
  const origin = `exclave/${name}/${generation}`;
  const ledgerKey = logKeyFromSeed(seed, origin);
  const keys = verifierKeysOf(ledgerKey).map(formatVerifierKey);
  return { ledgerKey, ledger: { origin, generation, keys, witnesses: [], quorum: 0 } };
}

/** Makes the home of a drafted State; the founding charter is the first entry of its ledger. */
export async function createState(
  path: string,
  draft: StateDraft,
  { seatSeed, now }: { readonly seatSeed?: Uint8Array; readonly now: Date },
): Promise<Home> {
  const { founding, ledgerKey } = draft;
  await prepareHome(path);
  await saveDocument(path, "charter", founding.id, founding.payload);
  const keys = verifierKeysOf(ledgerKey);
  const log = Log.open(ledgerFile(path, 1), keys, ledgerKey);
  try {
    log.append([{ kind: "charter", envelope: founding.id }]);
    log.sign(now);
  } finally {
    log.close();
  }
  const agent = signingKeyFromSeed(draft.agentSeed);
  const to = { state: founding.id, recovery: founding.charter.recovery };
  const annex = sealAnnex(draft.people, to, { agent, time: now });
  await saveAnnex(path, annex.id, annex.bytes);
  return Home.create(path, {
    config: {
      format: 2,
      state: founding.id,
      ledgers: [{ keys: keys.map(formatVerifierKey) }],
      inventory: [],
      sites: [],
      registers: [],
    },
    agentSeed: draft.agentSeed,
    ledgerSeed: draft.ledgerSeed,
    ...(seatSeed ? { seatSeed } : {}),
  });
}
