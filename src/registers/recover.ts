/** `recover`: on a bare machine, the State's home again, from the recovery key and any k sites. */
import { randomBytes } from "node:crypto";
import { rename, rm, rmdir } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { toBase64 } from "../crypto/bytes.ts";
import { envelopeId } from "../crypto/dsse.ts";
import { signingKeyFromSeed } from "../crypto/signing.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { openDirectorySite } from "../sites/directory.ts";
import type { Site } from "../sites/site.ts";
import { Catalog } from "../vault/catalog.ts";
import {
  type Charter,
  type CharterChain,
  documentRandom,
  epochOf,
  openDocument,
  openStatement,
  openWrap,
  type SnapshotRoot,
  signCharter,
  unwrapEpochKey,
  verifyCharters,
} from "../vault/documents.ts";
import { Home, type RegisterConfig, refuseExistingHome, type SiteConfig } from "../vault/home.ts";
import { parseId, type RegisterId } from "../vault/identifiers.ts";
import { readSiteDocument, type SitePlace } from "../vault/open-sites.ts";
import { recoveryKeyFromSeed } from "../vault/recovery-key.ts";
import { documentIds, fetchDocument, importSnapshots } from "./import-snapshots.ts";
import { rootOf } from "./snapshots.ts";

export type RecoverOptions = {
  readonly home: string;
  readonly key: { readonly seed: Uint8Array; readonly state: string; readonly stateName: string };
  readonly directories: readonly string[];
  readonly now: Date;
  readonly onNotice: (notice: string) => void;
};

export type RecoverReport = {
  readonly home: Home;
  readonly sites: readonly string[];
  readonly term: number;
  readonly registers: readonly {
    readonly name: string;
    readonly recoveryPoints: number;
    readonly newest: string;
    readonly newestId: string;
  }[];
};

export async function recover(options: RecoverOptions): Promise<RecoverReport> {
  const path = resolve(options.home);
  await refuseExistingHome(path);
  await removeEmpty(path);
  const recovery = recoveryKeyFromSeed(options.key.seed);
  const found = await openGiven(options);
  const places = found.map(({ place }) => place);
  const charters = await collectCharters(
    places,
    recovery.signing.publicKey,
    options.key.state,
    options.onNotice,
  );
  const sites = await verifySites(found, charters, options.onNotice);
  const keys = await unwrapAll(places, charters, recovery.kem, options.onNotice);

  // Built beside its place and moved there when it is whole, so that a recovery cut short can be repeated.
  const building = join(dirname(path), `.${basename(path)}.recovering`);
  await rm(building, { recursive: true, force: true });
  const agentSeed = randomBytes(32);
  const next = successor(charters, agentSeed, options.now);
  const envelope = signCharter(next, recovery.signing);
  const draft = await Home.create(building, {
    config: {
      format: 1,
      state: charters.state,
      stateName: charters.current.name,
      recovery: charters.current.recovery.signing,
      sites: [...sites],
      registers: [],
    },
    charters: [...charters.envelopes, envelope.bytes],
    agentSeed,
  });
  const catalog = new Catalog(draft.catalogPath, charters.state);
  let registers: readonly RegisterConfig[];
  try {
    await importSnapshots({
      charters,
      catalog,
      cachePath: draft.cachePath,
      places,
      epochKey: async (register, epoch, id) => keys.get(keyName(register, epoch, id)),
      onProblem: ({ document, why }) => options.onNotice(`${document} was left out: ${why}`),
    });
    registers = registersOf(catalog);
    await requireWhole(places, charters, registers);
    for (const { id } of registers) {
      await keepKeys(draft, catalog, parseId("RegisterId", id), keys, options.now);
    }
  } finally {
    catalog.close();
  }
  await draft.saveConfig({ ...draft.config, registers: [...registers] });
  // The new charter goes out last: from then on the old home cannot write.
  const line = [...charters.envelopes, envelope.bytes];
  const ours = found.filter(({ directory }) => sites.some((site) => site.directory === directory));
  await publish(
    ours.map(({ place }) => place),
    line,
    options.onNotice,
  );
  await rename(building, path);
  const home = await Home.open(path);
  return report(home, sites);
}

