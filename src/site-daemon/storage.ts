/**
 * Where a site that enforces keeps the objects of one State: a `Site`, and what the daemon alone may do with them beside
 * it. No request reaches these: a file of the ledger that nothing covers yet is replaced by the one that its
 * ledger has, and what a ripe decision destroys is removed.
 */
import { randomBytes } from "node:crypto";
import { mkdir, stat, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ExclaveError } from "../errors.ts";
import { createDirectorySite, objectPlace, openDirectorySite } from "../sites/directory.ts";
import { makeDirectoryDurably, syncDirectory, writeDurably } from "../sites/durable.ts";
import type { Site, SiteIdentity } from "../sites/site.ts";
import { OpenFiles } from "./open-files.ts";

/** Files that are kept open, where nobody shares them. */
const OPEN_FILES_MAX = 64;

export type Storage = {
  readonly site: Site;
  /** Whether whoever has the keys to the place, the daemon too, cannot delete before a retention time is over. */
  readonly locks: boolean;
  /**
   * Stores the bytes under a name whether or not it has others, durably and at once: a reader sees the old or the
   * new ones. Rejects as `Site.put`.
   */
  replace(name: string, parts: readonly Uint8Array[]): Promise<void>;
  /** Removes an object, durably; one that is not there is no error. Rejects with `site-unavailable`. */
  remove(name: string): Promise<void>;
  /** When it was stored, as far as the place knows. */
  storedAt(name: string): Promise<Date | undefined>;
  /** Extends the lock of an object; absent where there are no locks. */
  readonly extend?: (name: string, until: Date) => Promise<void>;
  /** Writes something small durably and takes it away again. Rejects as `Site.put` does. */
  canary(): Promise<void>;
  /** Lets go of connections, where there are some. */
  close?(): void;
};

/**
 * Opens, or makes, the directory of a State's objects.
 *
 * @param files what is open to be read, of all States together
 */
export async function openDirectoryStorage(
  path: string,
  state: string,
  identity: SiteIdentity,
  files: OpenFiles = new OpenFiles(OPEN_FILES_MAX),
): Promise<Storage> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const marker = `${JSON.stringify({ kind: "site-objects", format: 1, state })}\n`;
  await createDirectorySite(path, Buffer.from(marker));
  const site = await openDirectorySite(path, identity);
  return directoryStorage(path, site, files);
}

function directoryStorage(path: string, directory: Site, files: OpenFiles): Storage {
  const site: Site = {
    identity: directory.identity,
    put: (name, parts, options) => directory.put(name, parts, options),
    stat: (name) => directory.stat(name),
    list: (kind) => directory.list(kind),
    read: async (name, offset, into) => {
      const { file } = objectPlace(path, name);
      try {
        return await files.read(file, offset, into);
      } catch {
        // It tells an object that is absent from a disk that is gone.
        files.drop(file);
        return directory.read(name, offset, into);
      }
    },
  };
  const temporary = (): string => join(path, "tmp", randomBytes(12).toString("hex"));
  const place = (name: string) => objectPlace(path, name);
  return {
    site,
    locks: false,
    replace: (name, parts) =>
      guarded(async () => {
        const { folder, file } = place(name);
        await makeDirectoryDurably(dirname(folder));
        await makeDirectoryDurably(folder);
        await writeDurably(file, temporary(), parts);
        files.drop(file);
      }),
    remove: (name) =>
      guarded(async () => {
        const { folder, file } = place(name);
        files.drop(file);
        try {
          await unlink(file);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
          return;
        }
        await syncDirectory(folder);
      }),
    storedAt: async (name) => {
      const info = await stat(place(name).file).catch(() => undefined);
      return info?.mtime;
    },
    canary: () =>
      guarded(async () => {
        const file = temporary();
        await writeDurably(file, `${file}.canary`, [Buffer.from("a breath of air")]);
        await unlink(file);
      }),
    close: () => files.dropBelow(path),
  };
}

const FULL: readonly unknown[] = ["ENOSPC", "EDQUOT"];

async function guarded<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (FULL.includes(code)) {
      throw new ExclaveError("disk-full", "the disk of the site is full", { cause });
    }
    throw new ExclaveError("site-unavailable", `the site's disk does not answer (${code ?? ""})`, {
      cause,
    });
  }
}
