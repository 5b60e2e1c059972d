/**
 * Has the ledger's newest checkpoint cosigned by the witnesses that the charter names (C2SP tlog-witness). A site that
 * enforces is a witness under its own name; it cosigns what it has followed, so it is asked after it has the entries.
 *
 * A witness can say anything with a status. Only what the State's ledger key has signed shows that there is another
 * history: then home stops. Else it goes on without the cosignature, and people hear what was said.
 */
import { fromUtf8 } from "../crypto/bytes.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import {
  checkpointName,
  JUNK_MAX,
  namedCheckpoints,
  readCheckpoint,
  type SignedHead,
} from "../ledger/at-sites.ts";
import { earliestCosignatures, verifyCheckpoint } from "../ledger/checkpoint.ts";
import type { Log } from "../ledger/log.ts";
import { parseNote, type VerifierKey } from "../ledger/note.ts";
import { parseDecimal } from "../ledger/text.ts";
import { shownHead, type TreeHead } from "../ledger/tree-head.ts";
import { formatAddCheckpoint } from "../ledger/witness.ts";
import { asEnforcing } from "../sites/enforcing.ts";
import type { RemoteSite, WitnessAnswer } from "../sites/remote.ts";
import type { Home } from "../vault/home.ts";
import { witnessesOf } from "../vault/known-state.ts";
import { isOpen, openSite, type SitePlace } from "../vault/open-sites.ts";
import { keepDoubts, readDoubts } from "./witness-doubts.ts";

/**
 * Questions to one witness: from the size that home knows of, and from each that the witness names. It names one when
 * its last answer was lost, and one more whenever another process has it cosign meanwhile.
 */
const ASKED_MAX = 8;
/** Entries before the newest, among which home looks for what a witness cosigned last. Beyond, the witness says it. */
const LOOKED_BACK_MAX = 4096;
const LOOKED_BACK_AT_ONCE = 64;
const SIZE_TYPE = "text/x.tlog.size";

export type Witnessed = {
  /** Witnesses that have cosigned it by now, by name. */
  readonly by: readonly string[];
  /** Why others have not. */
  readonly failures: ReadonlyMap<string, string>;
  /** The checkpoint with new cosignatures, and its name at a site; undefined when none came in. */
  readonly cosigned?: { readonly name: string; readonly checkpoint: Uint8Array };
};

type Witness = ReturnType<typeof witnessesOf>["witnesses"][number];

/** What came of asking one witness: cosignature lines, or one of the others. */
type Answer = {
  readonly lines?: Uint8Array;
  /** Why it did not cosign. */
  readonly why?: string;
  /** What it says against the ledger and does not show; also beside lines. */
  readonly doubt?: string;
  /** That its site shows another history. */
  readonly fork?: ExclaveError;
};

/**
 * Asks every witness that has not cosigned the newest checkpoint, and keeps what they sign, and what they say against
 * the ledger. Throws `altered`, naming both heads, when the site of one shows another history, signed by the ledger's
 * key: then nothing more is to be signed.
 */
export async function askWitnesses(
  home: Home,
  places: readonly SitePlace[],
): Promise<Witnessed | undefined> {
  const { witnesses } = witnessesOf(home.charter);
  if (witnesses.length === 0) return undefined;
  return home.withLedger(async (log) => {
    const signed = newestOf(log);
    if (!signed) return undefined;
    const { head } = signed;
    const left = witnesses.filter(({ keys }) => !isCosigned(signed.checkpoint, keys));
    const answers = new Map(
      await Promise.all(
        left.map(async (witness) => {
          const open = () => openWitness(home, places, witness.name);
          const answer = await askOne(log, signed, witness, open);
          return [witness.name, keepLines(log, head, witness, answer)] as const;
        }),
      ),
    );
    await noteDoubts(home, answers);
    for (const { fork } of answers.values()) if (fork) throw fork;
    const failures = new Map<string, string>();
    for (const [name, { lines, why, doubt }] of answers) {
      if (!lines) failures.set(name, why ?? doubt ?? "it said nothing");
    }
    const by = witnesses.map(({ name }) => name).filter((name) => !failures.has(name));
    const checkpoint = log.checkpoint(head.size) ?? signed.checkpoint;
    if (Buffer.compare(checkpoint, signed.checkpoint) === 0) return { by, failures };
    return { by, failures, cosigned: { name: checkpointName(head, checkpoint), checkpoint } };
  });
}

