import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  lchownSync,
  lutimesSync,
  openSync,
  symlinkSync,
} from "node:fs";
import { toFsPath } from "../../platform/names.ts";
import type { Native } from "../../platform/native.ts";
import type { OwnerNames } from "../../platform/owners.ts";
import type { Xattr } from "./read-metadata.ts";
import type { FileKind } from "./stat.ts";

/** What a snapshot knows of an entry besides its content; the units are FileStat's. */
export interface EntryMetadata {
  readonly kind: FileKind;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Binary strings, when the machine that protected it had names for the numbers. */
  readonly userName?: string | undefined;
  readonly groupName?: string | undefined;
  readonly mtimeSec: number;
  readonly mtimeNsec: number;
  readonly xattrs: readonly Xattr[];
}

export interface ApplyOptions {
  readonly native: Native | undefined;
  readonly owners: OwnerNames;
  /** Whether owners may be given away; without it they quietly stay those of who restores. */
  readonly asRoot: boolean;
  /** Take the numbers even where this machine knows the names. */
  readonly numericOwner: boolean;
}

/**
 * Gives the entry at a binary path, just created and with its content written, its owner, extended
 * attributes, mode and times, without following a symbolic link. Directories last, deepest first:
 * whatever is created in one changes its times, and would inherit its default ACL.
 *
 * `fd` is the entry's open descriptor, if there is one: the same, quicker.
 *
 * Returns what could not be kept, as sentences that name no path, so that the caller can count equal
 * ones; throws only for what makes the entry itself doubtful (it is gone, the disk fails).
 *
 * The order matters: chown clears set-user-ID and file capabilities, so it comes first; xattrs come
 * before chmod because user.* ones need write permission, and because an ACL rewrites the group
 * bits; times come last because all else could move them.
 */
export function applyMetadata(
  path: string,
  entry: EntryMetadata,
  options: ApplyOptions,
  fd?: number,
): string[] {
  const warnings: string[] = [];
  const ownerKept = applyOwner(path, fd, entry, options, warnings);
  if (entry.xattrs.length > 0) applyXattrs(path, entry.xattrs, options.native, warnings);
  if (entry.kind !== "symlink") {
    let { mode } = entry;
    if (!ownerKept && entry.kind !== "directory" && (mode & 0o6000) !== 0) {
      // With another owner these bits would lend that owner's power to everyone who runs the file.
      mode &= ~0o6000;
      warnings.push("set-user-ID and set-group-ID were left off, because the owner is another");
    }
    keepGoing(warnings, "the permissions", () =>
      fd === undefined
        ? chmodNoFollow(path, entry.kind, mode, options.native)
        : fchmodSync(fd, mode),
    );
  }
  keepGoing(warnings, "the times", () => applyTimes(path, fd, entry, options.native));
  return warnings;
}

/**
 * Creates a fifo, device node or symbolic link, not yet with its metadata; `linkTarget` is a binary
 * string. Returns undefined when it is there now, and otherwise a sentence why it cannot be (devices
 * need root, sockets are made by their programs). Throws EEXIST, ENOENT, ENOSPC and the like.
 */
export function createSpecial(
  path: string,
  entry: {
    readonly kind: FileKind;
    readonly linkTarget?: string | undefined;
    readonly rdevMajor?: number | undefined;
    readonly rdevMinor?: number | undefined;
  },
  native: Native | undefined,
): string | undefined {
  const major = entry.rdevMajor ?? 0;
  const minor = entry.rdevMinor ?? 0;
  switch (entry.kind) {
    case "symlink":
      symlinkSync(toFsPath(entry.linkTarget ?? ""), toFsPath(path));
      return undefined;
    case "fifo":
      return makeNode(native, "a fifo", (n) => n.mkfifo(path, 0o600));
    case "char-device":
      return makeNode(native, "a device node", (n) =>
        n.mknod(path, constants.S_IFCHR | 0o600, major, minor),
      );
    case "block-device":
      return makeNode(native, "a device node", (n) =>
        n.mknod(path, constants.S_IFBLK | 0o600, major, minor),
      );
    case "socket":
      return "a socket is not restored; the program that it belongs to makes it";
    case "file":
    case "directory":
      throw new Error(`createSpecial does not create a ${entry.kind}`);
  }
}

