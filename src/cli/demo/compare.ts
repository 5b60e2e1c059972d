/** Compares restored registers with their originals, byte for byte and record by record. */
import { closeSync, openSync, readdirSync, readSync, statSync } from "node:fs";
import { extname, join } from "node:path";

export interface Comparison {
  /** Records of the original: JSON files, CSV rows without their header, JSON lines. */
  readonly records: number;
  /** Files of the original, and their bytes. */
  readonly files: number;
  readonly bytes: number;
  /** One sentence a file that differs, is missing or is too many; the 100 first, then a count. */
  readonly differences: string[];
}

const differencesMax = 100;
const bufferBytes = 1 << 18;
const newline = 0x0a;

function newlinesIn(bytes: Uint8Array): number {
  let count = 0;
  for (let at = bytes.indexOf(newline); at >= 0; at = bytes.indexOf(newline, at + 1)) count++;
  return count;
}

function recordsIn(path: string, lines: number): number {
  switch (extname(path)) {
    case ".json":
      return 1;
    case ".jsonl":
      return lines;
    case ".csv":
      return Math.max(0, lines - 1);
    default:
      return 0;
  }
}

/** Fills the buffer from the file's current place, short only at the file's end. */
function fill(file: number, buffer: Buffer): Buffer {
  let filled = 0;
  while (filled < buffer.length) {
    const read = readSync(file, buffer, filled, buffer.length - filled, null);
    if (read === 0) break;
    filled += read;
  }
  return buffer.subarray(0, filled);
}

function withFile<T>(path: string, use: (file: number) => T): T {
  const file = openSync(path, "r");
  try {
    return use(file);
  } finally {
    closeSync(file);
  }
}

/**
 * Compares every file under `original` with the one of the same path under `restored`, and names
 * what only `restored` has. Names and contents count; modes and times do not. Memory holds two
 * buffers and the names of one directory at a time.
 * @throws the system's error where a file cannot be read, or `original` is not there
 */
export function compareRecords(original: string, restored: string): Comparison {
  const ours = Buffer.alloc(bufferBytes);
  const theirs = Buffer.alloc(bufferBytes);
  const differences: string[] = [];
  let differing = 0;
  let records = 0;
  let files = 0;
  let bytes = 0;
  const differs = (sentence: string): void => {
    if (differing++ < differencesMax) differences.push(sentence);
  };

  /** Counts the original in full, whether or not there is something to compare it with. */
  const compareFile = (path: string, other: number | null): void => {
    withFile(join(original, path), (file) => {
      let size = 0;
      let lines = 0;
      let firstDifference = -1;
      for (let more = true; more; ) {
        const mine = fill(file, ours);
        if (other !== null && firstDifference < 0) {
          const its = fill(other, theirs);
          if (!mine.equals(its)) {
            const at = mine.findIndex((byte, index) => byte !== its[index]);
            firstDifference = size + (at < 0 ? mine.length : at);
          }
        }
        size += mine.length;
        lines += newlinesIn(mine);
        more = mine.length === bufferBytes;
      }
      files++;
      bytes += size;
      records += recordsIn(path, lines);
      if (other === null) differs(`${path} is missing`);
      else if (firstDifference >= 0) differs(`${path} differs from byte ${firstDifference} on`);
    });
  };

  const compareDirectory = (folder: string): void => {
    const entriesOf = (root: string) => readdirSync(join(root, folder), { withFileTypes: true });
    // Only the restored side may lack a folder: an original that is not there proves nothing.
    const theirFolder = statSync(join(restored, folder), { throwIfNoEntry: false });
    const counterparts = new Map(
      theirFolder?.isDirectory() ? entriesOf(restored).map((entry) => [entry.name, entry]) : [],
    );
    for (const entry of entriesOf(original).sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = join(folder, entry.name);
      const counterpart = counterparts.get(entry.name);
      counterparts.delete(entry.name);
      if (entry.isDirectory()) {
        if (counterpart === undefined) differs(`${path}/ is missing`);
        else if (!counterpart.isDirectory()) differs(`${path} is no directory`);
        compareDirectory(path);
      } else if (counterpart?.isFile()) {
        withFile(join(restored, path), (other) => compareFile(path, other));
      } else {
        if (counterpart !== undefined) differs(`${path} is no regular file`);
        compareFile(path, null);
      }
    }
    for (const name of [...counterparts.keys()].sort()) {
      differs(`${join(folder, name)} is not in the original`);
    }
  };
  compareDirectory(".");

  if (differing > differencesMax) differences.push(`and ${differing - differencesMax} more`);
  return { records, files, bytes, differences };
}
