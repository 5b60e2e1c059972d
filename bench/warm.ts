/**
 * The same start for every command: its input in the page cache, and memory to write into that costs
 * what memory costs on a machine of one's own.
 */
import { closeSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";

const READ_BYTES = 1 << 20;
const BLOCK_BYTES = 32 << 20;
/** More than is used up between two calls of `release`. */
const SLACK_BYTES = 256 << 20;
/** Of what the machine has available. */
const SHARE_MAX = 0.4;

/** Reads all files of a tree. */
export function readTree(path: string): void {
  const buffer = Buffer.alloc(READ_BYTES);
  for (const entry of readdirSync(path, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = openSync(join(entry.parentPath, entry.name), "r");
    try {
      while (readSync(file, buffer) > 0);
    } finally {
      closeSync(file);
    }
  }
}

/**
 * Memory that has been touched, handed to the system as a command uses memory up.
 *
 * A virtual machine gives free memory back to its host (free page reporting, ballooning), and the
 * first touch of each such page then waits for the host: we measured 2.5 s a GB, so that `cp` of our
 * corpus took 1.4 or 13 s, as it happened. Handing it out bit by bit, rather than all at the start,
 * serves the slow command as well as the quick one, since what is free goes back within seconds.
 */
export class WarmMemory {
  readonly #blocks: ArrayBuffer[] = [];
  #freeBytesMin = 0;

  /** Takes less than `bytes` where the machine has little. */
  constructor(bytes: number) {
    const bytesMax = Math.min(bytes, memoryInfo("MemAvailable") * SHARE_MAX);
    for (let held = 0; held < bytesMax; held += BLOCK_BYTES) {
      const block = new ArrayBuffer(BLOCK_BYTES);
      new Uint8Array(block).fill(1);
      this.#blocks.push(block);
    }
    this.#freeBytesMin = memoryInfo("MemFree") + SLACK_BYTES;
  }

  /** To be called every few hundredths of a second. */
  release(): void {
    if (this.#blocks.length === 0) return;
    let missing = this.#freeBytesMin - memoryInfo("MemFree");
    for (; missing > 0; missing -= BLOCK_BYTES) this.#blocks.pop()?.transfer(0);
  }

  releaseAll(): void {
    for (const block of this.#blocks.splice(0)) block.transfer(0);
  }
}

function memoryInfo(field: "MemFree" | "MemAvailable"): number {
  const text = readFileSync("/proc/meminfo", "latin1");
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(text)?.[1] ?? 0) * 1024;
}
