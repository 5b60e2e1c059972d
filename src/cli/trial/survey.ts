/** What a directory holds, before anything is done with it. */
import { setImmediate } from "node:timers/promises";
import { fromText } from "../../platform/names.ts";
import type { Native } from "../../platform/native.ts";
import type { PathMatcher } from "../../registers/files/patterns.ts";
import { walk } from "../../registers/files/walk.ts";

export type Survey = {
  readonly files: number;
  readonly directories: number;
  readonly symlinks: number;
  /** FIFOs and devices. */
  readonly specials: number;
  readonly sockets: number;
  /** Content of the files, each name of a hard-linked one counted. */
  readonly bytes: number;
  /** What a copy of it takes on a disk, about. */
  readonly diskBytes: number;
};

const DISK_BLOCK_BYTES = 4096;
/** An entry's own share of inode tables and directories. */
const ENTRY_DISK_BYTES = 512;
/** Entries between two turns of the event loop: signals are heard, the live line moves. */
const ENTRIES_A_TURN = 256;

export async function survey(
  directory: string,
  options: {
    readonly native: Native | undefined;
    readonly excludes: PathMatcher;
    readonly oneFileSystem: boolean;
    readonly onProgress: (entries: number, bytes: number) => void;
  },
): Promise<Survey> {
  const found = { files: 0, directories: 0, symlinks: 0, specials: 0, sockets: 0 };
  let [bytes, diskBytes, entries] = [0, 0, 0];
  for (const { stat } of walk(fromText(directory), { ...options, onProblem: () => undefined })) {
    entries++;
    diskBytes += ENTRY_DISK_BYTES;
    if (stat.kind === "file") {
      found.files++;
      bytes += stat.size;
      // Holes are restored as holes.
      const held = Math.min(stat.size, stat.allocatedBytes);
      diskBytes += Math.ceil(held / DISK_BLOCK_BYTES) * DISK_BLOCK_BYTES;
    } else if (stat.kind === "directory") found.directories++;
    else if (stat.kind === "symlink") found.symlinks++;
    else if (stat.kind === "socket") found.sockets++;
    else found.specials++;
    if (entries % ENTRIES_A_TURN === 0) {
      options.onProgress(entries, bytes);
      await setImmediate();
    }
  }
  return { ...found, bytes, diskBytes };
}
