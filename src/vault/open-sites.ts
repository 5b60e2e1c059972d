/** The sites of a register, opened, in the order of its shards; those that do not answer are named, not hidden. */
import { fromBase64 } from "../crypto/bytes.ts";
import {
  type PublicSigningKey,
  parseSigningPublicKey,
  type SigningKey,
} from "../crypto/signing.ts";
import { parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { readDirectoryMarker } from "../sites/directory.ts";
import { asEnforcing } from "../sites/enforcing.ts";
import { limited } from "../sites/limit.ts";
import { asLocking, keepLocks } from "../sites/locking.ts";
import { retrying } from "../sites/retry.ts";
import type { Site } from "../sites/site.ts";
import { agentKeys, openDocument, type SiteDocument } from "./documents.ts";
import { type Home, identityOf, type RegisterConfig, type SiteConfig } from "./home.ts";
import type { KnownState } from "./known-state.ts";
import { openAt, parseSiteAddress } from "./site-address.ts";
import { readDocument } from "./site-documents.ts";

/** Calls in flight at one site: enough to hide latency, few enough to bound memory. */
const CALLS_PER_SITE_MAX = 8;

/** A site of a register: open, or why not. */
export type SitePlace =
  | { readonly name: string; readonly site: Site }
  | { readonly name: string; readonly problem: string };

export function isOpen(place: SitePlace): place is SitePlace & { readonly site: Site } {
  return "site" in place;
}

/** Whether some of them are reached over a network by our own protocol: then round trips cost more than memory does. */
export function isAnyFar(places: readonly SitePlace[]): boolean {
  return places.some((place) => isOpen(place) && asEnforcing(place.site) !== undefined);
}

/** The sites of a register, in the order of its shards. */
export async function openSites(
  home: Home,
  register: RegisterConfig,
): Promise<readonly SitePlace[]> {
  return Promise.all(
    register.sites.map(async (name) => {
      const config = home.config.sites.find((site) => site.name === name);
      if (!config)
        return {
          name,
          problem: `home does not know where site "${name}" is: exclave site add ${name} --country CC --directory DIR (or --card FILE)`,
        };
      try {
        return { name, site: await openSite(config, home) };
      } catch (error) {
        // A foreign site is no site that is down: going on could spread a mistake.
        if (!isExclaveError(error) || error.code === "foreign-state") throw error;
        return { name, problem: error.message };
      }
    }),
  );
}

/** Who opens a site: with which State in mind, and in whose name. A home is one. */
export type SiteAccess = { readonly known: KnownState; readonly agent: SigningKey };

/** Opens one site, held to this State. Throws `site-unavailable`, `foreign-state`, `untrusted`. */
export async function openSite(config: SiteConfig, access: SiteAccess): Promise<Site> {
  const { known, agent } = access;
  const address = parseSiteAddress(config.at);
  // Whose directory it is, is asked before anything is written in it.
  if (address.kind === "directory") requireName(config, await readMarkerOf(address.path, known));
  const pinned = pinnedKey(config, known);
  const { site } = await openAt(address, {
    identity: identityOf(config),
    state: known.id,
    pinned,
    signer: agent,
    bandwidth: config.bandwidth,
  });
  if (address.kind === "remote") {
    if (pinned) return site;
    throw new ExclaveError(
      "untrusted",
      `nobody has said which key site "${config.name}" at ${config.at} has: exclave site add ${config.name} --card FILE`,
    );
  }
  if (address.kind === "s3") requireName(config, await readSiteDocument(site, config.at, known));
  const calm = retrying(limited(site, CALLS_PER_SITE_MAX));
  const locking = asLocking(site);
  return locking ? keepLocks(calm, locking) : calm;
}

/** The key that a site that enforces must have: as the charter says, before it is admitted as its card does. */
function pinnedKey(config: SiteConfig, known: KnownState): PublicSigningKey | undefined {
  const admitted = known.charter.sites.find(({ name }) => name === config.name);
  const signing = admitted ? admitted.signing : config.signing;
  return signing === undefined ? undefined : parseSigningPublicKey(fromBase64(signing));
}

/** Throws unless the site's own document says that it is the one that home takes it for. */
function requireName(config: SiteConfig, { name }: SiteDocument): void {
  if (name === config.name) return;
  // One disk under two names would hold two shards of everything.
  throw new ExclaveError(
    "site-unavailable",
    `what is at ${config.at} is site "${name}", not "${config.name}"`,
  );
}

/** The signed document of the site in a directory, verified. */
export async function readMarkerOf(directory: string, known: KnownState): Promise<SiteDocument> {
  return openSiteDocument(await readMarker(directory), directory, known);
}

/** The signed document of a site that keeps it among its objects. Throws `site-unavailable` when there is none. */
export async function readSiteDocument(
  site: Site,
  at: string,
  known: KnownState,
): Promise<SiteDocument> {
  let asked = 0;
  let refused: unknown;
  for await (const name of site.list("site")) {
    if (++asked > SITE_DOCUMENTS_MAX) break;
    const bytes = await readDocument(site, name);
    if (!bytes) continue;
    try {
      return openSiteDocument(bytes, at, known);
    } catch (error) {
      if (!isExclaveError(error) || error.code === "bug") throw error;
      refused = error;
    }
  }
  throw refused ?? new ExclaveError("site-unavailable", `there is no site at ${at}`);
}

/** A place has one; others were put there by somebody else. */
const SITE_DOCUMENTS_MAX = 16;

function openSiteDocument(bytes: Uint8Array, at: string, known: KnownState): SiteDocument {
  if (statedState(bytes) !== known.id) {
    throw new ExclaveError(
      "foreign-state",
      `the site at ${at} belongs to another State. Nothing was changed; give the right address`,
    );
  }
  return openDocument("site", bytes, agentKeys(known)).document;
}

async function readMarker(directory: string): Promise<Uint8Array> {
  const marker = await readDirectoryMarker(directory).catch((cause: unknown) => {
    throw new ExclaveError("site-unavailable", `the site at ${directory} cannot be read`, {
      cause,
    });
  });
  if (marker) return marker;
  throw new ExclaveError(
    "site-unavailable",
    `there is no site at ${directory} (is the disk mounted?)`,
  );
}

/** Which State a site's document names, before anything is verified: only to tell a foreign site from a forged one. */
function statedState(marker: Uint8Array): string | undefined {
  try {
    const envelope = parseStrictJson(marker) as { readonly payload?: unknown };
    const payload = parseStrictJson(fromBase64(String(envelope.payload))) as {
      readonly state?: unknown;
    };
    return typeof payload.state === "string" ? payload.state : undefined;
  } catch {
    return undefined;
  }
}
