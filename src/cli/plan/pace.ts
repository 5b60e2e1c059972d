/** How fast the sites of a register are filled, over one link from home and a link of their own each. */
import { invariant } from "../../errors.ts";

export type Links = {
  /** From home, shared by all sites. */
  readonly bitsPerSecond: number;
  /** Of the site that it leads to; a site without one takes whatever comes. */
  readonly siteBitsPerSecond: ReadonlyMap<string, number>;
};

export type Pace = {
  /** To each site at once: all get a pack's shards before the next pack, so the slowest sets the pace. */
  readonly bitsPerSecondPerSite: number;
  /** The site whose own link is what holds all back; undefined when it is the one from home. */
  readonly heldBackBy?: string;
};

/** `sites` has at least one. */
export function paceOf(sites: readonly string[], links: Links): Pace {
  invariant(sites.length > 0, "a register has a site");
  let pace: Pace = { bitsPerSecondPerSite: links.bitsPerSecond / sites.length };
  for (const site of sites) {
    const own = links.siteBitsPerSecond.get(site);
    if (own !== undefined && own < pace.bitsPerSecondPerSite) {
      pace = { bitsPerSecondPerSite: own, heldBackBy: site };
    }
  }
  return pace;
}
