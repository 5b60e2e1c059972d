/** Sites of the State: which directories they are, and how they are admitted. */
import { ExclaveError } from "../errors.ts";
import { createDirectorySite, readDirectoryMarker } from "../sites/directory.ts";
import { documentRandom, signDocument } from "../vault/documents.ts";
import type { Home, SiteConfig } from "../vault/home.ts";
import { readSiteDocument } from "../vault/open-sites.ts";
import { draftDecision, type Given, give } from "./decide.ts";
import { openAllSites, publish, requireCurrent, requirePublished } from "./ledger-at-sites.ts";

/**
 * Marks a site's directory as this State's, and remembers where it is. The State admits it by decision; until
 * then nothing is stored there.
 */
async function markSite(home: Home, config: SiteConfig, now: Date): Promise<void> {
  const { name, country, operator, hazardZone } = config;
  const known = home.config.sites.some((site) => site.name === name);
  if (known && home.charter.sites.some((site) => site.name === name)) {
    throw new ExclaveError("usage", `there is a site "${name}" already`);
  }
  const document = signDocument(
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
  );
  if (await readDirectoryMarker(config.directory)) await requireSameSite(home, config);
  else await createDirectorySite(config.directory, document.bytes);
  await home.changeConfig((before) => {
    const others = before.sites.filter((site) => site.name !== name);
    return { ...before, sites: [...others, config] };
  });
}

/**
 * Admits a site: marks its directory, decides, and brings it all that the ledger names. Undefined for one
 * that the State has admitted long ago, and that a home which was recovered finds again.
 */
export async function addSite(
  home: Home,
  config: SiteConfig,
  now: Date,
): Promise<Given | undefined> {
  const { name, country, operator, hazardZone } = config;
  const order = { kind: "admit-site", site: { name, country, operator, hazardZone } } as const;
  const grounds = {
    reason: `Site ${name} is to store for the State`,
    citation: "none given; proposed with exclave site add",
  };
  const isAdmitted = home.charter.sites.some((site) => site.name === name);
  // Before anything is touched: an order that no charter could follow is refused.
  if (!isAdmitted) await draftDecision(home, order, grounds, now);
  await markSite(home, config, now);
  if (!isAdmitted) return give(home, order, grounds, now);
  const places = await openAllSites(home);
  await requireCurrent(home, places);
  requirePublished(home, await publish(home, places));
  return undefined;
}

/** A site that the State has already, to be known at this home too: it must be the one that it says. */
async function requireSameSite(home: Home, config: SiteConfig): Promise<void> {
  const document = await readSiteDocument(config.directory, home.known);
  for (const field of ["name", "country", "operator", "hazardZone"] as const) {
    if (document[field] === config[field]) continue;
    throw new ExclaveError(
      "usage",
      `${config.directory} is a site of this State with ${field} "${document[field]}", not "${config[field]}". Nothing was changed`,
    );
  }
}
