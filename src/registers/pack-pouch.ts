/**
 * Packs a pouch: what a site lacks of a register, made anew from the others where home has no copy, with all that the
 * site needs to judge it by. Needs no key of an epoch.
 */
import { join } from "node:path";
import { fromBase64 } from "../crypto/bytes.ts";
import { parseSigningPublicKey } from "../crypto/signing.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { publish, requireCurrent } from "../governance/ledger-at-sites.ts";
import { POUCH_KINDS } from "../sites/pouch.ts";
import {
  beginPouch,
  bytesInPouch,
  bytesOnMedium,
  finishPouch,
  type OpenPouch,
  roomOnMedium,
  writeProgram,
} from "../sites/pouch-medium.ts";
import type { Catalog, PackRow } from "../vault/catalog.ts";
import { type Home, identityOf, type RegisterConfig } from "../vault/home.ts";
import { parseId } from "../vault/identifiers.ts";
import { MANIFEST_ROW_BYTES, writeManifestRow } from "../vault/manifest.ts";
import { isOpen, openSites, type SitePlace } from "../vault/open-sites.ts";
import { PouchBook } from "../vault/pouch-book.ts";
import { shardBytes, shardName } from "../vault/shard.ts";
import { allNames, documentIds, namesAt, readEach } from "../vault/site-documents.ts";
import { type ReadPool, startReadPool } from "./epoch-reader.ts";
import { listHeldAt } from "./known-packs.ts";
import { defaultWorkers } from "./seal-session.ts";

export type PackOptions = {
  readonly home: Home;
  readonly catalog: Catalog;
  readonly register: string;
  readonly site: string;
  /** Where the pouch goes: a folder on the medium. */
  readonly folder: string;
  /** What it may take; as much as there is room when absent. */
  readonly mediaBytes?: number | undefined;
  /** The packed program, to send along. */
  readonly program?: { readonly bytes: Uint8Array; readonly sha256: string } | undefined;
  readonly now: Date;
  readonly onProgress?: (progress: PackProgress) => void;
};

export type PackProgress = { readonly shards: number; readonly bytes: number };

export type PackReport = {
  readonly pouch: string;
  readonly part: number;
  readonly folder: string;
  readonly register: string;
  readonly site: string;
  /** On this medium. */
  readonly shards: number;
  readonly documents: number;
  readonly bytes: number;
  readonly program?: string;
  /** What the site will still lack, other media on their way aside. */
  readonly left: { readonly shards: number; readonly bytes: number };
  /** Media of this size for it. */
  readonly mediaLeft: number;
  /** Packs that fewer than k sites have shards of. */
  readonly lostPacks: number;
  readonly problems: readonly string[];
  /** Why the site could not say what it has: then all is packed that it gave no receipt for. */
  readonly unreachable?: string;
};

/** Documents beside those that follow from home's ledger. */
const DOCUMENT_KINDS = ["wrap", "manifest", "statement"] as const;
const PACKS_IN_FLIGHT_MAX = 4;
const PROBLEMS_KEPT_MAX = 100;
const NOTED_AT_ONCE = 4096;
/** What fits into the lists of one pouch, with some to spare for documents. */
const SHARDS_MAX = 4000 * 4096;

/**
 * Packs a pouch, or goes on with one that was cut short. Only when the last of it is durable it is signed, and noted at
 * home as on its way.
 *
 * @throws ExclaveError `usage` when the site only stores, or the folder cannot take a pouch; `disk-full` when not even
 *   the documents fit
 */
export async function packPouch(options: PackOptions): Promise<PackReport> {
  const { home, folder, now, program } = options;
  const register = home.register(options.register);
  const place = placeOf(home, register, options.site);
  const places = await openSites(home, register);
  await requireCurrent(home, places);
  const book = new PouchBook(pouchBookPath(home));
  try {
    const identity = identityOf(home.site(options.site));
    const pouch = await beginPouch(folder, { state: home.state, site: place.keyId }, identity);
    await packDocuments(home, places, pouch, options.site);
    if (program) await writeProgram(folder, program.bytes);
    const run = new PackRun(options, register, place.index, places, pouch, book);
    await run.shards();
    const part = book.nextPart(options.site);
    const signed = await finishPouch(
      pouch,
      home.agent,
      {
        state: home.state,
        site: place.keyId,
        siteName: options.site,
        part,
        ...(program ? { program: { sha256: program.sha256, bytes: program.bytes.length } } : {}),
      },
      now,
    );
    const objects = signed.lists.reduce((sum, list) => sum + list.objects, 0);
    const bytes = signed.lists.reduce((sum, list) => sum + list.bytes, 0);
    const about = { site: options.site, register: register.name, part, objects, bytes };
    book.add({ id: pouch.id, time: signed.time, ...about });
    const shards = await noteCarried(book, options.site, pouch);
    return {
      pouch: pouch.id,
      part,
      folder,
      register: register.name,
      site: options.site,
      shards,
      documents: objects - shards,
      bytes,
      ...(program ? { program: program.sha256 } : {}),
      ...run.report(),
    };
  } finally {
    book.close();
  }
}