/** Makes way for the new home. Throws `usage` when something else is there. */
async function removeEmpty(path: string): Promise<void> {
  try {
    await rmdir(path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return;
    throw new ExclaveError("usage", `${path} is not empty; choose another EXCLAVE_HOME`, { cause });
  }
}

/** The sites that were given, opened but not believed yet. */
async function openGiven({
  directories,
  onNotice,
}: RecoverOptions): Promise<
  readonly { readonly directory: string; readonly place: SitePlace & { readonly site: Site } }[]
> {
  const found = [];
  for (const directory of new Set(directories.map((given) => resolve(given)))) {
    try {
      const identity = { name: directory, country: "?", operator: "?", hazardZone: "?" };
      const site = await openDirectorySite(directory, identity);
      found.push({ directory, place: { name: directory, site } });
    } catch (error) {
      if (!isExclaveError(error)) throw error;
      onNotice(error.message);
    }
  }
  if (found.length === 0) {
    throw new ExclaveError(
      "site-unavailable",
      "none of the directories given is a site. Nothing was changed",
    );
  }
  return found;
}

async function collectCharters(
  places: readonly SitePlace[],
  recovery: Parameters<typeof verifyCharters>[1],
  state: string,
  onNotice: (notice: string) => void,
): Promise<CharterChain> {
  const envelopes = [];
  const trusted = new Map([[recovery.id, recovery]]);
  for (const id of await documentIds(places, "charter")) {
    try {
      const bytes = await fetchDocument(places, "charter", id);
      openDocument("charter", bytes, trusted);
      envelopes.push(bytes);
    } catch (error) {
      if (!isExclaveError(error)) throw error;
      onNotice(`charter/${id} was left out: ${error.message}`);
    }
  }
  const charters = verifyCharters(envelopes, recovery);
  if (charters.state === state) return charters;
  throw new ExclaveError(
    "foreign-state",
    "these sites belong to another State than the recovery key",
  );
}

/** The sites whose own documents are signed by an agent of this State. */
async function verifySites(
  found: Awaited<ReturnType<typeof openGiven>>,
  charters: CharterChain,
  onNotice: (notice: string) => void,
): Promise<readonly SiteConfig[]> {
  const sites: SiteConfig[] = [];
  for (const { directory } of found) {
    try {
      const { name, country, operator, hazardZone } = await readSiteDocument(
        directory,
        charters.state,
        charters,
      );
      if (sites.some((site) => site.name === name)) {
        onNotice(`${directory} is a second directory of site "${name}" and is left out`);
        continue;
      }
      sites.push({ name, country, operator, hazardZone, directory });
    } catch (error) {
      if (!isExclaveError(error)) throw error;
      onNotice(error.message);
    }
  }
  return sites;
}

/** Every epoch key that a wrap at these sites opens to, by register, epoch and key id. */
async function unwrapAll(
  places: readonly SitePlace[],
  charters: CharterChain,
  kem: ReturnType<typeof recoveryKeyFromSeed>["kem"],
  onNotice: (notice: string) => void,
): Promise<ReadonlyMap<string, Uint8Array>> {
  const keys = new Map<string, Uint8Array>();
  for (const id of await documentIds(places, "wrap")) {
    try {
      const { document } = openWrap(await fetchDocument(places, "wrap", id), charters);
      if (document.recipient !== "recovery") continue;
      const { register, epoch } = epochOf(document);
      keys.set(keyName(register, epoch, document.epochKeyId), unwrapEpochKey(document, kem));
    } catch (error) {
      if (!isExclaveError(error)) throw error;
      onNotice(`wrap/${id} was left out: ${error.message}`);
    }
  }
  return keys;
}

function keyName(register: RegisterId, epoch: number, epochKeyId: string): string {
  return `${register}/${epoch}/${epochKeyId}`;
}

/**
 * Refuses to take over while a register that statements speak of could not be opened: the sites given
 * are too few, or damaged, and a home that works must not be deposed for nothing.
 */
async function requireWhole(
  places: readonly SitePlace[],
  charters: CharterChain,
  registers: readonly RegisterConfig[],
): Promise<void> {
  const spoken = new Set<string>();
  for (const object of await documentIds(places, "statement")) {
    try {
      const bytes = await fetchDocument(places, "statement", object);
      spoken.add(openStatement(bytes, charters).document.register);
    } catch (error) {
      // Forged or damaged: said when it was imported.
      if (!isExclaveError(error)) throw error;
    }
  }
  const missing = [...spoken].filter((id) => !registers.some((register) => register.id === id));
  if (missing.length === 0) return;
  throw new ExclaveError(
    "not-enough-shards",
    `${missing.length} of ${spoken.size} registers cannot be opened from these sites (the reasons are named above). Nothing was changed, and no home was superseded: give more sites`,
  );
}

/** Keeps the keys that the recovery points of a register use. The recovery key has just opened them. */
async function keepKeys(
  home: Home,
  catalog: Catalog,
  register: RegisterId,
  keys: ReadonlyMap<string, Uint8Array>,
  now: Date,
): Promise<void> {
  for (const { epoch, envelope } of catalog.snapshots(register)) {
    const { epochKeyId } = openStatement(envelope, home.charters).document;
    const key = keys.get(keyName(register, epoch, epochKeyId));
    if (!key || catalog.openedWrap(register, epoch) !== undefined) continue;
    await home.saveEpochKey(register, epoch, key);
    catalog.addOpenedWrap(register, epoch, now.toISOString());
  }
}

/** The charter after the last: this home's agent writes in the next term. */
function successor(charters: CharterChain, agentSeed: Uint8Array, now: Date): Charter {
  const { current, currentId } = charters;
  const term = current.term + 1;
  const agent = signingKeyFromSeed(agentSeed);
  return {
    ...current,
    version: current.version + 1,
    previous: currentId,
    time: now.toISOString(),
    random: documentRandom(),
    term,
    agents: [{ signing: toBase64(agent.publicKey.bytes), term }],
  };
}

/** Registers as the newest recovery point of each describes them. Their next epoch begins with the next protect. */
function registersOf(catalog: Catalog): readonly RegisterConfig[] {
  const registers: RegisterConfig[] = [];
  for (const id of catalog.registers()) {
    const newest = catalog.latestSnapshot(id);
    if (!newest) continue;
    const root: SnapshotRoot = rootOf(newest);
    registers.push({
      name: root.name,
      id,
      parts: root.parts.map((part) => ({
        name: part.name,
        kind: part.kind,
        path: part.source,
        excludes: part.excludes,
        oneFileSystem: part.oneFileSystem,
      })),
      sites: root.sites.map(({ name }) => name),
      k: root.k,
      survive: root.survive,
      epoch: 0,
    });
  }
  return registers;
}

/** Gives every site the whole line of charters: one that a site has lost would break it for the next reader. */
async function publish(
  places: readonly (SitePlace & { readonly site: Site })[],
  line: readonly Uint8Array[],
  onNotice: (notice: string) => void,
): Promise<void> {
  let published = 0;
  for (const { name, site } of places) {
    try {
      for (const bytes of line) await site.put(`charter/${envelopeId(bytes)}`, [bytes]);
      published++;
    } catch (error) {
      if (!isExclaveError(error)) throw error;
      onNotice(`${name} did not take the new charter: ${error.message}`);
    }
  }
  if (published === 0) {
    throw new ExclaveError(
      "write-quorum",
      "no site took the new charter. Nothing was changed; make one of them writable and run it again",
    );
  }
}

function report(home: Home, sites: readonly SiteConfig[]): RecoverReport {
  const catalog = new Catalog(home.catalogPath, home.state);
  try {
    return {
      home,
      sites: sites.map(({ name }) => name),
      term: home.term,
      registers: home.config.registers.map(({ name, id }) => {
        const all = catalog.snapshots(parseId("RegisterId", id));
        return {
          name,
          recoveryPoints: all.length,
          newest: all[0]?.time ?? "",
          newestId: all[0]?.id ?? "",
        };
      }),
    };
  } finally {
    catalog.close();
  }
}
