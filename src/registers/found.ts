/** `found`: makes a State: its recovery key, its founding charter, its home. */
import { randomBytes } from "node:crypto";
import { toBase64 } from "../crypto/bytes.ts";
import { kemKeyPairFromSeed } from "../crypto/kem.ts";
import { signingKeyFromSeed } from "../crypto/signing.ts";
import { ExclaveError } from "../errors.ts";
import { createDirectorySite, readDirectoryMarker } from "../sites/directory.ts";
import { type Charter, documentRandom, signCharter, signDocument } from "../vault/documents.ts";
import { Home, refuseExistingHome, type SiteConfig } from "../vault/home.ts";
import { openSite, readSiteDocument } from "../vault/open-sites.ts";
import { recoveryKeyFromSeed, sealKey } from "../vault/recovery-key.ts";
import { writeKeyFile } from "./key-files.ts";

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

/** Makes a State and its home. Nothing is left behind when it fails, but key files already written. */
export async function found(options: FoundOptions): Promise<Home> {
  const { stateName, now, passphrase } = options;
  await refuseExistingHome(options.home);
  const recovery = recoveryKeyFromSeed(randomBytes(32));
  const readerSeed = options.readerKeyFile === undefined ? undefined : randomBytes(32);
  const agentSeed = randomBytes(32);
  const agent = signingKeyFromSeed(agentSeed);
  const charter: Charter = {
    kind: "charter",
    format: 1,
    version: 1,
    name: stateName,
    time: now.toISOString(),
    random: documentRandom(),
    term: 1,
    recovery: {
      kem: toBase64(recovery.kem.publicKey),
      signing: toBase64(recovery.signing.publicKey.bytes),
    },
    ...(readerSeed ? { reader: { kem: toBase64(kemKeyPairFromSeed(readerSeed).publicKey) } } : {}),
    agents: [{ signing: toBase64(agent.publicKey.bytes), term: 1 }],
  };
  const founding = signCharter(charter, recovery.signing);
  const key = { stateName, state: founding.state };
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
  return Home.create(options.home, {
    config: {
      format: 1,
      state: founding.state,
      stateName,
      recovery: charter.recovery.signing,
      sites: [],
      registers: [],
    },
    charters: [founding.bytes],
    agentSeed,
  });
}

/** Admits a site: marks its directory, and gives it the charters. */
export async function addSite(home: Home, config: SiteConfig, now: Date): Promise<void> {
  if (home.config.sites.some(({ name }) => name === config.name)) {
    throw new ExclaveError("usage", `there is a site "${config.name}" already`);
  }
  const { name, country, operator, hazardZone } = config;
  const document = signDocument(
    {
      kind: "site",
      format: 1,
      state: home.state,
      stateName: home.config.stateName,
      time: now.toISOString(),
      random: documentRandom(),
      name,
      country,
      operator,
      hazardZone,
    },
    [home.agent],
  );
  if (await readDirectoryMarker(config.directory)) await requireSameSite(home, config);
  else await createDirectorySite(config.directory, document.bytes);
  const site = await openSite(config, home);
  const { charters, envelopes } = home.charters;
  for (const [i, { id }] of charters.entries()) {
    await site.put(`charter/${id}`, [envelopes[i] ?? new Uint8Array()]);
  }
  await home.saveConfig({ ...home.config, sites: [...home.config.sites, config] });
}

/** A site that the State has already, to be known at this home too: it must be the one that it says. */
async function requireSameSite(home: Home, config: SiteConfig): Promise<void> {
  const document = await readSiteDocument(config.directory, home.state, home.charters);
  for (const field of ["name", "country", "operator", "hazardZone"] as const) {
    if (document[field] === config[field]) continue;
    throw new ExclaveError(
      "usage",
      `${config.directory} is a site of this State with ${field} "${document[field]}", not "${config[field]}". Nothing was changed`,
    );
  }
}
