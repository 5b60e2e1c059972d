/**
 * A site in a directory: a local disk, a mounted share, a removable medium.
 *
 *   exclave-site.json     whose site this is; without it the directory is not touched
 *   tmp/                  what is being written; leftovers of a crash are swept when it is opened
 *   shard/ab/…, statement/ab/…, …   objects, fanned out by the first two digits of their name
 */
import { randomBytes } from "node:crypto";
import { access, open, readdir, readFile, stat, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { makeDirectoryDurably, syncDirectory, writeDurably, writeOnceDurably } from "./durable.ts";
import {
  DOCUMENT_BYTES_MAX,
  OBJECT_KINDS,
  type ObjectInfo,
  type ObjectKind,
  parseObjectName,
  type Site,
  type SiteIdentity,
} from "./site.ts";

const MARKER = "exclave-site.json";
/** What an empty file system, or making a site that was cut short, leaves in its directory. */
const MAY_BE_THERE: readonly string[] = ["tmp", ...OBJECT_KINDS, "lost+found"];
const FAN = /^[0-9a-f]{2}$/;
/** A temporary file this old was left by a crash. */
const LEFTOVER_SECONDS = 24 * 3600;
const LISTED_AT_ONCE = 16;

/**
 * Makes an empty directory, or one that does not exist yet, a site; again with the same marker is no
 * error. Throws `foreign-state` when it is another site already, `usage` when something else is in it.
 */
export async function createDirectorySite(path: string, marker: Uint8Array): Promise<void> {
  await guard(path, async () => {
    await makeDirectoryDurably(path);
    const present = await readDirectoryMarker(path);
    if (present) {
      if (Buffer.from(present).equals(marker)) return;
      throw new ExclaveError(
        "foreign-state",
        `${path} is a site already. Nothing was changed; give this site a directory of its own.`,
      );
    }
    const strange = (await readdir(path)).find((name) => !MAY_BE_THERE.includes(name));
    if (strange !== undefined) {
      throw new ExclaveError(
        "usage",
        `${path} is not empty (there is ${JSON.stringify(strange)}). Nothing was changed; give the site a directory of its own`,
      );
    }
    for (const folder of ["tmp", ...OBJECT_KINDS]) await makeDirectoryDurably(join(path, folder));
    await writeDurably(join(path, MARKER), join(path, "tmp", temporaryName()), [marker]);
  });
}

/** The marker of the site in this directory, or undefined when it is none. */
export async function readDirectoryMarker(path: string): Promise<Uint8Array | undefined> {
  try {
    const { size } = await stat(join(path, MARKER));
    if (size > DOCUMENT_BYTES_MAX) throw new ExclaveError("malformed", `${MARKER} is too large`);
    return await readFile(join(path, MARKER));
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes(errno(error))) return undefined;
    throw error;
  }
}

/** Opens the site in this directory. Throws `site-unavailable` when there is none (an unmounted disk, say). */
export async function openDirectorySite(path: string, identity: SiteIdentity): Promise<Site> {
  return guard(path, async () => {
    await access(join(path, MARKER));
    await sweepLeftovers(path);
    return new DirectorySite(path, identity);
  });
}

class DirectorySite implements Site {
  readonly identity: SiteIdentity;
  readonly #path: string;
  /** Directories known to exist: of each kind its own and at most 256 below it. */
  readonly #made = new Set<string>();

  constructor(path: string, identity: SiteIdentity) {
    this.#path = path;
    this.identity = identity;
  }

  async put(name: string, parts: readonly Uint8Array[]): Promise<void> {
    const { folder, file } = this.#locate(name);
    const temporary = join(this.#path, "tmp", temporaryName());
    await guard(this.#path, async () => {
      await this.#makeFolder(folder);
      if (!(await holds(file, parts))) {
        if (await writeOnceDurably(file, temporary, parts)) return;
        // Another writer was faster by a moment.
        await holds(file, parts);
      }
      // Whoever stored it may have been stopped before its name was on the medium.
      await syncDirectory(folder);
    });
  }

