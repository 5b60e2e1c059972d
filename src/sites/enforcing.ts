/** Which sites do more than store: they sign receipts and cosign the ledger. */
import { breaking } from "./circuit.ts";
import type { RemoteSite } from "./remote.ts";
import type { Site } from "./site.ts";

/** The site as one that enforces; undefined for one that only stores. */
export function asEnforcing(site: Site): RemoteSite | undefined {
  return "addCheckpoint" in site ? (site as RemoteSite) : undefined;
}

/** The same site, left alone for a while when it does not answer again and again. */
export function breakingRemote(site: RemoteSite): RemoteSite {
  return {
    ...breaking(site),
    key: site.key,
    receipts: (names) => site.receipts(names),
    status: () => site.status(),
    addCheckpoint: (body) => site.addCheckpoint(body),
    close: () => site.close(),
  };
}
