import { readdirSync } from "node:fs";
import { ExclaveError } from "../../errors.ts";
import { displayName, toFsPath } from "../../platform/names.ts";
import type { Native } from "../../platform/native.ts";
import { type FileStat, isSameFile, lstatFile } from "./stat.ts";

/** One entry under a register's root. */
export interface WalkItem {
  /** Binary, relative to the root, components separated by "/"; "" is the root directory itself. */
  readonly path: string;
  readonly stat: FileStat;
}

/**
 * - `vanished`: it was listed, and was gone when it was looked at (or, for a directory already
 *   yielded, when it was read);
 * - `unreadable`: its metadata, or the names in the directory, cannot be had.
 */
type WalkProblemKind = "vanished" | "unreadable";

export interface WalkOptions {
  /** Asked for every entry but the root; an excluded directory is not entered. */
  readonly excludes: (relativePath: string, isDirectory: boolean) => boolean;
  /** A directory on another file system than the root's is yielded, and not entered. */
  readonly oneFileSystem: boolean;
  readonly native: Native | undefined;
  readonly onProblem: (path: string, kind: WalkProblemKind, error: Error) => void;
}

interface Level {
  readonly prefix: string;
  readonly names: readonly string[];
  next: number;
}

/**
 * The entries of a register in its normative order (see `compareEntryPaths`): a directory, then all
 * that is in it, then its next sibling. Lazy; holds the names of one directory at each level.
 *
 * `root` is a binary path of a directory, or of a regular file, which then is the one item, under
 * its own name. Throws ExclaveError `usage` when the root is neither, is not there or cannot be
 * read: a register that is not mounted must not become an empty recovery point.
 */
export function* walk(root: string, options: WalkOptions): Generator<WalkItem, void, undefined> {
  const { excludes, native, onProblem } = options;
  const rootStat = statRoot(root, native);
  if (rootStat.kind === "file") {
    yield { path: root.slice(root.lastIndexOf("/") + 1), stat: rootStat };
    return;
  }
  const base = root.endsWith("/") ? root : `${root}/`;
  const levels: Level[] = [{ prefix: "", names: namesInRoot(root), next: 0 }];
  yield { path: "", stat: rootStat };

  for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
    const name = level.names[level.next++];
    if (name === undefined) {
      levels.pop();
      continue;
    }
    const path = level.prefix + name;
    let stat: FileStat;
    try {
      stat = lstatFile(base + path, native);
    } catch (error) {
      // It cannot be known any more whether it was a directory; either way it may have been excluded.
      if (!excludes(path, false) && !excludes(path, true)) report(path, error);
      continue;
    }
    const isDirectory = stat.kind === "directory";
    if (excludes(path, isDirectory)) continue;
    yield { path, stat };
    if (!isDirectory || (options.oneFileSystem && stat.dev !== rootStat.dev)) continue;
    const names = namesIn(path, stat);
    if (names.length > 0) levels.push({ prefix: `${path}/`, names, next: 0 });
  }

  function namesIn(path: string, stat: FileStat): readonly string[] {
    try {
      const names = sortedNames(base + path);
      // Had the directory been swapped for a link meanwhile, the names would be another tree's.
      if (isSameFile(stat, lstatFile(base + path, native))) return names;
      onProblem(path, "vanished", new Error("the directory was replaced while it was read"));
    } catch (error) {
      report(path, error);
    }
    return [];
  }

  function report(path: string, error: unknown): void {
    const problem = error instanceof Error ? error : new Error(String(error));
    const { code } = problem as NodeJS.ErrnoException;
    const isGone = code === "ENOENT" || code === "ENOTDIR";
    onProblem(path, isGone ? "vanished" : "unreadable", problem);
  }
}

function statRoot(root: string, native: Native | undefined): FileStat {
  toFsPath(root);
  let stat: FileStat;
  try {
    stat = lstatFile(root, native);
  } catch (cause) {
    throw unusableRoot(root, cause);
  }
  if (stat.kind === "directory" || stat.kind === "file") return stat;
  throw new ExclaveError(
    "usage",
    `${displayName(root)} is a ${stat.kind}, and a register's files are in a directory or are one ` +
      "file; name the directory or file itself",
  );
}

function namesInRoot(root: string): readonly string[] {
  try {
    return sortedNames(root);
  } catch (cause) {
    throw unusableRoot(root, cause);
  }
}

function unusableRoot(root: string, cause: unknown): ExclaveError {
  const why = (cause as NodeJS.ErrnoException).code ?? String(cause);
  return new ExclaveError(
    "usage",
    `${displayName(root)} cannot be read (${why}); nothing was protected`,
    { cause },
  );
}

/** Binary strings sort bytewise by themselves: one code unit is one byte. */
function sortedNames(path: string): string[] {
  return readdirSync(toFsPath(path), { encoding: "latin1" }).sort();
}