/** Where home keeps its book of pouches. */
export function pouchBookPath(home: Home): string {
  return join(home.path, "pouches", "book.sqlite");
}

/** Which shard of each pack is the site's, and the id of its key. */
function placeOf(home: Home, register: RegisterConfig, site: string) {
  const index = register.sites.indexOf(site);
  if (index < 0) {
    throw new ExclaveError(
      "unknown-name",
      `register "${register.name}" is not kept at a site "${site}"; it is at: ${register.sites.join(", ")}`,
    );
  }
  const signing = home.charter.sites.find(({ name }) => name === site)?.signing;
  if (signing === undefined) {
    throw new ExclaveError(
      "usage",
      `site "${site}" only stores: nobody there takes a pouch in, or signs for it. Connect its disk here, and run \`exclave repair ${register.name}\``,
    );
  }
  return { index, keyId: parseSigningPublicKey(fromBase64(signing)).id };
}

/** All that the site judges by, and the public documents of the vault. */
async function packDocuments(
  home: Home,
  places: readonly SitePlace[],
  pouch: OpenPouch,
  site: string,
): Promise<void> {
  const failures = await publish(home, [{ name: site, site: pouch.objects }]);
  const why = failures.get(site);
  if (why !== undefined) throw new ExclaveError("disk-full", `the pouch cannot be packed: ${why}`);
  for (const kind of DOCUMENT_KINDS) {
    const there = await documentIds([{ name: site, site: pouch.objects }], kind);
    const named = await namesAt(places, kind);
    await readEach(named, kind, {
      ids: [...allNames(named)].filter((id) => !there.has(id)),
      take: (id, bytes) => pouch.objects.put(`${kind}/${id}`, [bytes]),
      // Junk that no site has as its name says is not spread.
      onLeftOut: (_, error) => {
        if (error.code !== "not-found") throw error;
      },
    });
  }
}

/** Notes what is on the medium, some thousands at a time, and says how many shards that is. */
async function noteCarried(book: PouchBook, site: string, { id, objects }: OpenPouch) {
  let [count, names]: [number, string[]] = [0, []];
  for await (const name of objects.list("shard")) {
    names.push(name);
    count++;
    if (names.length < NOTED_AT_ONCE) continue;
    book.carry(site, id, names);
    names = [];
  }
  book.carry(site, id, names);
  return count;
}

class PackRun {
  readonly #options: PackOptions;
  readonly #register: RegisterConfig;
  readonly #index: number;
  readonly #places: readonly SitePlace[];
  readonly #pouch: OpenPouch;
  readonly #book: PouchBook;
  readonly #problems: string[] = [];
  #room = 0;
  #capacity = 0;
  #shards = 0;
  #bytes = 0;
  #lostPacks = 0;
  #leftShards = 0;
  #leftBytes = 0;
  #unreachable: string | undefined;

  constructor(
    options: PackOptions,
    register: RegisterConfig,
    index: number,
    places: readonly SitePlace[],
    pouch: OpenPouch,
    book: PouchBook,
  ) {
    this.#options = options;
    this.#register = register;
    this.#index = index;
    this.#places = places;
    this.#pouch = pouch;
    this.#book = book;
  }

