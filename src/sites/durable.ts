/**
 * Durable writing, in one place. The order is what makes it safe:
 *
 *   1. write a temporary file in the same file system, and fsync it: the bytes are on the medium;
 *   2. rename it to its name, or link it where nothing may be replaced: readers see all of it or nothing;
 *   3. fsync the directory: the name is on the medium.
 *
 * Known gap: a medium that confirms a flush it has not made can still lose what it confirmed.
 */
import {
  access,
  constants,
  type FileHandle,
  link,
  mkdir,
  open,
  rename,
  stat,
  unlink,
} from "node:fs/promises";
import { dirname } from "node:path";

/** Below this many bytes a write goes through the page cache, as any other. */
const DIRECT_BYTES_MIN = 256 * 1024;
/**
 * Where in memory a part should begin, to be written past the page cache: it is written once, flushed at
 * once and not read soon, so copying it there costs more than all else of storing it.
 */
const DIRECT_ALIGN_BYTES = 4096;

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
      const [first] = parts;
      const skip = first ? await writeDirect(temporary, first) : 0;
      await writeAll(file, parts, skip);
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

/** What systems and file systems say that do not write past the cache. */
const NO_DIRECT: readonly unknown[] = ["EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"];

/**
 * Writes the whole pages of `part` at the start of an existing file, past the page cache where system,
 * file system and alignment allow it. Returns how many bytes it wrote, 0 or more: the rest is to be
 * written the usual way.
 */
async function writeDirect(path: string, part: Uint8Array): Promise<number> {
  const aligned = part.byteOffset % DIRECT_ALIGN_BYTES === 0;
  // O_DIRECT is not there on every system, whatever the types say.
  const flag: number | undefined = constants.O_DIRECT;
  if (part.length < DIRECT_BYTES_MIN || !aligned || flag === undefined) return 0;
  const pages = part.length - (part.length % DIRECT_ALIGN_BYTES);
  try {
    const file = await open(path, constants.O_WRONLY | flag);
    try {
      const { bytesWritten } = await file.write(part, 0, pages, 0);
      return bytesWritten;
    } finally {
      await file.close();
    }
  } catch (error) {
    if (NO_DIRECT.includes((error as NodeJS.ErrnoException).code)) return 0;
    throw error;
  }
}

/** Writes the parts one after another at the start of the file, but for the first `at` bytes. */
async function writeAll(file: FileHandle, parts: readonly Uint8Array[], at: number): Promise<void> {
  // A write may be short: a nearly full disk, or a signal. Go on until it fails or is whole.
  for (;;) {
    const left = after(parts, at);
    if (left.length === 0) return;
    at += (await file.writev(left, at)).bytesWritten;
  }
}

/** What follows the first `skip` bytes of the parts together. */
function after(parts: readonly Uint8Array[], skip: number): Uint8Array[] {
  return parts.flatMap((part) => {
    const rest = part.subarray(skip);
    skip = Math.max(0, skip - part.length);
    return rest.length > 0 ? [rest] : [];
  });
}
