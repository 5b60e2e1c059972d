/** A pouch on its medium: how it is written, and read by whoever believes nothing of it. */
import { createHash, randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, readdir, rm, stat, statfs } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { toHex } from "../crypto/bytes.ts";
import { ENVELOPE_BYTES_MAX } from "../crypto/dsse.ts";
import { sha256 } from "../crypto/hash.ts";
import type { PublicSigningKey, SigningKey } from "../crypto/signing.ts";
import { parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { createDirectorySite, openDirectorySite, readDirectoryMarker } from "./directory.ts";
import { makeDirectoryDurably, writeDurably } from "./durable.ts";
import {
  encodeList,
  encodeMarker,
  LIST_BYTES_MAX,
  LIST_OBJECTS_MAX,
  LISTS_FOLDER,
  needsHash,
  OBJECTS_FOLDER,
  openPouch,
  POUCH_FILE,
  POUCH_KINDS,
  type Pouch,
  type PouchEntry,
  PROGRAM_FILE,
  parseList,
  parseMarker,
  RECEIPTS_FOLDER,
  type StatedPouch,
  signPouch,
} from "./pouch.ts";
import { DOCUMENT_BYTES_MAX, type ObjectKind, type Site, type SiteIdentity } from "./site.ts";

/** A receipt has at most 4096 names, times and sizes, and is in base64. */
const RECEIPT_BYTES_MAX = 1024 * 1024;
const RECEIPTS_MAX = 4 * 4096;
/** Blocks of a file system, in which a small file takes a whole one. */
const BLOCK_BYTES = 4096;
/** Kept free for lists, receipts, and what file systems need: of the whole, and for each object. */
const SPARE_BYTES = 16 * 1024 * 1024;
const SPARE_PER_OBJECT_BYTES = 512;

/** A pouch that is being packed. */
export type OpenPouch = {
  readonly id: string;
  readonly folder: string;
  /** Its objects, as those of a site. */
  readonly objects: Site;
};

/**
 * Makes a folder a pouch, or goes on with one that was not finished. Throws `usage` when the folder has a finished one
 * in it, or something else.
 */
export async function beginPouch(
  folder: string,
  to: { readonly state: string; readonly site: string },
  identity: SiteIdentity,
): Promise<OpenPouch> {
  if (await readWhole(join(folder, POUCH_FILE), ENVELOPE_BYTES_MAX)) {
    throw new ExclaveError(
      "usage",
      `${folder} is a packed pouch. Nothing was changed; give an empty folder, or delete it when it was delivered`,
    );
  }
  const place = join(folder, OBJECTS_FOLDER);
  const present = await readDirectoryMarker(place);
  const marker = present && markerOf(present);
  if (present && (marker?.state !== to.state || marker.site !== to.site)) {
    throw new ExclaveError(
      "usage",
      `${folder} is something else than a pouch for this site. Nothing was changed; give an empty folder`,
    );
  }
  const id = marker?.pouch ?? toHex(randomBytes(16));
  await makeDirectoryDurably(folder);
  await createDirectorySite(place, encodeMarker({ ...to, pouch: id }));
  return { id, folder, objects: await openDirectorySite(place, identity) };
}

function markerOf(bytes: Uint8Array) {
  try {
    return parseMarker(parseStrictJson(bytes));
  } catch (error) {
    if (isExclaveError(error)) return undefined;
    throw error;
  }
}

/** What an object of so many bytes takes on a medium, its lines in lists and receipts included. */
export function bytesOnMedium(bytes: number): number {
  return Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES + SPARE_PER_OBJECT_BYTES;
}

/** How much a medium still takes, with room left for lists and receipts. */
export async function roomOnMedium(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return Math.max(0, bavail * bsize - SPARE_BYTES);
}

/** What the objects of these kinds take on the medium so far. */
export async function bytesInPouch(
  { objects }: OpenPouch,
  kinds: readonly ObjectKind[],
): Promise<number> {
  let bytes = 0;
  for (const kind of kinds) {
    for await (const name of objects.list(kind)) {
      bytes += bytesOnMedium((await objects.stat(name))?.bytes ?? 0);
    }
  }
  return bytes;
}

/** Writes the lists of what is in a pouch, then signs them. From now on it is one. */
export async function finishPouch(
  { id, folder, objects }: OpenPouch,
  agent: SigningKey,
  stated: Omit<StatedPouch, "pouch" | "lists">,
  now: Date,
): Promise<Pouch> {
  const lists: Pouch["lists"][number][] = [];
  await makeDirectoryDurably(join(folder, LISTS_FOLDER));
  for await (const entries of listsOf(objects)) {
    const { text, sha256: list } = encodeList(entries);
    await writeInto(folder, join(LISTS_FOLDER, list), text);
    const bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0);
    lists.push({ sha256: list, objects: entries.length, bytes });
  }
  await makeDirectoryDurably(join(folder, RECEIPTS_FOLDER));
  const envelope = signPouch(agent, { ...stated, pouch: id, lists }, now);
  await writeInto(folder, POUCH_FILE, envelope);
  return openPouch(envelope).pouch;
}

