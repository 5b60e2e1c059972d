/** When a site reads its State anew: another home has begun the next ledger. And what it does not follow. */
import { openPaper } from "../charter/decision.ts";
import { recoveryKey } from "../charter/thresholds.ts";
import { toHex } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { newestAt } from "../ledger/at-sites.ts";
import { shownHead, type TreeHead } from "../ledger/tree-head.ts";
import type { Site } from "../sites/site.ts";
import { type Generation, type KnownState, ledgerKeysOf } from "../vault/known-state.ts";
import { documentIds, readDocument } from "../vault/site-documents.ts";
import type { SiteView } from "./view.ts";

/** Successions that are looked at in one go. */
const LOOKED_AT_MAX = 256;
const SETTLED_MAX = 4096;

/**
 * The name of a succession among the objects that is new, by the recovery key in force, and of which the next ledger is
 * here too; undefined when there is none.
 *
 * @param settled names that need not be looked at again under this charter
 */
export async function unknownSuccession({
  objects,
  state,
  view: { known },
  generations,
  settled,
}: {
  readonly objects: Site;
  readonly state: string;
  readonly view: SiteView;
  readonly generations: readonly Generation[];
  readonly settled: Set<string>;
}): Promise<string | undefined> {
  const places = [{ name: objects.identity.name, site: objects }];
  const followed = new Set(known.history.successions.flatMap(({ id, envelope }) => [id, envelope]));
  const names = [...(await documentIds(places, "succession"))].filter(
    (id) => !followed.has(id) && !settled.has(id),
  );
  for (const name of names.slice(0, LOOKED_AT_MAX)) {
    const bytes = await readDocument(objects, `succession/${name}`);
    // One that cannot be read now is looked at again.
    if (!bytes) continue;
    if (settled.size < SETTLED_MAX) settled.add(name);
    if (toHex(sha256(bytes)) !== name) continue;
    try {
      const { id, paper } = openPaper("succession", bytes, state, recoveryKey(known.charter));
      if (followed.has(id)) continue;
      if (!generations.some(({ log }) => log.origin === paper.closes.origin)) continue;
      // Its ledger may still come.
      settled.delete(name);
      if (await newestAt(objects, ledgerKeysOf(paper.ledger))) return name;
    } catch (error) {
      if (!isExclaveError(error) || error.code === "bug") throw error;
      if (error.code === "site-unavailable") throw error;
    }
  }
  return undefined;
}

/**
 * The objects without successions that would undo one that was followed, and are by a recovery key that was replaced
 * since: one site by itself cannot tell by most sites which of two counts, and whoever keeps an old key dates as they
 * like.
 */
export function withoutRivals(
  objects: Site,
  { state, known }: SiteView,
  generations: readonly Generation[],
): Site {
  const closed = new Set(generations.slice(0, -1).map(({ log }) => log.origin));
  const followed = new Set(known.history.successions.map(({ id }) => id));
  const { id: inForce } = known.recoverySigning;
  const charters = known.history.history.map(({ charter }) => charter);
  const trusted = new Map(charters.flatMap((charter) => [...recoveryKey(charter)]));
  const isRival = async (name: string): Promise<boolean> => {
    const bytes = await readDocument(objects, name);
    if (!bytes) return false;
    try {
      const { id, paper, keyIds } = openPaper("succession", bytes, state, trusted);
      return closed.has(paper.closes.origin) && !followed.has(id) && !keyIds.includes(inForce);
    } catch (error) {
      if (!isExclaveError(error) || error.code === "bug") throw error;
      return false;
    }
  };
  return {
    identity: objects.identity,
    put: (name, parts) => objects.put(name, parts),
    read: (name, offset, into) => objects.read(name, offset, into),
    stat: (name) => objects.stat(name),
    list: async function* (kind) {
      for await (const name of objects.list(kind)) {
        if (kind !== "succession" || !(await isRival(name))) yield name;
      }
    },
  };
}

/**
 * Throws unless what was read goes on from what was followed: the open ledger holds all of what was followed of it,
 * and another succession than the one that was followed is by the recovery key that is in force still.
 */
export function requireContinues({
  before,
  known,
  generations,
  headOf,
}: {
  readonly before: SiteView | undefined;
  readonly known: KnownState;
  readonly generations: readonly Generation[];
  readonly headOf: (origin: string) => TreeHead | undefined;
}): void {
  const log = generations.at(-1)?.log;
  const head = log && headOf(log.origin);
  if (log && head && log.relation(head) === "fork") {
    throw new ExclaveError(
      "altered",
      `the ledger has forked: this site followed ${shownHead(head)}, and here is ${shownHead(log.head(head.size))}. Nothing of it is followed before people have found out why`,
    );
  }
  if (!before) return;
  const was = before.known.history.successions;
  const is = known.history.successions;
  const differs = was.findIndex(({ id }, i) => is[i]?.id !== id);
  if (differs < 0) return;
  const rival = is[differs]?.id;
  const at = known.history.history.findIndex(({ charter }) => charter.decision === rival);
  const signer = known.history.history[at - 1]?.charter.recovery.signing;
  if (rival === undefined || signer !== before.known.charter.recovery.signing) {
    throw new ExclaveError(
      "untrusted",
      "a succession that this site did not follow would undo one that it did, and is not by the recovery key in force. It is not followed",
    );
  }
}