/** Codes that mean "not here, or not for you", and leave the entry itself sound. */
const REFUSALS: ReadonlySet<string | undefined> = new Set([
  "EPERM",
  "EACCES",
  "ENOTSUP",
  "EOPNOTSUPP",
  "ENOSYS",
  "EINVAL",
  "EROFS",
]);

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}

function keepGoing(warnings: string[], what: string, action: () => void): boolean {
  try {
    action();
    return true;
  } catch (error) {
    const code = codeOf(error);
    if (!REFUSALS.has(code)) throw error;
    warnings.push(`${what} could not be restored here (${code})`);
    return false;
  }
}

function makeNode(
  native: Native | undefined,
  what: string,
  make: (native: Native) => void,
): string | undefined {
  if (native === undefined) return `${what} cannot be created without the native module (koffi)`;
  try {
    make(native);
    return undefined;
  } catch (error) {
    const code = codeOf(error);
    if (code === "EACCES" || !REFUSALS.has(code)) throw error;
    return `${what} cannot be created here (${code})`;
  }
}

/** True when the entry now has the owner that it had. */
function applyOwner(
  path: string,
  fd: number | undefined,
  entry: EntryMetadata,
  { owners, asRoot, numericOwner }: ApplyOptions,
  warnings: string[],
): boolean {
  const byName = !numericOwner;
  const uid =
    (byName && entry.userName !== undefined ? owners.uidOf(entry.userName) : undefined) ??
    entry.uid;
  const gid =
    (byName && entry.groupName !== undefined ? owners.gidOf(entry.groupName) : undefined) ??
    entry.gid;
  const chown = (user: number) =>
    fd === undefined ? lchownSync(toFsPath(path), user, gid) : fchownSync(fd, user, gid);
  if (asRoot) return keepGoing(warnings, "the owner", () => chown(uid));
  // Without root one may still give a file to a group that one is in.
  const groupKept = keepGoing([], "", () => chown(-1));
  return groupKept && process.geteuid?.() === uid;
}

function applyXattrs(
  path: string,
  xattrs: readonly Xattr[],
  native: Native | undefined,
  warnings: string[],
): void {
  if (native === undefined) {
    warnings.push("extended attributes cannot be restored without the native module (koffi)");
    return;
  }
  const refused = new Set<string>();
  for (const { name, value } of xattrs) {
    try {
      native.setXattr(path, name, value);
    } catch (error) {
      const code = codeOf(error);
      if (code === "ENOENT" || code === "EIO") throw error;
      const family = name.slice(0, name.indexOf(".") + 1);
      const what = name.startsWith("system.posix_acl_") ? "ACLs" : `attributes ${family}*`;
      refused.add(`extended ${what} could not be restored here (${code})`);
    }
  }
  warnings.push(...refused);
}

function chmodNoFollow(
  path: string,
  kind: FileKind,
  mode: number,
  native: Native | undefined,
): void {
  if (native !== undefined) {
    try {
      native.chmodNoFollow(path, mode);
      return;
    } catch (error) {
      // The C library needs /proc for this; where that is missing, a descriptor does it as well, but
      // only on what can be opened without waking a device.
      if (codeOf(error) !== "ENOTSUP" || (kind !== "file" && kind !== "directory")) throw error;
    }
  }
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const fd = openSync(toFsPath(path), flags);
  try {
    fchmodSync(fd, mode);
  } finally {
    closeSync(fd);
  }
}

function applyTimes(
  path: string,
  fd: number | undefined,
  entry: EntryMetadata,
  native: Native | undefined,
): void {
  const { mtimeSec: sec, mtimeNsec: nsec } = entry;
  if (native !== undefined) {
    if (fd === undefined) native.utimensNs(path, undefined, { sec, nsec });
    else native.futimensNs(fd, undefined, { sec, nsec });
    return;
  }
  // A Date, because Node takes a negative number for "now".
  const time = sec < 0 ? new Date(sec * 1000 + nsec / 1e6) : sec + nsec / 1e9;
  lutimesSync(toFsPath(path), time, time);
}
