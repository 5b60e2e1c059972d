import { createRequire } from "node:module";
import { getSystemErrorName } from "node:util";

/** A time as the kernel keeps it: whole seconds since 1970 (may be negative) and 0..999,999,999. */
interface FileTime {
  readonly sec: number;
  readonly nsec: number;
}

/**
 * The system calls that Node does not offer, thin and synchronous. Paths, xattr names are binary
 * strings (see names.ts); nothing here follows a symbolic link in the last component. Failures throw
 * an Error with `.code` ("ENOTSUP", "ENODATA", "EPERM", ...), like `node:fs`.
 *
 * Buffers are reused inside, so an instance belongs to one thread.
 */
export interface Native {
  /** Names in the kernel's order. At most 64 KiB of names, which is the kernel's own bound. */
  listXattrs(path: string): string[];
  /** At most 64 KiB, which is the kernel's own bound. */
  getXattr(path: string, name: string): Uint8Array;
  setXattr(path: string, name: string, value: Uint8Array): void;
  /** Sets the times of the entry itself; an undefined one stays as it is. */
  utimensNs(path: string, atime: FileTime | undefined, mtime: FileTime | undefined): void;
  /** The same of what is open. */
  futimensNs(fd: number, atime: FileTime | undefined, mtime: FileTime | undefined): void;
  /** chmod that fails with ENOTSUP on a symbolic link rather than follow it. */
  chmodNoFollow(path: string, mode: number): void;
  mkfifo(path: string, mode: number): void;
  /** `mode` carries the file type bits (S_IFCHR, S_IFBLK). */
  mknod(path: string, mode: number, rdevMajor: number, rdevMinor: number): void;
  /**
   * The first offset at or after `offset` with data; -1 when there is none. Moves the descriptor's
   * own position, so whoever shares it must read by explicit offset.
   */
  seekData(fd: number, offset: number): number;
  /** The first hole at or after `offset` (the end of the file counts as one); -1 past the end. */
  seekHole(fd: number, offset: number): number;
  /** `struct statx`, little-endian; good until the next call of this or `fstatx`. */
  lstatx(path: string): DataView;
  fstatx(fd: number): DataView;
}

const PATH_MAX = 4096;
const XATTR_SIZE_MAX = 65_536;
const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_NO_AUTOMOUNT = 0x800;
const AT_EMPTY_PATH = 0x1000;
const STATX_BASIC_STATS = 0x7ff;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const UTIME_OMIT = 0x3ffffffen;

/** Where `struct timespec` is two 64-bit words and `struct statx` is little-endian. */
const ARCHITECTURES: readonly string[] = ["x64", "arm64", "riscv64", "loong64"];

/** What of koffi is used; its own types would bind the build to an optional dependency. */
interface Koffi {
  load(path: string): Library;
  errno(): number;
}
interface Library {
  func(definition: string): SystemCall;
}
type SystemCall = (...args: unknown[]) => unknown;

/**
 * Undefined where koffi, or a C library that it knows, is not there. Then extended attributes,
 * nanoseconds, holes and device nodes are not kept, and the caller says so once. Costs about 10 ms,
 * so call it once a thread, when files are about to be handled.
 */
export function loadNative(): Native | undefined {
  if (process.platform !== "linux" || !ARCHITECTURES.includes(process.arch)) return undefined;
  let koffi: Koffi;
  let libc: Library;
  try {
    koffi = createRequire(import.meta.url)("koffi") as Koffi;
    libc = loadLibc(koffi);
  } catch {
    return undefined;
  }
  // Outside the try: a call wrongly declared must be seen, not quietly cost every attribute.
  return bindNative(koffi, libc);
}

function loadLibc(koffi: Koffi): Library {
  try {
    return koffi.load("libc.so.6");
  } catch {
    const machine = process.arch === "x64" ? "x86_64" : "aarch64";
    return koffi.load(`libc.musl-${machine}.so.1`);
  }
}

