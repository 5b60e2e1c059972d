/** Commands that make what must not stay behind: it goes when they fail, and when they are stopped. */
import { chmodSync, readdirSync, rmSync } from "node:fs";
import type { Terminal } from "./terminal.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Runs `work`, and should a signal come meanwhile, runs `cleanUp` and ends the process by that signal,
 * as it would have ended without us. Errors of `work` pass through; cleaning up after them is the
 * caller's, who knows what to keep.
 */
export async function stoppable<T>(
  terminal: Terminal,
  cleanUp: () => void,
  work: () => Promise<T>,
): Promise<T> {
  const stop = (signal: NodeJS.Signals): void => {
    unlisten();
    terminal.error("stopped; clearing up …");
    try {
      cleanUp();
    } finally {
      process.kill(process.pid, signal);
    }
  };
  const unlisten = (): void => {
    for (const signal of SIGNALS) process.removeListener(signal, stop);
  };
  for (const signal of SIGNALS) process.on(signal, stop);
  try {
    return await work();
  } finally {
    unlisten();
  }
}

/**
 * Removes a tree, also while worker threads that are about to end still write into it, and also where
 * a restored directory does not let its owner write.
 */
export function removeTree(path: string): void {
  const remove = (): void =>
    rmSync(path, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  try {
    remove();
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    if (!["EACCES", "EPERM", "ENOTEMPTY"].includes(code)) throw error;
    openDirectories(Buffer.from(path));
    remove();
  }
}

/** Lets the owner into every directory of a tree. Paths as bytes: names need not be text. */
function openDirectories(directory: Buffer): void {
  chmodSync(directory, 0o700);
  for (const entry of readdirSync(directory, { withFileTypes: true, encoding: "buffer" })) {
    if (entry.isDirectory()) {
      openDirectories(Buffer.concat([directory, Buffer.from("/"), entry.name]));
    }
  }
}
