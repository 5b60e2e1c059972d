/** Sites of the State: where they are, and how they are admitted. */
import { toHex } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { createDirectorySite, readDirectoryMarker } from "../sites/directory.ts";
import { requireTrustworthy } from "../sites/probe-report.ts";
import { documentRandom, type SiteDocument, signDocument } from "../vault/documents.ts";
import { type Home, identityOf, type SiteConfig } from "../vault/home.ts";
import { openSite, readMarkerOf, readSiteDocument } from "../vault/open-sites.ts";
import { openAt, parseSiteAddress } from "../vault/site-address.ts";
import { acquaint } from "./acquaint.ts";
import { type Given, give } from "./carry-out.ts";
import { draftDecision } from "./decide.ts";
import { openAllSites, publish, requireCurrent, requirePublished } from "./ledger-at-sites.ts";
import { probeSite } from "./probe-site.ts";

/**
 * Marks a place as this State's, and remembers where it is. The State admits it by decision; until then nothing is
 * stored there. A site that enforces marks itself: it has a key, which the decision names.
 */
async function markSite(home: Home, config: SiteConfig, now: Date): Promise<void> {
  const { name } = config;
  const known = home.config.sites.some((site) => site.name === name);
  if (known && home.charter.sites.some((site) => site.name === name)) {
    throw new ExclaveError("usage", `there is a site "${name}" already`);
  }
  const address = parseSiteAddress(config.at);
  switch (address.kind) {
    case "directory":
      if (await readDirectoryMarker(address.path)) {
        requireSame(config, await readMarkerOf(address.path, home.known));
      } else await createDirectorySite(address.path, siteDocument(home, config, now));
      break;
    case "s3":
      await requireHonest(home, config);
      await markBucket(home, config, now);
      break;
    case "remote":
      // Whoever answers there has the key that is to be admitted, and serves this State.
      await openSite(config, home);
  }
  await home.changeConfig((before) => {
    const others = before.sites.filter((site) => site.name !== name);
    return { ...before, sites: [...others, config] };
  });
}

/** Throws `check-failed` for an engine that gives way to who has its credentials; the report says in what. */
async function requireHonest(home: Home, config: SiteConfig): Promise<void> {
  const { report, lock } = await probeSite(home, config);
  // A bucket that is said not to lock is a rehearsal's.
  if (lock) requireTrustworthy(report);
}

async function markBucket(home: Home, config: SiteConfig, now: Date): Promise<void> {
  const { site } = await openAt(parseSiteAddress(config.at), {
    identity: identityOf(config),
    state: home.state,
  });
  try {
    requireSame(config, await readSiteDocument(site, config.at, home.known));
  } catch (error) {
    if (!isExclaveError(error, "site-unavailable")) throw error;
    const document = siteDocument(home, config, now);
    await site.put(`site/${toHex(sha256(document))}`, [document]);
  }
}

function siteDocument(home: Home, config: SiteConfig, now: Date): Uint8Array {
  const { name, country, operator, hazardZone } = config;
  return signDocument(
    {
      kind: "site",
      format: 1,
      state: home.state,
      stateName: home.charter.name,
      time: now.toISOString(),
      random: documentRandom(),
      name,
      country,
      operator,
      hazardZone,
    },
    [home.agent],
  ).bytes;
}

/**
 * Admits a site: marks its place, decides, and brings it all that the ledger names. Undefined for one that the
 * State has admitted long ago, and that a home which was recovered, or a site that moved, is to find again.
 */
export async function addSite(
  home: Home,
  config: SiteConfig,
  now: Date,
): Promise<Given | undefined> {
  const { name, country, operator, hazardZone, signing } = config;
  const site = { name, country, operator, hazardZone, ...(signing ? { signing } : {}) };
  const order = { kind: "admit-site", site } as const;
  const grounds = {
    reason: `Site ${name} is to store for the State`,
    citation: "none given; proposed with exclave site add",
  };
  const isAdmitted = home.charter.sites.some((one) => one.name === name);
  // Before anything is touched: an order that no charter could follow is refused.
  if (!isAdmitted) await draftDecision(home, order, grounds, now);
  await markSite(home, config, now);
  if (!isAdmitted) return give(home, order, grounds, now);
  const places = await openAllSites(home);
  await acquaint(home, places);
  await requireCurrent(home, places);
  const failures = await publish(home, places);
  const why = failures.get(name);
  if (why !== undefined) {
    throw new ExclaveError(
      "site-unavailable",
      `home knows now where site "${name}" is, and could not bring it the ledger: ${why}. Mend it and run this again`,
    );
  }
  requirePublished(home, failures);
  return undefined;
}

/** A site that the State has already, to be known at this home too: it must be the one that it says. */
function requireSame(config: SiteConfig, document: SiteDocument): void {
  for (const field of ["name", "country", "operator", "hazardZone"] as const) {
    if (document[field] === config[field]) continue;
    throw new ExclaveError(
      "usage",
      `${config.at} is a site of this State with ${field} "${document[field]}", not "${config[field]}". Nothing was changed`,
    );
  }
}
