/**
 * Home's ledger and the sites': what comes in at home, brought to the sites, and compared with them first.
 * Home writes nothing before it has seen that no site knows more than it does.
 */
import { openPaper } from "../charter/decision.ts";
import type { Succession } from "../charter/succession.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { newestAt, publishTo, relationOf, type SignedHead } from "../ledger/at-sites.ts";
import { verifyCheckpoint } from "../ledger/checkpoint.ts";
import { findCheckpoint } from "../ledger/checkpoints-at-sites.ts";
import { GOVERNING_KINDS, type LedgerEntry, RECORD_KINDS } from "../ledger/entry.ts";
import { headsAt } from "../ledger/from-sites.ts";
import type { TreeHead } from "../ledger/tree-head.ts";
import type { Site } from "../sites/site.ts";
import type { Home } from "../vault/home.ts";
import { type Generation, type LedgerDocumentKind, ledgerKeysOf } from "../vault/known-state.ts";
import { isOpen, openSite, type SitePlace } from "../vault/open-sites.ts";
import type { QuorumWriter } from "../vault/quorum-writer.ts";
import { documentIds, takeUnknown } from "../vault/site-documents.ts";
import { catchUpHome } from "./catch-up.ts";
import { askWitnesses } from "./witnessing.ts";

/** Successions that home does not know and one site is asked for: a State has one for each home that was lost. */
const SUCCESSIONS_PER_SITE_MAX = 256;

/** What each site holds as the newest checkpoint of the open generation; undefined for none. */
export type HeldHeads = ReadonlyMap<string, SignedHead | undefined>;

/** A document that is to come into the ledger. */
export type GoverningDocument = {
  readonly kind: LedgerDocumentKind;
  /** SHA-256 of the bytes. */
  readonly id: string;
  readonly bytes: Uint8Array;
};

/** Sites that must have a decision before it counts: more than half of them. */
export function governingQuorum(sites: number): number {
  return sites === 0 ? 0 : Math.floor(sites / 2) + 1;
}

/** Every site that home knows the way to, opened. */
export async function openAllSites(home: Home): Promise<readonly SitePlace[]> {
  return Promise.all(
    home.config.sites.map(async (config) => {
      try {
        return { name: config.name, site: await openSite(config, home) };
      } catch (error) {
        if (!isExclaveError(error) || error.code === "foreign-state") throw error;
        return { name: config.name, problem: error.message };
      }
    }),
  );
}

/**
 * Refuses to write from a home that is not the State's any more. One that was put back from a backup, and is
 * still the State's, learns from the sites what came after it. A site that names without end what it cannot give, or
 * is slow with it, is passed by.
 *
 * @param onNotice told of such a site
 * @returns what each of the sites holds
 * @throws ExclaveError `untrusted` when home has been superseded, `altered` when the ledger has forked
 */
export async function requireCurrent(
  home: Home,
  places: readonly SitePlace[],
  onNotice?: (notice: string) => void,
): Promise<HeldHeads> {
  await requireNoSuccession(home, places, onNotice);
  const held = await headsHeld(home, places);
  const heads = [...held].map(([site, signed]) => ({ site, signed }));
  const relation = await home.withLedger((log) => relationOf(log, heads));
  if (relation === "ahead") {
    await catchUpHome(home, places);
    // The recovery key may have been replaced in what came in, and the new one have closed this ledger.
    await requireNoSuccession(home, places);
  }
  // Throws when another home writes in this term.
  void home.term;
  return held;
}

async function headsHeld(home: Home, places: readonly SitePlace[]): Promise<HeldHeads> {
  const keys = ledgerKeysOf(home.charter.ledger);
  const held = new Map<string, SignedHead | undefined>();
  await Promise.all(
    places.filter(isOpen).map(async ({ name, site }) => {
      try {
        held.set(name, await newestAt(site, keys));
      } catch (error) {
        // A site that cannot say, or holds what nobody could sort out, is as one that is away.
        if (!isExclaveError(error) || error.code === "bug") throw error;
      }
    }),
  );
  return held;
}

/** Throws when a site has a succession that this home does not know: another home has taken over. */
async function requireNoSuccession(
  home: Home,
  places: readonly SitePlace[],
  onNotice?: (notice: string) => void,
): Promise<void> {
  for (const paper of await unknownSuccessions(home, places, onNotice)) {
    if (!(await isSupersededBy(home, places, paper))) continue;
    throw new ExclaveError(
      "untrusted",
      `this home has been superseded: since ${paper.time} the State writes from another home (term ${paper.agent.term}). Nothing was written`,
    );
  }
}

