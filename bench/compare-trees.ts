import { closeSync, lstatSync, openSync, readdirSync, readlinkSync, readSync } from "node:fs";
import { join } from "node:path";

const READ_BYTES = 1 << 20;

/**
 * Throws unless two directories hold the same: names, kinds, permissions, modification times of
 * files, link targets and every byte. `wanted` is the original.
 */
export function assertSameTree(wanted: string, found: string): void {
  const buffers = [Buffer.alloc(READ_BYTES), Buffer.alloc(READ_BYTES)] as const;
  const differs = (path: string, how: string) =>
    new Error(`what was restored differs from the original: ${path || "."}: ${how}`);
  const compare = (path: string): void => {
    const [left, right] = [join(wanted, path), join(found, path)];
    const [leftStat, rightStat] = [
      lstatSync(left, { bigint: true }),
      lstatSync(right, { bigint: true, throwIfNoEntry: false }),
    ];
    if (!rightStat) throw differs(path, "missing");
    // The top directory belongs to whoever called the tool, not to the tool.
    if (path !== "" && leftStat.mode !== rightStat.mode) throw differs(path, "kind or permissions");
    if (leftStat.isDirectory()) {
      const names = readdirSync(left).sort();
      const same = names.join("/") === readdirSync(right).sort().join("/");
      if (!same) throw differs(path, "names in it");
      for (const name of names) compare(join(path, name));
    } else if (leftStat.isSymbolicLink()) {
      if (readlinkSync(left) !== readlinkSync(right)) throw differs(path, "link target");
    } else {
      if (leftStat.mtimeMs !== rightStat.mtimeMs) throw differs(path, "modification time");
      if (leftStat.size !== rightStat.size) throw differs(path, "length");
      if (!sameBytes(left, right, buffers)) throw differs(path, "content");
    }
  };
  compare("");
}

function sameBytes(left: string, right: string, [a, b]: readonly [Buffer, Buffer]): boolean {
  const [leftFile, rightFile] = [openSync(left, "r"), openSync(right, "r")];
  try {
    for (;;) {
      const [leftBytes, rightBytes] = [readSync(leftFile, a), readSync(rightFile, b)];
      if (leftBytes !== rightBytes) return false;
      if (a.compare(b, 0, rightBytes, 0, leftBytes) !== 0) return false;
      if (leftBytes === 0) return true;
    }
  } finally {
    closeSync(leftFile);
    closeSync(rightFile);
  }
}
