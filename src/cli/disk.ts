/** How much there is in a directory, and how much room on its disk. */
import { readdirSync, statfsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { ExclaveError } from "../errors.ts";
import { formatBytes } from "./format.ts";

type TreeSize = { readonly files: number; readonly bytes: number };

/** Every regular file below a directory whose entries have ordinary names: a site, a home. */
export function* filesBelow(directory: string): Generator<string> {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) yield* filesBelow(path);
    else if (entry.isFile()) yield path;
  }
}

/** Files and their bytes, as they are sent over a link: without what a file system rounds up to. */
export function sizeOfTree(directory: string): TreeSize {
  let [files, bytes] = [0, 0];
  for (const path of filesBelow(directory)) {
    files++;
    bytes += statSync(path).size;
  }
  return { files, bytes };
}

/** Bytes that this user may still write where `path` is, or would be. */
function freeBytes(path: string): number {
  for (let at = path; ; at = dirname(at)) {
    try {
      const { bavail, bsize } = statfsSync(at);
      return bavail * bsize;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT" || at === dirname(at)) throw error;
    }
  }
}

/** Throws `disk-full` before anything is written when there is not enough room. */
export function requireRoom(path: string, needed: number, what: string, otherwise: string): void {
  const free = freeBytes(path);
  if (free >= needed) return;
  throw new ExclaveError(
    "disk-full",
    `the disk at ${path} is too small: ${what} needs about ${formatBytes(needed)}, and ` +
      `${formatBytes(free)} are free. Nothing was written; ${otherwise}`,
  );
}
