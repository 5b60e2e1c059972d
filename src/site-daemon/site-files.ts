/**
 * A site's folder (`$EXCLAVE_SITE`): what is the site's own, States aside.
 *
 *   site.json                   settings, which the operator edits
 *   keys/signing.json           the seed of the key that the charter pins (secret)
 *   keys/witness.json           the seed that cosigns ledgers (secret)
 *   keys/tls.key.pem, .cert.pem the key of its connections, new every two months (secret)
 *   grants/STATE.json           whom it serves
 *   states/STATE/…              what it keeps for whom
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { mkdir, readdir } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { ExclaveError } from "../errors.ts";
import { verifierKeysOf } from "../ledger/log-key.ts";
import { formatVerifierKey } from "../ledger/note.ts";
import { makeDirectoryDurably } from "../sites/durable.ts";
import { signEndorsement, tlsKeyId } from "../sites/endorsement.ts";
import { signSiteCard } from "../sites/site-card.ts";
import { readPrivateText, writeFileIn } from "./folder.ts";
import { type Grants, readGrants } from "./grant.ts";
import { KEYS_FOLDER, makeKeys, readKeys, type SiteKeys } from "./keys.ts";
import {
  findSettings,
  type NewSiteSettings,
  newSettings,
  readSettings,
  type SiteSettings,
  writeSettings,
} from "./settings.ts";
import { BACKDATED_MS, selfSignedCertificate, type TlsMaterial } from "./tls.ts";

const TLS_KEY_FILE = join(KEYS_FOLDER, "tls.key.pem");
const TLS_CERTIFICATE_FILE = join(KEYS_FOLDER, "tls.cert.pem");
const STATES_FOLDER = "states";
const TLS_DAYS = 90;
/** Renewed when less than this is left: a third, so that a month of trouble passes unnoticed. */
const TLS_DAYS_LEFT_MIN = 30;
const DAY_MS = 86_400_000;

/** TLS key, certificate, and the site's word for them. */
export type EndorsedTls = TlsMaterial & {
  readonly notAfter: Date;
  /** The answer to `GET /v1/identity`. */
  readonly endorsement: Uint8Array;
};

/** Makes a folder a site. Throws `usage` when it is one, and for what no site can be; then nothing was changed. */
export async function initSite(folder: string, from: NewSiteSettings): Promise<SiteFiles> {
  const settings = newSettings(from);
  if (await findSettings(folder)) throw alreadyThere(folder);
  await refuseOthersFolder(folder);
  await mkdir(dirname(resolve(folder)), { recursive: true, mode: 0o700 });
  await makeDirectoryDurably(folder);
  for (const inside of ["grants", STATES_FOLDER]) await makeDirectoryDurably(join(folder, inside));
  // Whoever was stopped here begins again with the same keys.
  await makeKeys(folder);
  // Last: without it there is no site.
  if (!(await writeSettings(folder, settings))) throw alreadyThere(folder);
  return openSiteFiles(folder);
}

/** What may be in a folder that becomes a site: a site that was cut short, an empty disk, the engine's settings. */
const MAY_BE_THERE: readonly string[] = ["grants", KEYS_FOLDER, STATES_FOLDER, "lost+found"];

/** Throws `usage` when something else is in it: it would be taken for the site's, and be given to its user. */
async function refuseOthersFolder(folder: string): Promise<void> {
  const present = await readdir(folder).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  });
  const strange = present.find((name) => !MAY_BE_THERE.includes(name) && !name.endsWith(".json"));
  if (strange === undefined) return;
  throw new ExclaveError(
    "usage",
    `${resolve(folder)} is not empty (there is ${JSON.stringify(strange)}). Nothing was made; give the site a folder of its own`,
  );
}

function alreadyThere(folder: string): ExclaveError {
  return new ExclaveError(
    "usage",
    `${resolve(folder)} is a site already. Nothing was changed; edit site.json there, or give another --folder`,
  );
}

/** Opens the folder of a site. Throws `usage` when it is none, `bad-key` when a key is not as it must be. */
export async function openSiteFiles(
  folder: string,
  { now = () => new Date() }: { readonly now?: () => Date } = {},
): Promise<SiteFiles> {
  const path = resolve(folder);
  const settings = await readSettings(path);
  return new SiteFiles(path, settings, await readKeys(path, settings.witness), now);
}

