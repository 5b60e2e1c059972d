/** The sites of a register, opened, in the order of its shards; those that do not answer are named, not hidden. */
import { fromBase64 } from "../crypto/bytes.ts";
import { parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { openDirectorySite, readDirectoryMarker } from "../sites/directory.ts";
import { limited } from "../sites/limit.ts";
import { retrying } from "../sites/retry.ts";
import type { Site } from "../sites/site.ts";
import { agentKeys, openDocument, type SiteDocument } from "./documents.ts";
import { type Home, identityOf, type RegisterConfig, type SiteConfig } from "./home.ts";
import type { KnownState } from "./known-state.ts";

/** Calls in flight at one site: enough to hide latency, few enough to bound memory. */
const CALLS_PER_SITE_MAX = 8;

/** A site of a register: open, or why not. */
export type SitePlace =
  | { readonly name: string; readonly site: Site }
  | { readonly name: string; readonly problem: string };

export function isOpen(place: SitePlace): place is SitePlace & { readonly site: Site } {
  return "site" in place;
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
          problem: `home does not know where site "${name}" is: exclave site add ${name} --country CC --directory DIR`,
        };
      try {
        return { name, site: await openSite(config, home.known) };
      } catch (error) {
        // A foreign site is no site that is down: going on could spread a mistake.
        if (!isExclaveError(error) || error.code === "foreign-state") throw error;
        return { name, problem: error.message };
      }
    }),
  );
}

/** Opens one site, held to this State. Throws `site-unavailable`, `foreign-state`, `untrusted`. */
export async function openSite(config: SiteConfig, known: KnownState): Promise<Site> {
  const { name } = await readSiteDocument(config.directory, known);
  if (name !== config.name) {
    // One disk under two names would hold two shards of everything.
    throw new ExclaveError(
      "site-unavailable",
      `the directory ${config.directory} is that of site "${name}", not of "${config.name}"`,
    );
  }
  const site = await openDirectorySite(config.directory, identityOf(config));
  return retrying(limited(site, CALLS_PER_SITE_MAX));
}

/** The signed document of the site in a directory, verified. */
export async function readSiteDocument(
  directory: string,
  known: KnownState,
): Promise<SiteDocument> {
  const marker = await readMarker(directory);
  const stated = statedState(marker);
  if (stated !== known.id) {
    throw new ExclaveError(
      "foreign-state",
      `the site at ${directory} belongs to another State. Nothing was changed; give the right directory`,
    );
  }
  return openDocument("site", marker, agentKeys(known)).document;
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
