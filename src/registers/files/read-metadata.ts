import { readlinkSync } from "node:fs";
import { toFsPath } from "../../platform/names.ts";
import type { Native } from "../../platform/native.ts";

/** One extended attribute; the name is a binary string. POSIX ACLs are `system.posix_acl_*`. */
export interface Xattr {
  readonly name: string;
  readonly value: Uint8Array;
}

/** More than any file system keeps for one entry, and a bound on what a hostile one can make us hold. */
const XATTR_BYTES_MAX = 1_048_576;

const NO_XATTRS: readonly Xattr[] = [];

/**
 * The extended attributes of the entry at a binary path itself, sorted by name; none where the file
 * system has none or `native` is missing. Throws like `node:fs` when they cannot be read, and with
 * `.code` E2BIG beyond 1 MiB in all.
 */
export function readXattrs(path: string, native: Native | undefined): readonly Xattr[] {
  if (native === undefined) return NO_XATTRS;
  let names: string[];
  try {
    names = native.listXattrs(path);
  } catch (error) {
    if (hasCode(error, "ENOTSUP")) return NO_XATTRS;
    throw error;
  }
  if (names.length === 0) return NO_XATTRS;
  names.sort();
  const xattrs: Xattr[] = [];
  let bytes = 0;
  for (const name of names) {
    let value: Uint8Array;
    try {
      value = native.getXattr(path, name);
    } catch (error) {
      // Taken away since it was listed, or listed by a file system that then does not give it.
      if (hasCode(error, "ENODATA") || hasCode(error, "ENOTSUP")) continue;
      throw error;
    }
    bytes += name.length + value.length;
    if (bytes > XATTR_BYTES_MAX) {
      throw Object.assign(new Error("E2BIG: extended attributes"), { code: "E2BIG" });
    }
    xattrs.push({ name, value });
  }
  return xattrs;
}

/** The target of a symbolic link, as a binary string. */
export function readLinkTarget(path: string): string {
  return readlinkSync(toFsPath(path), "latin1");
}

function hasCode(error: unknown, code: string): boolean {
  return (error as NodeJS.ErrnoException).code === code;
}