/** The successions at sites that the recovery key signed and this home does not know. */
async function unknownSuccessions(
  home: Home,
  places: readonly SitePlace[],
  onNotice?: (notice: string) => void,
): Promise<readonly Succession[]> {
  const { history, recoverySigning } = home.known;
  const trusted = new Map([[recoverySigning.id, recoverySigning]]);
  const known = new Set(history.successions.flatMap(({ id, envelope }) => [id, envelope]));
  const found: Succession[] = [];
  await takeUnknown(places, "succession", {
    isKnown: (id) => known.has(id),
    perSiteMax: SUCCESSIONS_PER_SITE_MAX,
    onNotice,
    take: (_, bytes) => {
      try {
        const { id, paper } = openPaper("succession", bytes, home.state, trusted);
        // The same paper in another envelope is known.
        if (!known.has(id)) found.push(paper);
        known.add(id);
      } catch (error) {
        if (!isExclaveError(error) || error.code === "bug") throw error;
      }
    },
  });
  return found;
}

/**
 * Of the next generation always. Of this one, when the recovery key was used twice on the ledger before: then by
 * what readers go by, the number of sites that have what each began, and its time.
 */
async function isSupersededBy(
  home: Home,
  places: readonly SitePlace[],
  rival: Succession,
): Promise<boolean> {
  const { generation } = home.charter.ledger;
  if (rival.ledger.generation !== generation) return rival.ledger.generation > generation;
  const own = home.known.history.successions.at(-1)?.paper;
  if (!own || rival.closes.origin !== own.closes.origin) return false;
  const sitesWith = async ({ ledger }: Succession): Promise<number> => {
    const answers = await headsAt(places.filter(isOpen), ledgerKeysOf(ledger));
    return answers.filter((one) => "signed" in one && one.signed).length;
  };
  const theirs = await sitesWith(rival);
  const more = theirs - (await sitesWith(own));
  const isLater = `${rival.time} ${rival.random}` > `${own.time} ${own.random}`;
  return theirs > 0 && (more > 0 || (more === 0 && isLater));
}

/** Takes documents into the ledger at home, under a new checkpoint; they are kept before they are named. */
export async function enter(
  home: Home,
  documents: readonly GoverningDocument[],
  now: Date,
): Promise<void> {
  for (const { kind, id, bytes } of documents) await home.saveDocument(kind, id, bytes);
  const entries: LedgerEntry[] = documents.map(({ kind, id }) => ({ kind, envelope: id }));
  await home.withLedger((log) => {
    log.append(entries);
    log.sign(now);
  });
  home.refresh();
}

/** Why sites do not have what home has, by site; none when all have. */
export type PublishFailures = ReadonlyMap<string, string>;

/**
 * Brings every site to home's ledger: annexes, documents, older generations, the files of the open one, and
 * its checkpoints last; then has it witnessed. Safe to repeat, and to stop anywhere.
 */
export async function publish(home: Home, places: readonly SitePlace[]): Promise<PublishFailures> {
  const failures = new Map<string, string>();
  // One that is marked and not admitted yet, or was expelled, gets nothing.
  const admitted = new Set(home.charter.sites.map(({ name }) => name));
  await home.withGenerations((generations) =>
    Promise.all(
      places.map(async (place) => {
        if (!admitted.has(place.name)) return;
        if (!isOpen(place)) {
          failures.set(place.name, place.problem);
          return;
        }
        try {
          await bringAll(home, generations, place.site);
        } catch (error) {
          if (!isExclaveError(error)) throw error;
          failures.set(place.name, error.message);
        }
      }),
    ),
  );
  const witnessed = await askWitnesses(home, places);
  const cosigned = witnessed?.cosigned;
  if (!cosigned) return failures;
  home.refresh();
  await Promise.all(
    places.map(async (place) => {
      if (!isOpen(place) || !admitted.has(place.name) || failures.has(place.name)) return;
      try {
        await place.site.put(cosigned.name, [cosigned.checkpoint]);
      } catch (error) {
        if (!isExclaveError(error)) throw error;
        failures.set(place.name, error.message);
      }
    }),
  );
  return failures;
}

/** Brings one site to home's ledger, with all that goes before it. */
export async function bringAll(
  home: Home,
  generations: readonly Generation[],
  site: Site,
): Promise<void> {
  await publishAnnexes(home, site);
  for (const [i, { log }] of generations.entries()) {
    if (log.latest()) await publishGeneration(home, i, generations, site);
  }
  await publishSuccessions(home, generations, site);
}