/** The answer when its lines are good and kept; else why they are not. */
function keepLines(log: Log, head: TreeHead, { keys }: Witness, answer: Answer): Answer {
  if (!answer.lines) return answer;
  try {
    log.addCosignatures(head.size, answer.lines, keys);
    return answer;
  } catch (error) {
    if (!isExclaveError(error) || error.code === "bug") throw error;
    return { why: error.message };
  }
}

/** A doubt stays until the witness says another one, or cosigns and says none. */
async function noteDoubts(home: Home, answers: ReadonlyMap<string, Answer>): Promise<void> {
  const before = await readDoubts(home);
  const doubts = new Map(before);
  for (const [name, { lines, doubt }] of answers) {
    if (doubt !== undefined) doubts.set(name, doubt);
    else if (lines) doubts.delete(name);
  }
  const isSame =
    doubts.size === before.size && [...doubts].every(([name, says]) => before.get(name) === says);
  if (!isSame) await keepDoubts(home, doubts);
}

/** What people are to see to, in sentences: what witnesses say against the ledger, and that too few cosigned it. */
export async function witnessNeeds(home: Home): Promise<readonly string[]> {
  const tooFew = await tooFewWitnesses(home);
  return [...(await readDoubts(home)).values(), ...(tooFew === undefined ? [] : [tooFew])];
}

/** That too few witnesses have cosigned the ledger's newest checkpoint, in a sentence; undefined when enough have. */
async function tooFewWitnesses(home: Home): Promise<string | undefined> {
  const { witnesses, quorum } = witnessesOf(home.charter);
  if (quorum === 0) return undefined;
  const checkpoint = await home.withLedger((log) => log.latest()?.checkpoint);
  if (!checkpoint) return undefined;
  const missing = witnesses.filter(({ keys }) => !isCosigned(checkpoint, keys));
  const by = witnesses.length - missing.length;
  if (by >= quorum) return undefined;
  const names = missing.map(({ name }) => name).join(", ");
  return `${by} of the ${quorum} witnesses that must have cosigned the newest of the ledger (${names} did not): before that no decision in it takes effect. Whatever runs next asks them again`;
}

function newestOf(log: Log): SignedHead | undefined {
  const latest = log.latest();
  return (
    latest && {
      head: verifyCheckpoint(latest.checkpoint, log.keys).head,
      checkpoint: latest.checkpoint,
    }
  );
}

/** A witness may be a site that the caller has nothing else to do with. */
async function openWitness(
  home: Home,
  places: readonly SitePlace[],
  name: string,
): Promise<RemoteSite> {
  const place = places.find((one) => one.name === name);
  if (place && !isOpen(place)) throw new ExclaveError("site-unavailable", place.problem);
  const config = home.config.sites.find((site) => site.name === name);
  const site = place ? place.site : config && (await openSite(config, home));
  if (!site)
    throw new ExclaveError("site-unavailable", `home does not know where witness ${name} is`);
  const witness = asEnforcing(site);
  if (witness) return witness;
  throw new ExclaveError("site-unavailable", `site ${name} only stores, and cosigns nothing`);
}

async function askOne(
  log: Log,
  signed: SignedHead,
  witness: Witness,
  open: () => Promise<RemoteSite>,
): Promise<Answer> {
  try {
    return await askUntilItSays(log, signed, witness, await open());
  } catch (error) {
    if (!isExclaveError(error) || error.code === "bug") throw error;
    return { why: error.message };
  }
}

/**
 * Asks from the size that the witness cosigned last, as home has it, and from each that it names: 409 is the answer to
 * any other, and, from the very size of the checkpoint, to another root. 422 is the answer to a proof that does not
 * hold for what it has.
 */
async function askUntilItSays(
  log: Log,
  { head, checkpoint }: SignedHead,
  { name, keys }: Witness,
  site: RemoteSite,
): Promise<Answer> {
  const known = lastCosigned(log, head.size, keys);
  let oldSize = known;
  for (let asked = 0; asked < ASKED_MAX; asked++) {
    const proof = oldSize === 0 ? [] : log.consistency(oldSize, head.size);
    const answer = await site.addCheckpoint(formatAddCheckpoint({ oldSize, proof, checkpoint }));
    if (answer.status === 200) {
      return {
        lines: answer.body,
        ...(oldSize < known ? { doubt: forgot(name, oldSize, known) } : {}),
      };
    }
    if (answer.status === 422 && oldSize > 0) return otherHistory(log, site, name, oldSize);
    if (answer.status !== 409) return { why: refusalOf(name, answer) };
    const size = sizeIn(answer, name);
    if (size > head.size) return longer(log, name, size);
    if (size === oldSize) {
      if (size === head.size) return otherHistory(log, site, name, size);
      return { why: refusalOf(name, answer) };
    }
    oldSize = size;
  }
  return { why: `witness ${name} did not cosign: it named another size ${ASKED_MAX} times` };
}