export class SiteFiles {
  readonly folder: string;
  readonly settings: SiteSettings;
  readonly keys: SiteKeys;
  readonly #now: () => Date;
  #tls: EndorsedTls | undefined;
  /** Connections that were there before a renewal show the older key as long as they last. */
  #tlsBefore: EndorsedTls | undefined;

  constructor(folder: string, settings: SiteSettings, keys: SiteKeys, now: () => Date) {
    this.folder = folder;
    this.settings = settings;
    this.keys = keys;
    this.#now = now;
  }

  /** What is kept for a State. */
  stateFolder(state: string): string {
    return join(this.folder, STATES_FOLDER, state);
  }

  /** Whom the site serves by now; read anew each time. */
  grants(): Promise<Grants> {
    return readGrants(this.folder);
  }

  /** The card by which a State admits this site. */
  card(): Uint8Array {
    const { name, country, operator, hazardZone, url, storage } = this.settings;
    const { signing, witness } = this.keys;
    const stated = {
      name,
      country,
      operator,
      hazardZone,
      url,
      witness: verifierKeysOf(witness).map(formatVerifierKey),
      storage: storage.kind,
    };
    return signSiteCard(signing, stated, this.#now());
  }

  /**
   * The TLS key to show now: made when there is none, and anew when less than a third of its time is left. Ask again
   * every hour, and give the server what comes (`setSecureContext`) when it is another one.
   */
  async tls(): Promise<EndorsedTls> {
    const current = this.#tls ?? (await this.#storedTls());
    if (current && this.#lasts(current)) {
      this.#tls = current;
      return current;
    }
    const made = this.#endorsed(await this.#makeTls());
    this.#tlsBefore = current;
    this.#tls = made;
    return made;
  }

  /**
   * The endorsement of the key that a connection shows; undefined for a key that is none of the last two.
   *
   * @param id `tlsKeyId` of the connection's own certificate
   */
  endorsementOf(id: string): Uint8Array | undefined {
    return [this.#tls, this.#tlsBefore].find((one) => one?.tlsKeyId === id)?.endorsement;
  }

  #lasts({ notAfter }: EndorsedTls): boolean {
    return notAfter.getTime() - this.#now().getTime() > TLS_DAYS_LEFT_MIN * DAY_MS;
  }

  /** What is on disk, when key and certificate belong together: a write of the two may have been cut short between. */
  async #storedTls(): Promise<EndorsedTls | undefined> {
    const keyPem = await readPrivateText(join(this.folder, TLS_KEY_FILE));
    const certificatePem = await readPrivateText(join(this.folder, TLS_CERTIFICATE_FILE));
    if (keyPem === undefined || certificatePem === undefined) return undefined;
    try {
      const certificate = new X509Certificate(certificatePem);
      if (!certificate.checkPrivateKey(createPrivateKey(keyPem))) return undefined;
      if (certificate.validFromDate > this.#now()) return undefined;
      return this.#endorsed({ keyPem, certificatePem, tlsKeyId: tlsKeyId(certificate.publicKey) });
    } catch {
      // Damaged: nothing depends on this key, so another one is made.
      return undefined;
    }
  }

  async #makeTls(): Promise<TlsMaterial> {
    const { name } = this.settings;
    const made = await selfSignedCertificate({ name, days: TLS_DAYS, now: this.#now() });
    await writeFileIn(join(this.folder, TLS_KEY_FILE), Buffer.from(made.keyPem));
    await writeFileIn(join(this.folder, TLS_CERTIFICATE_FILE), Buffer.from(made.certificatePem));
    return made;
  }

  #endorsed(material: TlsMaterial): EndorsedTls {
    const { validToDate } = new X509Certificate(material.certificatePem);
    const endorsement = signEndorsement(this.keys.signing, material.tlsKeyId, {
      from: new Date(this.#now().getTime() - BACKDATED_MS),
      until: validToDate,
    });
    return { ...material, notAfter: validToDate, endorsement };
  }
}
