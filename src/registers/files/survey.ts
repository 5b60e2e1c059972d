/** What a directory holds, before anything is done with it. */
import { closeSync, constants, openSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { fromText, toFsPath } from "../../platform/names.ts";
import type { Native } from "../../platform/native.ts";
import { dataExtents, type Extent, mayHaveHoles } from "./holes.ts";
import type { PathMatcher } from "./patterns.ts";
import type { FileStat } from "./stat.ts";
import { type WalkItem, walk } from "./walk.ts";

export type Survey = {
  readonly files: number;
  readonly directories: number;
  readonly symlinks: number;
  /** FIFOs and devices. */
  readonly specials: number;
  readonly sockets: number;
  /** Content of the files, each name of a hard-linked one counted. */
  readonly bytes: number;
  /** What a protect would read of it: holes left out, a hard-linked file once. */
  readonly contentBytes: number;
  /** What a copy of it takes on a disk, about. */
  readonly diskBytes: number;
};

const DISK_BLOCK_BYTES = 4096;
/** An entry's own share of inode tables and directories. */
const ENTRY_DISK_BYTES = 512;
/** Entries between two turns of the event loop: signals are heard, the live line moves. */
const ENTRIES_A_TURN = 256;
/** In a shorter file holes are not looked for: it would be opened for next to nothing. */
const HOLES_BYTES_MIN = 1024 * 1024;
/** Beyond so many hard-linked files each further name counts as a file of its own. */
const LINKED_FILES_MAX = 1_000_000;

export type LookOptions = {
  readonly native: Native | undefined;
  readonly excludes: PathMatcher;
  readonly oneFileSystem: boolean;
};

export async function survey(
  directory: string,
  options: LookOptions & {
    readonly onProgress: (entries: number, bytes: number) => void;
  },
): Promise<Survey> {
  const found = { files: 0, directories: 0, symlinks: 0, specials: 0, sockets: 0 };
  let [bytes, contentBytes, diskBytes, entries] = [0, 0, 0, 0];
  const isFirstName = firstNames();
  for (const { full, stat } of look(fromText(directory), options)) {
    entries++;
    diskBytes += ENTRY_DISK_BYTES;
    if (stat.kind === "file") {
      found.files++;
      bytes += stat.size;
      if (isFirstName(stat)) {
        for (const { length } of contentOf(full, stat, options.native)) contentBytes += length;
      }
      // Holes are restored as holes.
      const held = Math.min(stat.size, stat.allocatedBytes);
      diskBytes += Math.ceil(held / DISK_BLOCK_BYTES) * DISK_BLOCK_BYTES;
    } else if (stat.kind === "directory") found.directories++;
    else if (stat.kind === "symlink") found.symlinks++;
    else if (stat.kind === "socket") found.sockets++;
    else found.specials++;
    if (entries % ENTRIES_A_TURN === 0) {
      options.onProgress(entries, bytes);
      await setImmediate();
    }
  }
  return { ...found, bytes, contentBytes, diskBytes };
}

/** True for the first name of a file that it is asked about, and false for its other names. */
export function firstNames(): (stat: FileStat) => boolean {
  const seen = new Set<string>();
  return ({ nlink, dev, ino }) => {
    if (nlink < 2) return true;
    const key = `${dev}:${ino}`;
    if (seen.has(key)) return false;
    if (seen.size < LINKED_FILES_MAX) seen.add(key);
    return true;
  };
}

/** The stretches of a file that hold data. A file that cannot be opened counts as being full of it. */
export function contentOf(
  path: string,
  stat: FileStat,
  native: Native | undefined,
): readonly Extent[] {
  if (stat.size === 0) return [];
  const whole = [{ offset: 0, length: stat.size }];
  if (stat.size < HOLES_BYTES_MIN || !mayHaveHoles(stat)) return whole;
  let fd: number | undefined;
  try {
    fd = openToRead(path);
    return [...dataExtents(fd, stat.size, native)];
  } catch {
    return whole;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Neither follows a link nor waits, should something else have taken the file's name. Throws as `node:fs` does. */
export function openToRead(path: string): number {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  return openSync(toFsPath(path), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
}

/** As `walk`, with the whole binary path of each; whatever cannot be read is left out in silence. */
export function* look(
  root: string,
  options: LookOptions,
): Generator<WalkItem & { readonly full: string }, void, undefined> {
  let prefix: string | undefined;
  for (const item of walk(root, { ...options, onProblem: () => undefined })) {
    // The first item is the root itself: a directory, which has no name, or a file, which has its own.
    prefix ??= item.path === "" ? `${root === "/" ? "" : root}/` : "";
    yield { ...item, full: item.path === "" || prefix === "" ? root : prefix + item.path };
  }
}