/** What is there, a list at a time. */
async function* listsOf(objects: Site): AsyncGenerator<readonly PouchEntry[]> {
  for (const kind of POUCH_KINDS) {
    let entries: PouchEntry[] = [];
    for await (const name of objects.list(kind)) {
      const info = await objects.stat(name);
      if (!info) continue;
      entries.push(needsHash(name) ? { ...info, sha256: await hashOf(objects, info) } : info);
      if (entries.length < LIST_OBJECTS_MAX) continue;
      yield sorted(entries);
      entries = [];
    }
    if (entries.length > 0) yield sorted(entries);
  }
}

/** Tiles are read in the order of their paths, and papers in any. */
function sorted(entries: readonly PouchEntry[]): readonly PouchEntry[] {
  return entries.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

async function hashOf(objects: Site, { name, bytes }: PouchEntry): Promise<string> {
  const whole = new Uint8Array(Math.min(bytes, DOCUMENT_BYTES_MAX));
  await objects.read(name, 0, whole);
  return toHex(sha256(whole));
}

/** Puts a file onto the medium, durably, in the place of an older one. */
async function writeInto(folder: string, file: string, bytes: Uint8Array): Promise<void> {
  const path = join(folder, file);
  const temporary = join(dirname(path), `.${basename(path).slice(0, 80)}.tmp`);
  await rm(temporary, { force: true });
  await writeDurably(path, temporary, [bytes]);
}

/** Puts the packed program beside the objects. */
export async function writeProgram(folder: string, bytes: Uint8Array): Promise<void> {
  await writeInto(folder, PROGRAM_FILE, bytes);
}

/** A pouch as it was found: signed by the key that it names, and by whom that is, others judge. */
export type FoundPouch = {
  readonly folder: string;
  readonly pouch: Pouch;
  readonly key: PublicSigningKey;
  /** The signed manifest. */
  readonly envelope: Uint8Array;
  readonly objects: Site;
};

/** Opens a packed pouch. Throws `usage` when there is none; as `openPouch` does when it is not as it was signed. */
export async function readPouch(folder: string): Promise<FoundPouch> {
  const envelope = await readWhole(join(folder, POUCH_FILE), ENVELOPE_BYTES_MAX);
  if (!envelope) {
    throw new ExclaveError(
      "usage",
      `there is no packed pouch in ${folder}: no ${POUCH_FILE}. One that was not finished, \`exclave pouch pack\` goes on with`,
    );
  }
  const { pouch, key } = openPouch(envelope);
  const nowhere = {
    name: pouch.siteName,
    country: "XX",
    operator: "courier",
    hazardZone: "medium",
  };
  return {
    folder,
    pouch,
    key,
    envelope,
    objects: await openDirectorySite(join(folder, OBJECTS_FOLDER), nowhere),
  };
}

/** One of a pouch's lists, as bytes. Throws `altered` when it is gone or too large. */
export async function readList({ folder }: FoundPouch, id: string): Promise<Uint8Array> {
  const text = await readWhole(join(folder, LISTS_FOLDER, id), LIST_BYTES_MAX);
  if (text) return text;
  throw new ExclaveError("altered", `a list of the pouch is gone from ${folder}`);
}

/** The objects of one of a pouch's lists. Throws `altered`, `malformed`. */
export async function entriesOf(
  found: FoundPouch,
  list: Pouch["lists"][number],
): Promise<readonly PouchEntry[]> {
  return [...parseList(await readList(found, list.sha256), list).values()];
}

/**
 * Whether the program that a pouch brings is the one that was signed; undefined when it brings none. Its path is
 * `program.tgz` on the medium.
 */
export async function checkProgram({ folder, pouch }: FoundPouch): Promise<boolean | undefined> {
  const { program } = pouch;
  if (!program) return undefined;
  const path = join(folder, PROGRAM_FILE);
  const size = await stat(path).then(
    (info) => info.size,
    () => undefined,
  );
  if (size !== program.bytes) return false;
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex") === program.sha256;
}

/** Keeps what a site has signed for the objects of a list. A later one takes its place. */
export async function writeReceipt(folder: string, list: string, bytes: Uint8Array): Promise<void> {
  await makeDirectoryDurably(join(folder, RECEIPTS_FOLDER));
  await writeInto(folder, join(RECEIPTS_FOLDER, `${list}.json`), bytes);
}

/** What a site has signed, as it is on the medium; what is too large to be a receipt is passed over. */
export async function* readReceipts(folder: string): AsyncGenerator<Uint8Array> {
  const files = await readdir(join(folder, RECEIPTS_FOLDER)).catch(noFiles);
  for (const file of files.toSorted().slice(0, RECEIPTS_MAX)) {
    if (!/^[0-9a-f]{64}\.json$/.test(file)) continue;
    const bytes = await readWhole(join(folder, RECEIPTS_FOLDER, file), RECEIPT_BYTES_MAX).catch(
      () => undefined,
    );
    if (bytes) yield bytes;
  }
}

/** A file that is no larger than it may be; undefined when there is none. Throws `malformed`. */
async function readWhole(path: string, bytesMax: number): Promise<Uint8Array | undefined> {
  const file = await open(path, "r").catch((error: unknown) => {
    if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? ""))
      return undefined;
    throw error;
  });
  if (!file) return undefined;
  try {
    const { size } = await file.stat();
    if (size > bytesMax) throw new ExclaveError("malformed", `${path} is too large`);
    return await file.readFile();
  } finally {
    await file.close();
  }
}

function noFiles(error: unknown): readonly string[] {
  if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return [];
  throw error;
}