function bindNative(koffi: Koffi, libc: Library): Native {
  const llistxattr = libc.func("int64_t llistxattr(void *path, void *list, uint64_t size)");
  const lgetxattr = libc.func(
    "int64_t lgetxattr(void *path, void *name, void *out, uint64_t size)",
  );
  const lsetxattr = libc.func(
    "int lsetxattr(void *path, void *name, void *in, uint64_t size, int)",
  );
  const utimensat = libc.func("int utimensat(int dir, void *path, void *times, int flags)");
  const futimens = libc.func("int futimens(int fd, void *times)");
  const fchmodat = libc.func("int fchmodat(int dir, void *path, uint32_t mode, int flags)");
  const mkfifo = libc.func("int mkfifo(void *path, uint32_t mode)");
  const mknod = bindMknod(libc);
  const lseek = libc.func("int64_t lseek(int fd, int64_t offset, int whence)");
  const statx = libc.func("int statx(int dir, void *path, int flags, uint32_t mask, void *out)");

  const pathBytes = Buffer.alloc(PATH_MAX + 1);
  const nameBytes = Buffer.alloc(256);
  const empty = Buffer.alloc(1);
  const values = Buffer.alloc(XATTR_SIZE_MAX);
  const times = Buffer.alloc(32);
  const stat = Buffer.alloc(256);
  const statView = new DataView(stat.buffer, stat.byteOffset, stat.byteLength);

  function failed(call: string, path: string | undefined): Error {
    return systemError(koffi.errno(), call, path);
  }

  /** Into `target` with a NUL; a NUL inside would make the kernel see another, shorter path. */
  function encode(text: string, target: Buffer, call: string): Buffer {
    if (text.length >= target.length) throw systemError(36, call, text); // ENAMETOOLONG
    if (text.includes("\0")) throw systemError(22, call, text); // EINVAL
    target[target.write(text, 0, "latin1")] = 0;
    return target;
  }

  return {
    listXattrs(path) {
      encode(path, pathBytes, "llistxattr");
      const length = Number(llistxattr(pathBytes, values, XATTR_SIZE_MAX));
      if (length < 0) throw failed("llistxattr", path);
      if (length === 0) return [];
      return values.toString("latin1", 0, length - 1).split("\0");
    },

    getXattr(path, name) {
      encode(path, pathBytes, "lgetxattr");
      encode(name, nameBytes, "lgetxattr");
      const length = Number(lgetxattr(pathBytes, nameBytes, values, XATTR_SIZE_MAX));
      if (length < 0) throw failed("lgetxattr", path);
      return new Uint8Array(values.subarray(0, length));
    },

    setXattr(path, name, value) {
      encode(path, pathBytes, "lsetxattr");
      encode(name, nameBytes, "lsetxattr");
      const bytes = value.length === 0 ? empty : value;
      if (lsetxattr(pathBytes, nameBytes, bytes, value.length, 0) !== 0) {
        throw failed("lsetxattr", path);
      }
    },

    utimensNs(path, atime, mtime) {
      writeTime(times, 0, atime);
      writeTime(times, 16, mtime);
      encode(path, pathBytes, "utimensat");
      if (utimensat(AT_FDCWD, pathBytes, times, AT_SYMLINK_NOFOLLOW) !== 0) {
        throw failed("utimensat", path);
      }
    },

    futimensNs(fd, atime, mtime) {
      writeTime(times, 0, atime);
      writeTime(times, 16, mtime);
      if (futimens(fd, times) !== 0) throw failed("futimens", undefined);
    },

    chmodNoFollow(path, mode) {
      encode(path, pathBytes, "fchmodat");
      if (fchmodat(AT_FDCWD, pathBytes, mode, AT_SYMLINK_NOFOLLOW) !== 0) {
        throw failed("fchmodat", path);
      }
    },

    mkfifo(path, mode) {
      if (mkfifo(encode(path, pathBytes, "mkfifo"), mode) !== 0) throw failed("mkfifo", path);
    },

    mknod(path, mode, rdevMajor, rdevMinor) {
      if (mknod === undefined) throw systemError(38, "mknod", path); // ENOSYS
      const device = encodeDevice(rdevMajor, rdevMinor);
      if (mknod(encode(path, pathBytes, "mknod"), mode, device) !== 0) throw failed("mknod", path);
    },

    seekData(fd, offset) {
      return seek(fd, offset, SEEK_DATA);
    },

    seekHole(fd, offset) {
      return seek(fd, offset, SEEK_HOLE);
    },

    lstatx(path) {
      encode(path, pathBytes, "statx");
      const flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
      if (statx(AT_FDCWD, pathBytes, flags, STATX_BASIC_STATS, stat) !== 0) {
        throw failed("statx", path);
      }
      return statView;
    },

    fstatx(fd) {
      if (statx(fd, empty, AT_EMPTY_PATH, STATX_BASIC_STATS, stat) !== 0) {
        throw failed("statx", undefined);
      }
      return statView;
    },
  };

  function seek(fd: number, offset: number, whence: number): number {
    const found = Number(lseek(fd, offset, whence));
    if (found >= 0) return found;
    const error = failed("lseek", undefined);
    if ((error as NodeJS.ErrnoException).code === "ENXIO") return -1;
    throw error;
  }
}

/** glibc before 2.33 had `mknod` as a macro only; device nodes are not worth more than this. */
function bindMknod(libc: Library): SystemCall | undefined {
  try {
    return libc.func("int mknod(void *path, uint32_t mode, uint64_t device)");
  } catch {
    return undefined;
  }
}

function writeTime(times: Buffer, offset: number, time: FileTime | undefined): void {
  times.writeBigInt64LE(time === undefined ? 0n : BigInt(time.sec), offset);
  times.writeBigInt64LE(time === undefined ? UTIME_OMIT : BigInt(time.nsec), offset + 8);
}

/** The C library's `makedev`, for the kernel's 12-bit major and 20-bit minor. */
export function encodeDevice(major: number, minor: number): number {
  return (((minor & 0xfff00) << 12) | ((major & 0xfff) << 8) | (minor & 0xff)) >>> 0;
}

function systemError(errno: number, call: string, path: string | undefined): Error {
  const code = getSystemErrorName(-errno);
  const where = path === undefined ? "" : ` ${JSON.stringify(path)}`;
  return Object.assign(new Error(`${code}: ${call}${where}`), {
    code,
    errno: -errno,
    syscall: call,
  });
}