  async read(name: string, offset: number, into: Uint8Array): Promise<number> {
    const { file } = this.#locate(name);
    return guard(this.#path, async () => {
      const handle = await open(file, "r").catch(async (error: unknown) => {
        if (errno(error) !== "ENOENT") throw error;
        await this.#requireMarker();
        throw new ExclaveError("not-found", `no object ${name}`);
      });
      try {
        let at = 0;
        while (at < into.length) {
          const { bytesRead } = await handle.read(into, at, into.length - at, offset + at);
          if (bytesRead === 0) break;
          at += bytesRead;
        }
        return at;
      } finally {
        await handle.close();
      }
    });
  }

  async stat(name: string): Promise<ObjectInfo | undefined> {
    const { file } = this.#locate(name);
    return guard(this.#path, async () => {
      try {
        return { name, bytes: (await stat(file)).size };
      } catch (error) {
        if (errno(error) !== "ENOENT") throw error;
        await this.#requireMarker();
        return undefined;
      }
    });
  }

  async *list(kind: ObjectKind): AsyncIterable<string> {
    await guard(this.#path, () => this.#requireMarker());
    const top = join(this.#path, kind);
    const fans = (await guard(this.#path, () => namesIn(top))).filter((fan) => FAN.test(fan));
    for (let at = 0; at < fans.length; at += LISTED_AT_ONCE) {
      const some = fans.slice(at, at + LISTED_AT_ONCE);
      const files = await guard(this.#path, () =>
        Promise.all(some.map((fan) => namesIn(join(top, fan)))),
      );
      for (const [i, fan] of some.entries()) {
        for (const file of files[i] ?? []) {
          const name = `${kind}/${file}`;
          // In another folder than its own nobody would find it.
          if (parseObjectName(name) && file.startsWith(fan)) yield name;
        }
      }
    }
  }

  /** Tells an object that is absent from a disk that is gone. Call it within `guard`. */
  async #requireMarker(): Promise<void> {
    await access(join(this.#path, MARKER));
  }

  async #makeFolder(folder: string): Promise<void> {
    if (this.#made.has(folder)) return;
    // Nothing is written beneath the mount point of a disk that is gone.
    await this.#requireMarker();
    // A copy of a site may have come without its empty folders.
    for (const path of [join(this.#path, "tmp"), dirname(folder), folder]) {
      if (this.#made.has(path)) continue;
      await makeDirectoryDurably(path);
      this.#made.add(path);
    }
  }

  #locate(name: string): { readonly folder: string; readonly file: string } {
    return objectPlace(this.#path, name);
  }
}

/** Where an object lies in a site's directory. Throws `malformed` for what none may be called. */
export function objectPlace(
  path: string,
  name: string,
): { readonly folder: string; readonly file: string } {
  const parsed = parseObjectName(name);
  if (!parsed)
    throw new ExclaveError("malformed", `no object may be called ${JSON.stringify(name)}`);
  const folder = join(path, parsed.kind, parsed.rest.slice(0, 2));
  return { folder, file: join(folder, parsed.rest) };
}

/** True when the file exists with exactly these bytes; throws `exists` when it has others. */
async function holds(file: string, parts: readonly Uint8Array[]): Promise<boolean> {
  const handle = await open(file, "r").catch((error: unknown) => {
    if (errno(error) === "ENOENT") return undefined;
    throw error;
  });
  if (!handle) return false;
  try {
    const total = parts.reduce((sum, part) => sum + part.length, 0);
    let same = (await handle.stat()).size === total;
    let at = 0;
    for (const part of parts) {
      if (!same) break;
      const stored = Buffer.alloc(part.length);
      const { bytesRead } = await handle.read(stored, 0, part.length, at);
      same = bytesRead === part.length && stored.equals(part);
      at += part.length;
    }
    if (same) return true;
  } finally {
    await handle.close();
  }
  throw new ExclaveError("exists", `${file} exists with other bytes; objects are written once`);
}

async function sweepLeftovers(path: string): Promise<void> {
  const folder = join(path, "tmp");
  const oldest = Date.now() - LEFTOVER_SECONDS * 1000;
  for (const name of await namesIn(folder)) {
    const file = join(folder, name);
    // Another process may be sweeping too: what is gone is gone.
    const info = await stat(file).catch(() => undefined);
    if (info && info.mtimeMs < oldest) await unlink(file).catch(() => undefined);
  }
}

/** The names in a folder; none when there is no such folder. */
async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes(errno(error))) return [];
    throw error;
  }
}

function temporaryName(): string {
  return randomBytes(12).toString("hex");
}

function errno(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? "";
}

const FULL = ["ENOSPC", "EDQUOT"];

/** Turns what the operating system says into what it means for a site. */
async function guard<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (isExclaveError(cause)) throw cause;
    if (FULL.includes(errno(cause))) {
      throw new ExclaveError("disk-full", `the disk of the site at ${path} is full`, { cause });
    }
    const code = errno(cause) || String(cause);
    const why = code === "ENOENT" ? "ENOENT; is the disk mounted, and the folder there?" : code;
    throw new ExclaveError("site-unavailable", `the site at ${path} does not answer (${why})`, {
      cause,
    });
  }
}
