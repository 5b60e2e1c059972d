/** `found --from-trial`: makes a State of a trial, with what the trial stored. */
import { randomBytes } from "node:crypto";
import { cp, mkdir, readFile, rename, rm, rmdir, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { toBase64 } from "../crypto/bytes.ts";
import { kemKeyPairFromSeed } from "../crypto/kem.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { readDirectoryMarker } from "../sites/directory.ts";
import { writeDurably } from "../sites/durable.ts";
import type { Site } from "../sites/site.ts";
import { Catalog } from "../vault/catalog.ts";
import {
  type Charter,
  type CharterChain,
  documentRandom,
  type StoredDocument,
  signCharter,
  verifyCharters,
  wrapEpochKey,
} from "../vault/documents.ts";
import { Home, refuseExistingHome, type SiteConfig } from "../vault/home.ts";
import { parseId } from "../vault/identifiers.ts";
import { openSite } from "../vault/open-sites.ts";
import { openKey, type RecoveryKey, recoveryKeyFromSeed, sealKey } from "../vault/recovery-key.ts";
import type { FoundOptions } from "./found.ts";
import { documentIds, fetchDocument } from "./import-snapshots.ts";
import { writeKeyFile } from "./key-files.ts";
import { lockRegister } from "./lock.ts";

/** Where a trial keeps what, as `exclave try` makes it. */
export function trialPaths(trial: string) {
  return {
    home: join(trial, "home"),
    recoveryKey: join(trial, "recovery-key.age"),
    sites: join(trial, "sites"),
    /** Where sites are while they are lost. */
    lost: join(trial, "lost"),
    restored: join(trial, "restored"),
    /** Says which home keeps it; there when it was kept. */
    adopted: join(trial, "kept-by.txt"),
  };
}

export type AdoptOptions = FoundOptions & {
  readonly trial: string;
  readonly trialPassphrase: string;
};

type OpenedSite = { readonly name: string; readonly site: Site };

/**
 * Makes a State of the trial: the same recovery seed under a new passphrase, a next charter with the
 * State's name signed by it, and the trial's home, agent and sites. The trial's own home can write no
 * more from then on, because the sites have a newer charter than it knows.
 *
 * Nothing is changed when it throws, but for key files already written, and unless it throws
 * `write-quorum`; in every case it can be repeated.
 */
export async function adoptTrial(options: AdoptOptions): Promise<Home> {
  const path = resolve(options.home);
  const paths = trialPaths(options.trial);
  await refuseExistingHome(path);
  await refuseAdopted(options.trial);
  const trial = await openTrial(options.trial, paths.home);
  const file = await readFile(paths.recoveryKey).catch((cause: unknown) => {
    throw new ExclaveError(
      "bad-key",
      `the trial's recovery key ${paths.recoveryKey} is not there`,
      {
        cause,
      },
    );
  });
  const key = await openKey("recovery-key", file, options.trialPassphrase);
  if (key.state !== trial.state) {
    throw new ExclaveError(
      "foreign-state",
      `the recovery key at ${paths.recoveryKey} is another State's than the trial's home. ` +
        `Nothing was changed`,
    );
  }
  const unlocks = trial.config.registers.map(({ id, name }) =>
    lockRegister(trial, parseId("RegisterId", id), name),
  );
  try {
    return await adoptLocked(options, path, trial, recoveryKeyFromSeed(key.seed));
  } finally {
    for (const unlock of unlocks) unlock();
  }
}

async function adoptLocked(
  options: AdoptOptions,
  path: string,
  trial: Home,
  recovery: RecoveryKey,
): Promise<Home> {
  const sites = await locateSites(options.trial, trial);
  const opened: OpenedSite[] = [];
  for (const site of sites) opened.push({ name: site.name, site: await openSite(site, trial) });
  const charters = await newestCharters(trial, opened, recovery);
  // Throws when the trial was recovered or adopted elsewhere meanwhile: two homes must not write.
  requireAgent(trial, charters);

  const readerSeed = options.readerKeyFile === undefined ? undefined : randomBytes(32);
  const readerKem = readerSeed && kemKeyPairFromSeed(readerSeed).publicKey;
  await writeKeys(options, trial, recovery, readerSeed);
  const charter = signCharter(
    successor(charters, options.stateName, readerKem, options.now),
    recovery.signing,
  );
  const building = await copyHome(trial, path, charters, charter);
  const draft = await Home.open(building);
  await draft.saveConfig({ ...draft.config, stateName: options.stateName, sites: [...sites] });
  if (readerKem) await wrapToReader(draft, opened, readerKem, options.now);

  // The charter goes out last: from then on the trial's own home cannot write.
  await putEverywhere(opened, `charter/${charter.id}`, charter.bytes);
  await rmdir(path).catch(() => undefined);
  await rename(building, path);
  await writeFile(trialPaths(options.trial).adopted, `${path}\n`);
  return Home.open(path);
}

/** Throws `usage` when a home keeps the trial already: two homes with one agent must not write. */
async function refuseAdopted(trial: string): Promise<void> {
  const home = await readFile(trialPaths(trial).adopted, "utf8").catch(() => undefined);
  if (home === undefined) return;
  throw new ExclaveError(
    "usage",
    `the home at ${home.trim()} keeps this trial already. Nothing was changed; go on with ` +
      `that one (EXCLAVE_HOME), or get it back with \`exclave recover\``,
  );
}

async function openTrial(trial: string, home: string): Promise<Home> {
  try {
    return await Home.open(home);
  } catch (cause) {
    if (!isExclaveError(cause, "no-home")) throw cause;
    throw new ExclaveError(
      "usage",
      `${trial} holds no trial. Give the directory that \`exclave try\` made, usually ` +
        `exclave-trial`,
      { cause },
    );
  }
}

/** The trial's sites where they are now: beside its home, also when the trial was moved. */
async function locateSites(trialPath: string, trial: Home): Promise<readonly SiteConfig[]> {
  return Promise.all(
    trial.config.sites.map(async (site) => {
      const beside = resolve(trialPaths(trialPath).sites, site.name);
      return (await readDirectoryMarker(beside)) ? { ...site, directory: beside } : site;
    }),
  );
}

/** The trial's charters with whatever the sites have that is newer. */
async function newestCharters(
  trial: Home,
  sites: readonly OpenedSite[],
  recovery: RecoveryKey,
): Promise<CharterChain> {
  const envelopes = [...trial.charters.envelopes];
  for (const id of await documentIds(sites, "charter")) {
    try {
      envelopes.push(await fetchDocument(sites, "charter", id));
    } catch (error) {
      if (!isExclaveError(error, "not-found")) throw error;
    }
  }
  return verifyCharters(envelopes, recovery.signing.publicKey);
}

function requireAgent(trial: Home, charters: CharterChain): void {
  if (charters.agents.get(trial.agent.id)?.term === charters.current.term) return;
  throw new ExclaveError(
    "untrusted",
    "this trial's home has been superseded: another home was recovered from its sites and " +
      "writes now. Nothing was changed; go on with that one",
  );
}

function successor(
  { current, currentId }: CharterChain,
  name: string,
  readerKem: Uint8Array | undefined,
  now: Date,
): Charter {
  return {
    ...current,
    version: current.version + 1,
    previous: currentId,
    name,
    time: now.toISOString(),
    random: documentRandom(),
    ...(readerKem ? { reader: { kem: toBase64(readerKem) } } : {}),
  };
}

async function writeKeys(
  options: AdoptOptions,
  trial: Home,
  recovery: RecoveryKey,
  readerSeed: Uint8Array | undefined,
): Promise<void> {
  const { stateName, passphrase, workFactor } = options;
  const key = { stateName, state: trial.state };
  await writeKeyFile(
    options.recoveryKeyFile,
    await sealKey("recovery-key", { ...key, seed: recovery.seed }, passphrase, workFactor),
  );
  if (readerSeed && options.readerKeyFile !== undefined) {
    await writeKeyFile(
      options.readerKeyFile,
      await sealKey("reader-key", { ...key, seed: readerSeed }, passphrase, workFactor),
    );
  }
}

/**
 * A copy of the trial's home, beside the place where it will be. Not flushed to disk as a whole: should
 * a power cut take some of it, the recovery key brings it back from the sites.
 */
async function copyHome(
  trial: Home,
  path: string,
  charters: CharterChain,
  next: StoredDocument,
): Promise<string> {
  const building = join(dirname(path), `.${basename(path)}.adopting`);
  await rm(building, { recursive: true, force: true });
  await mkdir(dirname(building), { recursive: true });
  // Closing the last connection folds SQLite's journal into the file.
  new Catalog(trial.catalogPath, trial.state).close();
  await cp(trial.path, building, { recursive: true, preserveTimestamps: true });
  for (const folder of ["locks", "tmp"]) {
    await rm(join(building, folder), { recursive: true, force: true });
    await mkdir(join(building, folder), { mode: 0o700 });
  }
  for (const [i, envelope] of [...charters.envelopes, next.bytes].entries()) {
    await writeDurably(
      join(building, "charter", `${i + 1}.json`),
      join(building, "tmp", `charter-${i + 1}`),
      [envelope],
    );
  }
  return building;
}

/** Lets the reader key open what the trial stored; later epochs are wrapped to it as they begin. */
async function wrapToReader(
  home: Home,
  sites: readonly OpenedSite[],
  readerKem: Uint8Array,
  now: Date,
): Promise<void> {
  for (const register of home.config.registers) {
    for (let epoch = 1; epoch <= register.epoch; epoch++) {
      const context = home.context(register, epoch);
      const key = await home.epochKey(context.register, epoch);
      if (!key) continue;
      const to = { recipient: "reader", publicKey: readerKem } as const;
      const by = { agent: home.agent, term: home.term, time: now };
      const wrap = wrapEpochKey(key, context, to, by);
      await putEverywhere(sites, `wrap/${wrap.id}`, wrap.bytes);
    }
  }
}

async function putEverywhere(
  sites: readonly OpenedSite[],
  name: string,
  bytes: Uint8Array,
): Promise<void> {
  for (const { name: siteName, site } of sites) {
    try {
      await site.put(name, [bytes]);
    } catch (cause) {
      if (!isExclaveError(cause)) throw cause;
      throw new ExclaveError(
        "write-quorum",
        `site ${siteName} did not take a document: ${cause.message}. What the trial stored is ` +
          `untouched; mend it and run this again with another --recovery-key file`,
        { cause },
      );
    }
  }
}
