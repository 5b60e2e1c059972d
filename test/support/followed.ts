/** A State's objects at a site that follows it, brought there as home does, in steps or at once; for tests. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { checkpointName, fileName, type SignedHead } from "../../src/ledger/at-sites.ts";
import { GOVERNING_KINDS } from "../../src/ledger/entry.ts";
import type { Log } from "../../src/ledger/log.ts";
import { type SiteView, StateView, type ViewNotice } from "../../src/site-daemon/view.ts";
import { createDirectorySite, openDirectorySite } from "../../src/sites/directory.ts";
import type { Site } from "../../src/sites/site.ts";
import type { Home } from "../../src/vault/home.ts";
import type { LedgerDocumentKind } from "../../src/vault/known-state.ts";

export const identityAt = (name: string) => ({
  name,
  country: name.toUpperCase(),
  operator: name,
  hazardZone: name.toUpperCase(),
});

/** An empty place for objects. */
export async function emptyObjects(directory: string): Promise<Site> {
  await createDirectorySite(directory, new TextEncoder().encode("{}\n"));
  return openDirectorySite(directory, identityAt("xx"));
}

export const objectsAt = (directory: string, name = "bb"): Promise<Site> =>
  openDirectorySite(directory, identityAt(name));

/** Puts an object in the place of whatever has its name. */
export function overwrite(directory: string, name: string, bytes: Uint8Array): void {
  const [kind = "", rest = ""] = name.split("/");
  const path = join(directory, kind, rest.slice(0, 2), rest);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, bytes);
}

/** The heads that a ledger signed, smallest first. */
export function headsOf(log: Log): readonly SignedHead[] {
  return [...log.checkpointsBetween(1, log.size)].map(({ size, checkpoint }) => ({
    head: log.head(size),
    checkpoint,
  }));
}

/** Brings a place for objects from one size of home's open ledger to a checkpoint: documents, files, the checkpoint. */
export async function bring(
  home: Home,
  directory: string,
  from: number,
  { head, checkpoint }: SignedHead,
): Promise<void> {
  await home.withLedger((log) => {
    for (const { position, kind, envelope } of log.entriesOf(GOVERNING_KINDS)) {
      if (position < from || position >= head.size) continue;
      overwrite(
        directory,
        `${kind}/${envelope}`,
        home.document(kind as LedgerDocumentKind, envelope),
      );
    }
    for (const { path, bytes } of log.files(from, head.size)) {
      overwrite(directory, fileName(log.origin, path), bytes);
    }
    overwrite(directory, checkpointName(head, checkpoint), checkpoint);
  });
}

/** All that home has of its open ledger, at once. */
export async function bringAll(home: Home, directory: string): Promise<void> {
  let from = 0;
  for (const signed of await home.withLedger(headsOf)) {
    await bring(home, directory, from, signed);
    from = signed.head.size;
  }
}

/** A site that follows a State; the test sets its clock. */
export type Watcher = {
  readonly view: StateView;
  readonly notices: ViewNotice[];
  /** Follows on that day. */
  readonly on: (now: Date) => Promise<SiteView>;
  /** Opens what is in its folder again, as after a crash. */
  readonly again: (now: Date) => Promise<Watcher>;
};

export async function watch(
  folder: string,
  options: { readonly state: string; readonly objects: Site; readonly now: Date },
): Promise<Watcher> {
  const clock = { now: options.now };
  const notices: ViewNotice[] = [];
  const { state, objects } = options;
  const onNotice = (notice: ViewNotice): number => notices.push(notice);
  const view = await StateView.open({ folder, state, objects, now: () => clock.now, onNotice });
  return {
    view,
    notices,
    on: async (now) => {
      clock.now = now;
      const followed = await view.follow();
      assert.ok(followed, `it was followed: ${notices.map(({ message }) => message).join("; ")}`);
      return followed;
    },
    again: async (now) => {
      await view.close();
      return watch(folder, { ...options, now });
    },
  };
}
