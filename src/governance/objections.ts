/**
 * Vetoes and freezes count on delivery to any site. Home takes those that its sites have been given into the ledger,
 * before it lets anything take effect.
 */
import { keysFor } from "../charter/assess.ts";
import { openPaper } from "../charter/decision.ts";
import { isExclaveError } from "../errors.ts";
import type { Home } from "../vault/home.ts";
import type { SitePlace } from "../vault/open-sites.ts";
import { takeUnknown } from "../vault/site-documents.ts";
import { object } from "./decide.ts";

/** More than people sign; what is beyond waits for the next time. */
const TAKEN_AT_ONCE_MAX = 1000;
/** Of each kind that a site is asked for: what it names that is none, or that it cannot give, counts too. */
const ASKED_PER_SITE_MAX = 1000;

/**
 * Takes in what the sites have and the ledger has not. Returns how many came in.
 *
 * @param onNotice told of a site that names more than it gives, or than people sign
 */
export async function takeObjections(
  home: Home,
  places: readonly SitePlace[],
  now: Date,
  onNotice?: (notice: string) => void,
): Promise<number> {
  let taken = 0;
  for (const kind of ["veto", "freeze"] as const) {
    const named = new Set(
      await home.withLedger((log) => [...log.entriesOf([kind])].map(({ envelope }) => envelope)),
    );
    let before: Promise<unknown> = Promise.resolve();
    await takeUnknown(places, kind, {
      isKnown: (id) => named.has(id),
      perSiteMax: ASKED_PER_SITE_MAX,
      onNotice,
      take: (_, envelope) => {
        // Sites are asked at the same time, and the ledger grows by one after another.
        const next = before.then(async () => {
          if (taken < TAKEN_AT_ONCE_MAX) taken += await takeOne(home, kind, envelope, now);
        });
        before = next;
        return next;
      },
    });
  }
  return taken;
}

/** How many came in: none of what is in the ledger in another envelope, or is signed by nobody who has a seat now. */
async function takeOne(
  home: Home,
  kind: "veto" | "freeze",
  envelope: Uint8Array,
  now: Date,
): Promise<0 | 1> {
  const count = (): number => home.known.history[kind === "veto" ? "vetoes" : "freezes"].length;
  try {
    openPaper(kind, envelope, home.state, keysFor([home.charter]));
    const before = count();
    await object(home, kind, envelope, now);
    return count() > before ? 1 : 0;
  } catch (error) {
    if (!isExclaveError(error) || error.code === "bug") throw error;
    return 0;
  }
}