/**
 * Brings the sites of one register to the newest checkpoint, after something of it was stored. Throws
 * `write-quorum` when too few have it.
 *
 * @param held what `requireCurrent` gave
 */
export async function publishCheckpoint(
  home: Home,
  writer: QuorumWriter,
  held: HeldHeads,
): Promise<void> {
  await home.withGenerations((generations) =>
    writer.each((site) =>
      publishGeneration(
        home,
        generations.length - 1,
        generations,
        site,
        held.get(site.identity.name),
      ),
    ),
  );
  const witnessed = await askWitnesses(home, writer.places);
  const cosigned = witnessed?.cosigned;
  if (cosigned) await writer.putEverywhere(cosigned.name, cosigned.checkpoint);
}

/**
 * Throws `write-quorum` unless more than half of the charter's sites have what home decided. What came into
 * the ledger stays there, and is brought to the sites by whatever runs next.
 */
export function requirePublished(home: Home, failures: PublishFailures): void {
  const sites = home.charter.sites.map(({ name }) => name);
  const quorum = governingQuorum(sites.length);
  const reached = sites.filter(
    (name) => !failures.has(name) && home.config.sites.some((site) => site.name === name),
  );
  if (reached.length >= quorum) return;
  const reasons = sites
    .filter((name) => !reached.includes(name))
    .map((name) => `${name}: ${failures.get(name) ?? "home does not know where it is"}`);
  throw new ExclaveError(
    "write-quorum",
    `it is in the ledger at home, and ${reached.length} of ${sites.length} sites have it; ${quorum} must (${reasons.join("; ")}). Mend a site; whatever runs next brings it there`,
  );
}

async function publishGeneration(
  home: Home,
  index: number,
  generations: readonly Generation[],
  site: Site,
  held?: SignedHead,
): Promise<void> {
  const generation = generations[index];
  const latest = generation?.log.latest();
  if (!generation || !latest) return;
  const { log, closedAt } = generation;
  const keys = ledgerKeysOf(home.config.ledgers[index] ?? { keys: [] });
  const { head } = verifyCheckpoint(latest.checkpoint, keys);
  const there = held ?? (await heldAt(site, generation, head));
  for (const { position, kind, envelope } of log.entriesOf([...GOVERNING_KINDS, ...RECORD_KINDS])) {
    // A document is at a site before the first checkpoint that covers it.
    if (position < (there?.head.size ?? 0)) continue;
    if (kind === "succession" || (closedAt !== undefined && position >= closedAt)) continue;
    const bytes = documentOf(home, kind as LedgerDocumentKind, envelope);
    if (bytes) await site.put(`${kind}/${envelope}`, [bytes]);
  }
  try {
    await publishTo(site, log, { head, checkpoint: latest.checkpoint }, there);
  } catch (error) {
    // What an old home wrote there into a closed ledger stays; the other sites have what counts.
    if (closedAt === undefined || !isExclaveError(error, "exists")) throw error;
  }
}

/**
 * The checkpoint of this ledger that a site holds. In a generation that was closed an old home may have gone on
 * writing: what it added is passed over. Throws `altered` when the open one has forked.
 */
async function heldAt(
  site: Site,
  { log, closedAt }: Generation,
  head: TreeHead,
): Promise<SignedHead | undefined> {
  const newest = await newestAt(site, log.keys);
  if (closedAt === undefined) relationOf(log, [{ site: site.identity.name, signed: newest }]);
  else if (newest && !["same", "behind"].includes(log.relation(newest.head))) {
    return findCheckpoint([site], log.keys, head);
  }
  return newest;
}

/** A document that home keeps; undefined for a record that was lost on the way, which nothing follows from. */
function documentOf(home: Home, kind: LedgerDocumentKind, id: string): Uint8Array | undefined {
  try {
    return home.document(kind, id);
  } catch (error) {
    if (isExclaveError(error, "altered") && RECORD_KINDS.some((one) => one === kind)) {
      return undefined;
    }
    throw error;
  }
}

/** Last: who finds a succession finds all that it opens. */
async function publishSuccessions(
  home: Home,
  generations: readonly Generation[],
  site: Site,
): Promise<void> {
  for (const { log } of generations) {
    for (const { kind, envelope } of log.entriesOf(["succession"])) {
      await site.put(`${kind}/${envelope}`, [home.document("succession", envelope)]);
    }
  }
}

async function publishAnnexes(home: Home, site: Site): Promise<void> {
  const there = await documentIds([{ name: site.identity.name, site }], "annex");
  for (const { id, bytes } of await home.annexes()) {
    if (!there.has(id)) await site.put(`annex/${id}`, [bytes]);
  }
}