  report() {
    const perMedium = Math.max(1, this.#capacity);
    return {
      left: { shards: this.#leftShards, bytes: this.#leftBytes },
      mediaLeft: Math.ceil(this.#leftBytes / perMedium),
      lostPacks: this.#lostPacks,
      problems: this.#problems,
      ...(this.#unreachable === undefined ? {} : { unreachable: this.#unreachable }),
    };
  }

  /** Packs shards as long as there is room; what is left is counted. */
  async shards(): Promise<void> {
    const { catalog, folder, mediaBytes, program } = this.#options;
    const free = await roomOnMedium(folder);
    const packed = await bytesInPouch(this.#pouch, ["shard"]);
    const others = POUCH_KINDS.filter((kind) => kind !== "shard");
    const documents = await bytesInPouch(this.#pouch, others);
    const most = (mediaBytes ?? Number.MAX_SAFE_INTEGER) - documents - (program?.bytes.length ?? 0);
    this.#capacity = Math.min(free + packed, most);
    this.#room = Math.min(free, most - packed);
    if (this.#room < 0) {
      throw new ExclaveError(
        "disk-full",
        "what must be on every medium takes more than there is room for. Nothing was signed; take larger media",
      );
    }
    await this.#listHeld();
    let pool: ReadPool | undefined;
    const inFlight: Promise<void>[] = [];
    try {
      for (const pack of catalog.packsOf(parseId("RegisterId", this.#register.id))) {
        if (!(await this.#isNeeded(pack))) continue;
        const bytes = bytesOnMedium(shardBytes(pack));
        if (bytes > this.#room || this.#shards + inFlight.length >= SHARDS_MAX) {
          this.#leftShards++;
          this.#leftBytes += bytes;
          continue;
        }
        this.#room -= bytes;
        pool ??= this.#startPool();
        inFlight.push(this.#pack(pool, pack));
        if (inFlight.length >= PACKS_IN_FLIGHT_MAX) await inFlight.shift();
      }
      await Promise.all(inFlight);
    } finally {
      await Promise.allSettled(inFlight);
      await pool?.close();
    }
  }

  #startPool(): ReadPool {
    const { id, k, sites } = this.#register;
    const register = parseId("RegisterId", id);
    const epochs = new Set(this.#options.catalog.snapshots(register).map(({ epoch }) => epoch));
    const shapes = [...epochs].flatMap((epoch) => this.#options.catalog.shapes(register, epoch));
    return startReadPool({
      workers: defaultWorkers(),
      places: this.#places,
      shapes: [...shapes, { k, n: sites.length }],
      numericOwner: false,
      onProblem: () => undefined,
    });
  }

  /** What the site lists, where it answers. */
  async #listHeld(): Promise<void> {
    const { catalog } = this.#options;
    catalog.beginHeld();
    const place = this.#places[this.#index];
    if (!place) return;
    if (!isOpen(place)) {
      this.#unreachable = place.problem;
      return;
    }
    try {
      await listHeldAt(catalog, place.site, this.#index);
    } catch (error) {
      if (!isExclaveError(error)) throw error;
      this.#unreachable = error.message;
    }
  }

  /** Whether the site lacks its shard of a pack, and no medium brings it. */
  async #isNeeded(pack: PackRow): Promise<boolean> {
    if (this.#index >= pack.n) return false;
    const name = shardName(pack.id, this.#index);
    if (this.#options.catalog.isHeld(name)) return false;
    // Packed by a run that was cut short.
    if (await this.#pouch.objects.stat(name)) return false;
    const carried = this.#book.find(this.#options.site, name);
    // It has confirmed the shard, and does not list it now: then it is to have it again.
    if (carried === "received") return this.#unreachable === undefined;
    return carried === undefined;
  }

  async #pack(pool: ReadPool, pack: PackRow): Promise<void> {
    const { onProgress } = this.#options;
    try {
      const row = Buffer.alloc(MANIFEST_ROW_BYTES);
      writeManifestRow(row, 0, pack);
      const { done } = await pool.submit({ type: "rebuild", row, indices: [this.#index] });
      const result = await done;
      if (result.type !== "rebuilt") {
        throw new ExclaveError("bug", "a worker answered another question");
      }
      for (const { index, parts } of result.shards) {
        await this.#pouch.objects.put(shardName(pack.id, index), parts);
        this.#shards++;
        this.#bytes += parts.reduce((sum, part) => sum + part.length, 0);
      }
      onProgress?.({ shards: this.#shards, bytes: this.#bytes });
    } catch (error) {
      if (!isExclaveError(error) || ["bug", "disk-full"].includes(error.code)) throw error;
      if (error.code === "not-enough-shards") this.#lostPacks++;
      if (this.#problems.length < PROBLEMS_KEPT_MAX) this.#problems.push(error.message);
    }
  }
}
