/**
 * Has the ledger's newest checkpoint cosigned by the witnesses that the charter names. A site that enforces is a
 * witness under its own name; it cosigns what it has followed, so it is asked after it has the entries.
 */
import { fromUtf8 } from "../crypto/bytes.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { checkpointName, type SignedHead } from "../ledger/at-sites.ts";
import { earliestCosignatures, verifyCheckpoint } from "../ledger/checkpoint.ts";
import type { Log } from "../ledger/log.ts";
import { parseNote, type VerifierKey } from "../ledger/note.ts";
import { parseDecimal } from "../ledger/text.ts";
import { formatAddCheckpoint } from "../ledger/witness.ts";
import { asEnforcing } from "../sites/enforcing.ts";
import type { RemoteSite, WitnessAnswer } from "../sites/remote.ts";
import type { Home } from "../vault/home.ts";
import { witnessesOf } from "../vault/known-state.ts";
import { isOpen, openSite, type SitePlace } from "../vault/open-sites.ts";

/** First with what home thinks the witness has, then with what it says. */
const ASKED_MAX = 2;
const SIZE_TYPE = "text/x.tlog.size";

export type Witnessed = {
  /** Witnesses that have cosigned it by now, by name. */
  readonly by: readonly string[];
  /** Why others have not. */
  readonly failures: ReadonlyMap<string, string>;
  /** The checkpoint with new cosignatures, and its name at a site; undefined when none came in. */
  readonly cosigned?: { readonly name: string; readonly checkpoint: Uint8Array };
};

/**
 * Asks every witness that has not cosigned the newest checkpoint, and keeps what they sign. Throws `altered` when one of
 * them has seen another history, or a longer one, of this ledger: then nothing is to be signed.
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
    const failures = new Map<string, string>();
    const by: string[] = [];
    await Promise.all(
      witnesses.map(async ({ name, keys }) => {
        if (isCosigned(signed.checkpoint, keys)) return void by.push(name);
        const answer = await askOne(log, signed, name, () => openWitness(home, places, name));
        if ("why" in answer) return void failures.set(name, answer.why);
        try {
          log.addCosignatures(head.size, answer.lines, keys);
          by.push(name);
        } catch (error) {
          if (!isExclaveError(error) || error.code === "bug") throw error;
          failures.set(name, error.message);
        }
      }),
    );
    const checkpoint = log.checkpoint(head.size) ?? signed.checkpoint;
    if (Buffer.compare(checkpoint, signed.checkpoint) === 0) return { by, failures };
    return { by, failures, cosigned: { name: checkpointName(head, checkpoint), checkpoint } };
  });
}

/** That too few witnesses have cosigned the ledger's newest checkpoint, in a sentence; undefined when enough have. */
export async function tooFewWitnesses(home: Home): Promise<string | undefined> {
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

type Answer = { readonly lines: Uint8Array } | { readonly why: string };

/** The cosignature lines of a witness, not verified yet; or why there are none. Throws `altered` for a fork. */
async function askOne(
  log: Log,
  { head, checkpoint }: SignedHead,
  name: string,
  open: () => Promise<RemoteSite>,
): Promise<Answer> {
  let oldSize = 0;
  try {
    const witness = await open();
    for (let asked = 0; asked < ASKED_MAX; asked++) {
      const proof = oldSize === 0 ? [] : log.consistency(oldSize, head.size);
      const body = formatAddCheckpoint({ oldSize, proof, checkpoint });
      const answer = await witness.addCheckpoint(body);
      if (answer.status === 200) return { lines: answer.body };
      if (answer.status !== 409) return { why: refusalOf(name, answer) };
      const size = sizeIn(answer, name);
      if (size > head.size || size === oldSize) break;
      oldSize = size;
    }
  } catch (error) {
    if (!isExclaveError(error) || error.code === "bug") throw error;
    return { why: error.message };
  }
  throw new ExclaveError(
    "altered",
    `witness ${name} has cosigned another history of this ledger, or a longer one, than the ${head.size} entries at home. Nothing more is to be signed here before people have found out why`,
  );
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
