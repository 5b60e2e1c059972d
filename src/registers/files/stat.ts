import { type BigIntStats, fstatSync, lstatSync } from "node:fs";
import { toFsPath } from "../../platform/names.ts";
import { encodeDevice, type Native } from "../../platform/native.ts";

export type FileKind =
  | "file"
  | "directory"
  | "symlink"
  | "fifo"
  | "char-device"
  | "block-device"
  | "socket";

/** What the file system says of one entry. Alike whether it came through `Native` or `node:fs`. */
export interface FileStat {
  readonly kind: FileKind;
  /** Permission bits with set-user-ID, set-group-ID and sticky: `& 0o7777`. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes. */
  readonly size: number;
  readonly mtimeSec: number;
  readonly mtimeNsec: number;
  readonly ctimeSec: number;
  readonly ctimeNsec: number;
  /** A bigint, because some file systems use all 64 bits and a rounded one would join strangers. */
  readonly ino: bigint;
  readonly dev: number;
  readonly nlink: number;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
  /** Bytes that the file system has set aside; below `size` the file may have holes. */
  readonly allocatedBytes: number;
}

/** The entry at a binary path itself, never what a symbolic link points to. Throws ENOENT and kin. */
export function lstatFile(path: string, native: Native | undefined): FileStat {
  if (native !== undefined) return fromStatx(native.lstatx(path));
  return fromStats(lstatSync(toFsPath(path), { bigint: true }));
}

/** The file behind an open descriptor. */
export function fstatFile(fd: number, native: Native | undefined): FileStat {
  if (native !== undefined) return fromStatx(native.fstatx(fd));
  return fromStats(fstatSync(fd, { bigint: true }));
}

/** By which a file is told from others, and one state of it from another. */
export type FileIdentity = Pick<
  FileStat,
  "size" | "mtimeSec" | "mtimeNsec" | "ctimeSec" | "ctimeNsec" | "ino" | "dev"
> & { readonly kind: string };

export function isSameFile(a: FileIdentity, b: FileIdentity): boolean {
  return a.ino === b.ino && a.dev === b.dev && a.kind === b.kind;
}

/**
 * True when nothing says that content or metadata changed from `a` to `b`. ctime moves with every
 * write and every change of metadata and cannot be set back, so it is the one to trust.
 */
export function isUnchanged(a: FileIdentity, b: FileIdentity): boolean {
  return (
    isSameFile(a, b) &&
    a.size === b.size &&
    a.mtimeSec === b.mtimeSec &&
    a.mtimeNsec === b.mtimeNsec &&
    a.ctimeSec === b.ctimeSec &&
    a.ctimeNsec === b.ctimeNsec
  );
}

const KINDS: readonly (FileKind | undefined)[] = [
  undefined,
  "fifo",
  "char-device",
  undefined,
  "directory",
  undefined,
  "block-device",
  undefined,
  "file",
  undefined,
  "symlink",
  undefined,
  "socket",
];

function kindOf(mode: number): FileKind {
  const kind = KINDS[mode >>> 12];
  if (kind === undefined) throw new Error(`unknown file type in mode ${mode.toString(8)}`);
  return kind;
}

/** Offsets of `struct statx`, include/uapi/linux/stat.h. */
function fromStatx(view: DataView): FileStat {
  const mode = view.getUint16(28, true);
  return {
    kind: kindOf(mode),
    mode: mode & 0o7777,
    uid: view.getUint32(20, true),
    gid: view.getUint32(24, true),
    size: view.getUint32(44, true) * 0x1_0000_0000 + view.getUint32(40, true),
    mtimeSec: view.getInt32(116, true) * 0x1_0000_0000 + view.getUint32(112, true),
    mtimeNsec: view.getUint32(120, true),
    ctimeSec: view.getInt32(100, true) * 0x1_0000_0000 + view.getUint32(96, true),
    ctimeNsec: view.getUint32(104, true),
    ino: view.getBigUint64(32, true),
    dev: encodeDevice(view.getUint32(136, true), view.getUint32(140, true)),
    nlink: view.getUint32(16, true),
    rdevMajor: view.getUint32(128, true),
    rdevMinor: view.getUint32(132, true),
    allocatedBytes: (view.getUint32(52, true) * 0x1_0000_0000 + view.getUint32(48, true)) * 512,
  };
}

const BILLION = 1_000_000_000n;

function fromStats(stats: BigIntStats): FileStat {
  const mode = Number(stats.mode);
  const mtimeNsec = nanoseconds(stats.mtimeNs);
  const ctimeNsec = nanoseconds(stats.ctimeNs);
  const rdev = Number(stats.rdev);
  return {
    kind: kindOf(mode),
    mode: mode & 0o7777,
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    size: Number(stats.size),
    mtimeSec: Number((stats.mtimeNs - BigInt(mtimeNsec)) / BILLION),
    mtimeNsec,
    ctimeSec: Number((stats.ctimeNs - BigInt(ctimeNsec)) / BILLION),
    ctimeNsec,
    ino: stats.ino,
    dev: Number(stats.dev),
    nlink: Number(stats.nlink),
    rdevMajor: (rdev >>> 8) & 0xfff,
    rdevMinor: (rdev & 0xff) | ((rdev >>> 12) & 0xfff00),
    allocatedBytes: Number(stats.blocks) * 512,
  };
}

/** The part below a second, never negative: before 1970 the seconds round down, as the kernel's do. */
function nanoseconds(time: bigint): number {
  return Number(((time % BILLION) + BILLION) % BILLION);
}
