/** Which sites do more than store: they sign receipts and cosign the ledger. */
import type { RemoteSite } from "./remote.ts";
import type { Site } from "./site.ts";

/** The site as one that enforces; undefined for one that only stores. */
export function asEnforcing(site: Site): RemoteSite | undefined {
  return "addCheckpoint" in site ? (site as RemoteSite) : undefined;
}
