/**
 * The ground that measurements stand on: `.bench/` in the checkout, or a directory on the disk to
 * measure. It keeps the corpora; a run's own directory is deleted when the run ends.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, statfsSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";

/** ext4 passes over an inode freed less than 60 s ago, searching on linearly (fs/ext4/ialloc.c). */
const REST_SECONDS = 65;

/**
 * Waits until the last run's clean-up cannot slow this one, then makes the run's directory. Throws
 * when the disk has not the space that `bytesNeeded` says.
 */
export async function openGround(
  ground: string,
  bytesNeeded: number,
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<string> {
  const { bavail, bsize } = statfsSync(ground);
  if (bavail * bsize < bytesNeeded) {
    const [wanted, free] = [bytesNeeded, bavail * bsize].map((bytes) => (bytes / 1e9).toFixed(1));
    throw new Error(
      `${ground} has ${free} GB free and ${wanted} GB are needed: use a smaller --scale, or --directory on another disk`,
    );
  }
  const cleaned = statSync(cleanedMark(ground), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const restMs = Math.min(REST_SECONDS * 1000, cleaned + REST_SECONDS * 1000 - Date.now());
  if (restMs > 0) {
    say(`waiting ${Math.ceil(restMs / 1000)} s, so that the last run's clean-up does not count`);
    await setTimeout(restMs, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
  return mkdtempSync(join(ground, "run-"));
}

/** Deletes a run's directory. The `sync` brings the freed inodes to disk, without which ext4 holds them for longer. */
export function closeGround(ground: string, run: string): void {
  rmSync(run, { recursive: true, force: true });
  spawnSync("sync");
  writeFileSync(cleanedMark(ground), "");
}

/** The ground of this checkout, or the one that was named. */
export function groundAt(directory: string | undefined): string {
  const ground = directory ?? join(import.meta.dirname, "../.bench");
  mkdirSync(ground, { recursive: true });
  return ground;
}

function cleanedMark(ground: string): string {
  return join(ground, "last-clean-up");
}
