/**
 * Opens the wrapped epoch keys of a register with the recovery key, and holds them against what they
 * must open. A wrap that nobody has opened is a hope; what it protects is not called safe before.
 */

import { equalConstantTime } from "../crypto/bytes.ts";
import { ExclaveError } from "../errors.ts";
import type { Catalog } from "../vault/catalog.ts";
import { openStatement, openWrap, unwrapEpochKey } from "../vault/documents.ts";
import type { Home } from "../vault/home.ts";
import { parseId } from "../vault/identifiers.ts";
import { openSites } from "../vault/open-sites.ts";
import { recoveryKeyFromSeed } from "../vault/recovery-key.ts";
import { namesAt, readEach } from "../vault/site-documents.ts";

export type WrapsReport = {
  /** Epochs whose wrap opened and is the key that home uses. */
  readonly opened: readonly number[];
  /** Epochs whose recovery points the recovery key cannot bring back, and why. */
  readonly failed: readonly { readonly epoch: number; readonly why: string }[];
};

/** Throws `foreign-state` when the key is another State's. */
export async function checkWraps(options: {
  readonly home: Home;
  readonly catalog: Catalog;
  readonly register: string;
  readonly key: { readonly seed: Uint8Array; readonly state: string };
  readonly now: Date;
  /** Told in a sentence of a site that is passed by. */
  readonly onNotice?: (notice: string) => void;
}): Promise<WrapsReport> {
  const { home, catalog, key, now, onNotice } = options;
  if (key.state !== home.state) {
    throw new ExclaveError("foreign-state", "this recovery key belongs to another State");
  }
  const { kem } = recoveryKeyFromSeed(key.seed);
  const register = home.register(options.register);
  const id = parseId("RegisterId", register.id);
  const places = await openSites(home, register);
  const opened = new Map<string, Uint8Array>();
  // A wrap that does not open is as good as none; the epoch that has no other is named below.
  await readEach(await namesAt(places, "wrap", { onNotice }), "wrap", {
    onNotice,
    take: (_, bytes) => {
      const { document } = openWrap(bytes, home.known);
      if (document.register !== id || document.recipient !== "recovery") return;
      opened.set(document.epochKeyId, unwrapEpochKey(document, kem));
    },
  });
  const failed: { epoch: number; why: string }[] = [];
  const good: number[] = [];
  const used = new Map(
    catalog
      .snapshots(id)
      .map(({ epoch, envelope }) => [
        epoch,
        openStatement(envelope, home.known).document.epochKeyId,
      ]),
  );
  for (const [epoch, epochKeyId] of used) {
    const unwrapped = opened.get(epochKeyId);
    const atHome = await home.epochKey(id, epoch);
    if (!unwrapped) failed.push({ epoch, why: "no site has a wrap that this key opens" });
    else if (atHome && !equalConstantTime(unwrapped, atHome)) {
      failed.push({ epoch, why: "the wrap holds another key than home uses" });
    } else good.push(epoch);
  }
  for (const epoch of good) catalog.addOpenedWrap(id, epoch, now.toISOString());
  return { opened: good, failed };
}
