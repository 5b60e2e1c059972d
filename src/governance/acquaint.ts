/**
 * A site that was away when this home took over does not know its key, and takes nothing from it. What tells it is the
 * succession, which anybody may bring; by that it takes the next ledger from this home, and follows it.
 */
import { isExclaveError } from "../errors.ts";
import { asEnforcing } from "../sites/enforcing.ts";
import type { Site } from "../sites/site.ts";
import { type Home, identityOf } from "../vault/home.ts";
import { isOpen, type SitePlace } from "../vault/open-sites.ts";
import { openAt, parseSiteAddress } from "../vault/site-address.ts";
import { bringAll } from "./ledger-at-sites.ts";

/** Has every site that enforces, answers and does not know this home learn of it. What cannot be done is said later. */
export async function acquaint(home: Home, places: readonly SitePlace[]): Promise<void> {
  const { successions } = home.known.history;
  if (successions.length === 0) return;
  await Promise.all(
    places.map(async (place) => {
      if (!isOpen(place)) return;
      const config = home.config.sites.find(({ name }) => name === place.name);
      const address = config && parseSiteAddress(config.at);
      if (!config || address?.kind !== "remote") return;
      try {
        if (await knowsHome(place.site, home.state)) return;
        const pinned = asEnforcing(place.site)?.key;
        const identity = identityOf(config);
        const { site } = await openAt(address, { identity, state: home.state, pinned });
        for (const { envelope } of successions) {
          const bytes = home.document("succession", envelope);
          await site.put(`succession/${envelope}`, [bytes]).catch(passOver);
        }
        await asEnforcing(site)?.close();
        await home.withGenerations((generations) => bringAll(home, generations, place.site));
      } catch (error) {
        passOver(error);
      }
    }),
  );
}

/** By a small request that is signed. */
async function knowsHome(site: Site, state: string): Promise<boolean> {
  try {
    await site.read(`charter/${state}`, 0, new Uint8Array(1));
    return true;
  } catch (error) {
    if (!isExclaveError(error) || error.code === "bug") throw error;
    return !isExclaveError(error.cause ?? error, "untrusted");
  }
}

/** An older succession is by a key that was replaced: the site takes the ones that it can follow. */
function passOver(error: unknown): void {
  if (!isExclaveError(error) || error.code === "bug") throw error;
}
