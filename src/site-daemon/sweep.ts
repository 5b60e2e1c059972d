/**
 * What a site removes by itself, and what it keeps by itself. Removed are the shards of an epoch whose destruction is
 * ripe at this site, and nothing else, ever. docs/site-protocol.md, section 8.
 */
import { isExclaveError } from "../errors.ts";
import { DOCUMENT_BYTES_MAX } from "../sites/site.ts";
import { openStatement } from "../vault/documents.ts";
import type { KnownState } from "../vault/known-state.ts";
import { decodeManifest } from "../vault/manifest.ts";
import type { StateService } from "./state-service.ts";
import { shardFactsOf } from "./store.ts";

/** Shards between two notes of how far a removal got. */
const REMOVED_AT_ONCE = 256;
/** Names that are looked at before others have their turn. */
const NAMES_AT_ONCE = 500;
/** A lock is extended when less than this is left of it. */
const LOCK_SECONDS_MIN = 30 * 86_400;
/** And then to so much from now. */
const LOCK_SECONDS = 90 * 86_400;

/** A destruction that is ripe at this site. */
export type RipeRemoval = { readonly register: string; readonly epochs: readonly number[] };

export type Swept = { readonly objects: number; readonly bytes: number };

/**
 * Removes the shards of what is ripe. An epoch of which a receipt promised that it is kept waits until then. Killed at
 * any moment, it goes on the next time; what was removed is in the site's book.
 */
export async function removeRipe(
  service: StateService,
  ripe: readonly RipeRemoval[],
): Promise<Swept> {
  const { store, log, now } = service;
  let [objects, bytes] = [0, 0];
  const ended = new Set(
    store.book
      .removals()
      .filter((one) => one.ended)
      .map(({ register, epoch }) => `${register} ${epoch}`),
  );
  for (const { register, epochs } of ripe) {
    for (const epoch of epochs) {
      const promised = store.book.promisedUntil({ register, epoch });
      if (promised && promised > now()) continue;
      const key = `${register} ${epoch}`;
      const none = store.index.shardsOf(register, epoch, "", 1).length === 0;
      if (none && ended.has(key)) continue;
      store.book.beginRemoval(register, epoch, now());
      const removed = await removeEpoch(service, register, epoch);
      objects += removed.objects;
      bytes += removed.bytes;
      if (removed.objects > 0) {
        log.warn({ register, epoch, ...removed }, "an epoch was destroyed by a ripe decision");
      }
    }
  }
  return { objects, bytes };
}

async function removeEpoch(service: StateService, register: string, epoch: number): Promise<Swept> {
  const { store, log, now } = service;
  let [objects, bytes, locked] = [0, 0, 0];
  for (let after = ""; ; ) {
    const rows = store.index.shardsOf(register, epoch, after, REMOVED_AT_ONCE);
    let [some, someBytes] = [0, 0];
    for (const row of rows) {
      after = row.name.slice("shard/".length);
      // The index is a cache: what the shard itself says is what decides.
      if (!(await isOfEpoch(service, row.name, register, epoch))) {
        log.error(
          { object: row.name },
          "a shard is not of the epoch that the index says; it stays",
        );
        continue;
      }
      const promised = store.book.promisedUntil({ register, epoch });
      if (row.retainUntil > now() || (promised && promised > now())) {
        // Locked for so long; or a receipt was given meanwhile.
        locked++;
        continue;
      }
      try {
        await store.remove(row.name);
      } catch (error) {
        // A lock of the engine that has not run out yet. Nobody extends it any more.
        if (!isExclaveError(error, "refused")) throw error;
        locked++;
        continue;
      }
      some++;
      someBytes += row.bytes;
    }
    objects += some;
    bytes += someBytes;
    const isLast = rows.length < REMOVED_AT_ONCE;
    store.book.noteRemoval(
      register,
      epoch,
      { objects: some, bytes: someBytes },
      isLast && locked === 0 ? now() : undefined,
    );
    if (isLast) return { objects, bytes };
  }
}

