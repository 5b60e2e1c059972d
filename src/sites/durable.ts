/**
 * Durable writing, in one place. The order is what makes it safe:
 *
 *   1. write a temporary file in the same file system, and fsync it: the bytes are on the medium;
 *   2. rename it to its name, or link it where nothing may be replaced: readers see all of it or nothing;
 *   3. fsync the directory: the name is on the medium.
 *
 * Known gap: a medium that confirms a flush it has not made can still lose what it confirmed.
 */
import { access, type FileHandle, link, mkdir, open, rename, stat, unlink } from "node:fs/promises";
import { dirname } from "node:path";

/**
 * Writes `parts` to `temporary`, durably, then renames it to `path`, replacing what is there. The
 * folders of both must exist; `temporary` must not.
 */
export async function writeDurably(
  path: string,
  temporary: string,
  parts: readonly Uint8Array[],
): Promise<void> {
  await writeTemporary(temporary, parts);
  try {
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** As `writeDurably`, but gives way to what has the name already: false then, and it is left as it is. */
export async function writeOnceDurably(
  path: string,
  temporary: string,
  parts: readonly Uint8Array[],
): Promise<boolean> {
  await writeTemporary(temporary, parts);
  try {
    if (!(await takeName(path, temporary))) return false;
  } finally {
    await unlink(temporary).catch(() => undefined);
  }
  await syncDirectory(dirname(path));
  return true;
}

/** What a file system says that has no hard links. */
const NO_LINKS: readonly unknown[] = ["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"];

async function takeName(path: string, temporary: string): Promise<boolean> {
  try {
    // Not renamed: that would replace what another writer put there a moment ago.
    await link(temporary, path);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") return false;
    if (!NO_LINKS.includes(code)) throw error;
  }
  // Here two writers at the same instant could both believe that they were first.
  if (await exists(path)) return false;
  await rename(temporary, path);
  return true;
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}

/** Writes and flushes a new file; nothing of it stays when that fails. */
async function writeTemporary(temporary: string, parts: readonly Uint8Array[]): Promise<void> {
  // Outside of what cleans up: when somebody else has the name, the file is theirs.
  const file = await open(temporary, "wx", 0o600);
  try {
    try {
      await writeAll(file, parts);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
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
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EEXIST" || !(await stat(path)).isDirectory()) throw error;
  }
  // An existing one too: whoever made it may have been stopped before this.
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
