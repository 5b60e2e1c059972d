import type { Native } from "../../platform/native.ts";
import type { FileStat } from "./stat.ts";

/** A stretch of a file, in bytes. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
}

/** True when less is set aside than the file is long, so that looking for holes may pay. */
export function mayHaveHoles(stat: FileStat): boolean {
  return stat.kind === "file" && stat.allocatedBytes < stat.size;
}

/**
 * The stretches of an open file's first `size` bytes that hold data, in order; what lies between them
 * and up to `size` are holes, which read as zeros. Everything is one stretch where the file system
 * does not tell. Moves the descriptor's own position: read by explicit offset.
 */
export function* dataExtents(
  fd: number,
  size: number,
  native: Native | undefined,
): Generator<Extent, void, undefined> {
  if (native === undefined) {
    if (size > 0) yield { offset: 0, length: size };
    return;
  }
  let offset = 0;
  while (offset < size) {
    let start: number;
    let end: number;
    try {
      start = native.seekData(fd, offset);
      if (start < 0 || start >= size) return;
      end = native.seekHole(fd, start);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EINVAL") throw error;
      start = offset;
      end = size;
    }
    // No hole after data, or none at all that moves on: the file is being cut while it is read.
    if (end <= start || end > size) end = size;
    yield { offset: start, length: end - start };
    offset = end;
  }
}