async function isOfEpoch(
  { store }: StateService,
  name: string,
  register: string,
  epoch: number,
): Promise<boolean> {
  try {
    const facts = await shardFactsOf(store.storage, name);
    return facts.register === register && facts.epoch === epoch;
  } catch (error) {
    if (!isExclaveError(error)) throw error;
    // One that is gone already is removed from the index; one that is damaged is no shard any more.
    if (["not-found", "malformed", "altered"].includes(error.code)) return true;
    throw error;
  }
}

/**
 * Extends the locks of what statements reference, where the place has locks: nothing runs out while home is silent.
 * Those of an epoch that is to be destroyed run out.
 */
export async function extendReferenced(
  service: StateService,
  known: KnownState,
  ripe: readonly RipeRemoval[],
): Promise<number> {
  const { store, log, now } = service;
  const { extend } = store.storage;
  if (!extend) return 0;
  const enough = new Date(now().getTime() + LOCK_SECONDS_MIN * 1000);
  const until = new Date(now().getTime() + LOCK_SECONDS * 1000);
  let [extended, failed] = [0, 0];
  /** One that the engine lost, or will not lock now, keeps nobody from the others. */
  const each = async (name: string, work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      if (!isExclaveError(error) || error.code === "bug") throw error;
      failed++;
      log.warn({ object: name, code: error.code }, "a lock could not be extended");
    }
  };
  const keep = (name: string): Promise<void> =>
    each(name, async () => {
      const row = store.find(name);
      if (!row || row.retainUntil >= enough) return;
      await extend(name, until);
      store.index.retain(name, until);
      extended++;
    });
  const keepManifest = async (name: string): Promise<void> => {
    const row = store.find(name);
    // Extended last of all that it names, so that one which is done is not looked into again.
    if (!row || row.retainUntil >= enough) return;
    const content = await documentOf(service, row.name);
    const before = failed;
    for (const { id } of content ? decodeManifest(content).refs : []) {
      for (const rest of store.index.beginning("shard", `${id}.`, 64)) await keep(`shard/${rest}`);
    }
    if (failed === before) await keep(row.name);
  };
  for await (const statement of namesOf(service, "statement")) {
    await each(statement, async () => {
      const bytes = await documentOf(service, statement);
      for (const manifest of bytes ? manifestsOf(bytes, known, ripe) : []) {
        await each(`manifest/${manifest}`, () => keepManifest(`manifest/${manifest}`));
      }
    });
  }
  for (const kind of KEPT_KINDS) {
    for await (const name of namesOf(service, kind)) await keep(name);
  }
  return extended;
}

/** What a State is read back with, beside manifests and shards. */
const KEPT_KINDS = [
  "statement",
  "wrap",
  "charter",
  "decision",
  "veto",
  "freeze",
  "succession",
  "annex",
  "site-receipt",
  "share-set",
  "receipt",
  "check",
  "opening",
  "checkpoint",
  "ledger",
] as const;

function manifestsOf(
  statement: Uint8Array,
  known: KnownState,
  ripe: readonly RipeRemoval[],
): readonly string[] {
  try {
    const { register, epoch, manifests } = openStatement(statement, known).document;
    const isDoomed = ripe.some((one) => one.register === register && one.epochs.includes(epoch));
    return isDoomed ? [] : manifests;
  } catch (error) {
    if (isExclaveError(error) && error.code !== "bug") return [];
    throw error;
  }
}

async function* namesOf(
  { store }: StateService,
  kind: (typeof KEPT_KINDS)[number],
): AsyncIterable<string> {
  for (let after = ""; ; ) {
    const page = store.index.page(kind, after, NAMES_AT_ONCE);
    for (const rest of page) yield `${kind}/${rest}`;
    const last = page.at(-1);
    if (last === undefined || page.length < NAMES_AT_ONCE) return;
    after = last;
  }
}

async function documentOf({ store }: StateService, name: string): Promise<Uint8Array | undefined> {
  const row = store.find(name);
  if (!row || row.bytes > DOCUMENT_BYTES_MAX) return undefined;
  const bytes = new Uint8Array(row.bytes);
  return (await store.read(name, 0, bytes)) === bytes.length ? bytes : undefined;
}
