/** `found --from-trial`: makes a State of a trial, with what the trial stored. */
import { randomBytes } from "node:crypto";
import { cp, mkdir, readFile, rename, rm, rmdir, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { catchUpHome } from "../governance/catch-up.ts";
import { decide } from "../governance/decide.ts";
import { type FoundOptions, publicPartOf } from "../governance/found.ts";
import { type PublishFailures, publish, requireCurrent } from "../governance/ledger-at-sites.ts";
import { readDirectoryMarker } from "../sites/directory.ts";
import { syncDirectory } from "../sites/durable.ts";
import type { Site } from "../sites/site.ts";
import { Catalog } from "../vault/catalog.ts";
import { firstEpochOf, wrapEpochKey } from "../vault/documents.ts";
import { Home, refuseExistingHome, type SiteConfig } from "../vault/home.ts";
import { parseId } from "../vault/identifiers.ts";
import { writeKeyFile } from "../vault/key-files.ts";
import { lockRegister } from "../vault/lock.ts";
import { isOpen, openSite, type SitePlace } from "../vault/open-sites.ts";
import {
  openKey,
  type RecoveryKey,
  readerKeyFromSeed,
  recoveryKeyFromSeed,
  sealKey,
} from "../vault/recovery-key.ts";

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
 * Makes a State of the trial: the same recovery seed under a new passphrase, a decision that gives the State
 * its name, and the trial's home, agent and sites. The trial's own home loses the agent's key, and can write
 * no more.
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
  const places: SitePlace[] = [];
  for (const site of sites) {
    places.push({ name: site.name, site: await openSite(site, trial) });
  }
  const readerSeed = options.readerKeyFile === undefined ? undefined : randomBytes(32);
  const reader = readerSeed && readerKeyFromSeed(readerSeed);
  const building = await copyHome(trial, path);
  const draft = await Home.open(building);
  await draft.changeConfig((config) => ({ ...config, sites: [...sites] }));
  // What an adoption that was cut short brought to the sites already is taken up.
  await catchUpHome(draft, places);
  // Throws when the trial was recovered or adopted elsewhere meanwhile: two homes must not write.
  await requireCurrent(draft, places);
  void draft.term;

  await writeKeys(options, trial, recovery, readerSeed);
  await decide(
    draft,
    {
      kind: "amend",
      name: options.stateName,
      ...(reader ? { reader: publicPartOf(reader) } : {}),
    },
    { reason: "The State keeps its trial", citation: "exclave found --from-trial" },
    options.now,
  );
  if (reader) await wrapToReader(draft, places.filter(isOpen), reader.kem.publicKey, options.now);
  requireEverywhere(await publish(draft, places));
  await rmdir(path).catch(() => undefined);
  await rename(building, path);
  await syncDirectory(dirname(path));
  // One agent, one home: the trial's gets a key that the charter does not name, and can write no more.
  await trial.replaceAgent(randomBytes(32));
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
      return (await readDirectoryMarker(beside)) ? { ...site, at: beside } : site;
    }),
  );
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
async function copyHome(trial: Home, path: string): Promise<string> {
  const building = join(dirname(path), `.${basename(path)}.adopting`);
  await rm(building, { recursive: true, force: true });
  await mkdir(dirname(building), { recursive: true });
  // Closing the last connection folds SQLite's journal into the file.
  new Catalog(trial.catalogPath, trial.state).close();
  await trial.withGenerations(() => undefined);
  await cp(trial.path, building, { recursive: true, preserveTimestamps: true });
  for (const folder of ["locks", "tmp"]) {
    await rm(join(building, folder), { recursive: true, force: true });
    await mkdir(join(building, folder), { mode: 0o700 });
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
    for (let epoch = firstEpochOf(home.term); epoch <= register.epoch; epoch++) {
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
  const failures = new Map<string, string>();
  for (const { name: siteName, site } of sites) {
    try {
      await site.put(name, [bytes]);
    } catch (error) {
      if (!isExclaveError(error)) throw error;
      failures.set(siteName, error.message);
    }
  }
  requireEverywhere(failures);
}

function requireEverywhere(failures: PublishFailures): void {
  const [first] = failures;
  if (!first) return;
  const [site, why] = first;
  throw new ExclaveError(
    "write-quorum",
    `site ${site} did not take a document: ${why}. What the trial stored is untouched; mend it and run this again with another --recovery-key file`,
  );
}