/** The size of the last checkpoint, below the newest, that home has the witness's cosignature on; 0 for none. */
function lastCosigned(log: Log, newest: number, keys: readonly VerifierKey[]): number {
  const least = Math.max(1, newest - LOOKED_BACK_MAX);
  for (let to = newest - 1; to >= least; to -= LOOKED_BACK_AT_ONCE) {
    const from = Math.max(least, to - LOOKED_BACK_AT_ONCE + 1);
    const last = [...log.checkpointsBetween(from, to)].findLast(({ checkpoint }) =>
      isCosigned(checkpoint, keys),
    );
    if (last) return last.size;
  }
  return 0;
}

/** The witness says that its tree of so many entries is not home's: its site shows it, or it is a doubt. */
async function otherHistory(
  log: Log,
  site: RemoteSite,
  name: string,
  size: number,
): Promise<Answer> {
  const other = await otherHead(log, site, size);
  if (!other) {
    return {
      doubt: `witness ${name} says that it has cosigned another history of this ledger, of ${size} entries, and its site shows no checkpoint of it. Either somebody else has signed with this State's ledger key, or the witness is wrong, or lies: what it says proves nothing, and home goes on without its cosignature. Have its operator show what it cosigned, and hold it against exclave ledger show`,
    };
  }
  return {
    fork: new ExclaveError(
      "altered",
      `the ledger has forked: witness ${name} holds ${shownHead(other)}, and home ${shownHead(log.head(size))}. Both are signed by this State's ledger key. Nothing more is to be signed here before people have found out why`,
    ),
  };
}

/** The head of so many entries that the ledger's key signed and that is not home's, from the site; else undefined. */
async function otherHead(log: Log, site: RemoteSite, size: number): Promise<TreeHead | undefined> {
  try {
    const named = (await namedCheckpoints(site, log.keys)).filter((one) => one.size === size);
    for (const { name } of named.slice(0, JUNK_MAX)) {
      const head = await headNamed(log, site, name);
      if (head && log.relation(head) === "fork") return head;
    }
  } catch (error) {
    if (!isExclaveError(error) || error.code === "bug") throw error;
  }
  return undefined;
}

async function headNamed(log: Log, site: RemoteSite, name: string): Promise<TreeHead | undefined> {
  try {
    return (await readCheckpoint(site, name, log.keys)).head;
  } catch (error) {
    if (!isExclaveError(error) || error.code === "bug") throw error;
    return undefined;
  }
}

/** The witness says that it has more than home asked for: another process signed that here, or it is a doubt. */
function longer(log: Log, name: string, size: number): Answer {
  const here = log.latest()?.size ?? 0;
  if (here >= size) {
    return {
      why: `witness ${name} did not cosign: it has cosigned ${size} entries by now, which another process signed here meanwhile. Whatever runs next asks it for the newest`,
    };
  }
  return {
    doubt: `witness ${name} says that it has cosigned ${size} entries of this ledger, and home has ${here}. Either home has forgotten some, or somebody else has signed with this State's ledger key, or the witness is wrong, or lies: what it says proves nothing, and home goes on without its cosignature. Have its operator show what it cosigned, and hold it against exclave ledger show`,
  };
}

function forgot(name: string, size: number, known: number): string {
  return `witness ${name} has forgotten what it cosigned: it says ${size} entries of this ledger, and home has its cosignature on ${known}. What it signs still counts, and it could sign two histories: have its operator make it a new site, with keys of its own`;
}

function sizeIn({ contentType, body }: WitnessAnswer, name: string): number {
  const text = fromUtf8(body);
  if (contentType !== SIZE_TYPE || !text.endsWith("\n")) {
    throw new ExclaveError("site-unavailable", `witness ${name} does not say what it has`);
  }
  return parseDecimal(text.slice(0, -1));
}

function refusalOf(name: string, { status }: WitnessAnswer): string {
  const why =
    status === 503
      ? "it has not followed the ledger so far, or objects to what is in it"
      : `it answered with status ${status}`;
  return `witness ${name} did not cosign: ${why}`;
}

function isCosigned(checkpoint: Uint8Array, keys: readonly VerifierKey[]): boolean {
  return earliestCosignatures(parseNote(checkpoint), keys).length > 0;
}
