/**
 * Durable writing, in one place. The order is what makes it safe:
 *
 *   1. write a temporary file in the same file system, and fsync it: the bytes are on the medium;
 *   2. rename it to its name: readers see all of it or nothing;
 *   3. fsync the directory: the name is on the medium.
 *
 * Known gap: a medium that confirms a flush it has not made can still lose what it confirmed.
 */
import { type FileHandle, mkdir, open, rename, unlink } from "node:fs/promises";
import { dirname } from "node:path";

/** Writes `parts` to `temporary`, durably, then renames it to `path`. The folders of both must exist. */
export async function writeDurably(
  path: string,
  temporary: string,
  parts: readonly Uint8Array[],
): Promise<void> {
  try {
    const file = await open(temporary, "wx", 0o600);
    try {
      await writeAll(file, parts);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** Makes the entries of a directory durable. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Makes a directory below an existing one, durably; an existing one is fine. */
export async function makeDirectoryDurably(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return;
    throw error;
  }
  await syncDirectory(dirname(path));
}

async function writeAll(file: FileHandle, parts: readonly Uint8Array[]): Promise<void> {
  const total = parts.reduce((sum, part) => sum + part.byteLength, 0);
  const { bytesWritten } = await file.writev([...parts]);
  if (bytesWritten === total) return;
  // A short write: a nearly full disk, or a signal. Go on part by part until it fails or is whole.
  let skip = bytesWritten;
  for (const part of parts) {
    const from = Math.min(skip, part.byteLength);
    skip -= from;
    for (let at = from; at < part.byteLength; ) {
      at += (await file.write(part, at, part.byteLength - at)).bytesWritten;
    }
  }
}
