/**
 * Runs a command and measures it, with all the processes it starts. Linux only, nothing to install.
 *
 * - Wall time: from before the start to the exit, so a program's own start-up counts.
 * - CPU: how much `cutime + cstime` in /proc/self/stat grew, which the kernel adds up exactly for every
 *   descendant that was waited for (the same as `time` in a shell reports), in steps of 10 ms.
 * - Peak memory: every 20 ms, VmHWM of every living process of the tree, added up; the largest sum.
 *   VmHWM is kept by the kernel and only grows, so for a single process the figure is its true peak
 *   resident set unless it grew in its last 20 ms; for a pipeline it is an upper bound, since its
 *   parts need not peak together. Shared libraries count in each process that maps them. The page
 *   cache does not count.
 * - Flush: how long `sync` takes afterwards. A program that calls no fsync leaves its disk work there.
 */
import { spawn, spawnSync } from "node:child_process";
import { closeSync, openSync, readdirSync, readFileSync } from "node:fs";
import { lstat, opendir } from "node:fs/promises";
import { join } from "node:path";
import { readTree, WarmMemory } from "./warm.ts";

const SAMPLE_MS = 20;
/** The unit of the times in /proc/PID/stat, the same on every Linux. */
const TICKS_PER_SECOND = 100;
const OUTPUT_SHOWN_CHARACTERS = 2000;

export type Command = {
  readonly argv: readonly [string, ...string[]];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
};

export type Usage = {
  readonly wallSeconds: number;
  readonly cpuSeconds: number;
  readonly peakMemoryBytes: number;
  readonly flushSeconds: number;
};

export type Conditions = {
  /** Takes what the command prints. */
  readonly outputFile: string;
  readonly signal: AbortSignal;
  /** Directories to be in the page cache when the command starts. */
  readonly cached?: readonly string[];
  /** How much memory the command may write to, page cache included, that needs no fetching from a host. */
  readonly warmBytes?: number;
};

/**
 * Runs the command to its end, after a `sync`, so that it does not pay for what was written before.
 * Throws when it cannot be started, ends with another code than 0, or the signal is aborted.
 */
export async function measure(
  command: Command,
  { outputFile, signal, cached = [], warmBytes = 0 }: Conditions,
): Promise<Usage> {
  signal.throwIfAborted();
  flush();
  const warm = new WarmMemory(warmBytes);
  for (const directory of cached) readTree(directory);
  warm.release();
  const [program, ...args] = command.argv;
  const output = openSync(outputFile, "w");
  const cpuBefore = cpuSecondsOfChildren();
  const start = performance.now();
  // A process group of its own, so that an abort ends a whole pipeline.
  const child = spawn(program, args, {
    cwd: command.cwd,
    env: { ...process.env, ...command.env },
    stdio: ["ignore", output, output],
    detached: true,
  });
  closeSync(output);
  const { pid } = child;
  let peakMemoryBytes = 0;
  const sampler = setInterval(() => {
    warm.release();
    peakMemoryBytes = Math.max(peakMemoryBytes, memoryOfTree(pid ?? 0));
  }, SAMPLE_MS);
  const abort = () => pid !== undefined && process.kill(-pid, "SIGKILL");
  signal.addEventListener("abort", abort);
  try {
    const ended = await new Promise<string>((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (code, killedBy) => resolve(killedBy ?? String(code)));
    });
    const wallSeconds = (performance.now() - start) / 1000;
    const cpuSeconds = cpuSecondsOfChildren() - cpuBefore;
    signal.throwIfAborted();
    if (ended !== "0") throw new CommandError(command, ended, outputFile);
    const flushStart = performance.now();
    flush();
    const flushSeconds = (performance.now() - flushStart) / 1000;
    return { wallSeconds, cpuSeconds, peakMemoryBytes, flushSeconds };
  } finally {
    signal.removeEventListener("abort", abort);
    clearInterval(sampler);
    warm.releaseAll();
  }
}

/** Runs a command that is not measured, and gives what it printed. Throws unless it ends with 0. */
export function run(command: Command): string {
  const [program, ...args] = command.argv;
  const { status, error, stdout, stderr } = spawnSync(program, args, {
    cwd: command.cwd,
    env: { ...process.env, ...command.env },
    stdio: ["ignore", "pipe", "pipe"],
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  if (error) throw error;
  if (status !== 0) throw new CommandError(command, String(status), undefined, stdout + stderr);
  return stdout;
}

class CommandError extends Error {
  constructor(command: Command, ended: string, outputFile?: string, output?: string) {
    const printed = output ?? (outputFile ? readFileSync(outputFile, "utf8") : "");
    super(
      `${command.argv.join(" ")} ended with ${ended}:\n${printed.trim().slice(-OUTPUT_SHOWN_CHARACTERS)}`,
    );
  }
}

function flush(): void {
  spawnSync("sync");
}

function cpuSecondsOfChildren(): number {
  const fields = statFields("/proc/self/stat");
  return (Number(fields[13]) + Number(fields[14])) / TICKS_PER_SECOND;
}

/** The fields after the program's name, which may itself hold spaces; the state is the first. */
function statFields(path: string): string[] {
  const text = readFileSync(path, "latin1");
  return text.slice(text.lastIndexOf(")") + 2).split(" ");
}

function memoryOfTree(root: number): number {
  let sum = 0;
  const left = [root];
  for (let pid = left.pop(); pid !== undefined; pid = left.pop()) {
    try {
      const status = readFileSync(`/proc/${pid}/status`, "latin1");
      sum += Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
      left.push(...childrenOf(pid));
    } catch {
      // The process has ended meanwhile.
    }
  }
  return sum;
}

function childrenOf(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, "latin1")
      .split(" ")
      .filter((child) => child !== "")
      .map(Number),
  );
}

export type Stored = {
  readonly files: number;
  /** The files' lengths, added up. */
  readonly bytes: number;
  /** The disk blocks they take, directories included. */
  readonly allocatedBytes: number;
};

/** What lies in these directories, hard links counted once for each name. */
export async function measureStored(directories: readonly string[]): Promise<Stored> {
  let [files, bytes, allocatedBytes] = [0, 0, 0];
  for (const directory of directories) {
    for await (const entry of await opendir(directory, { recursive: true })) {
      const stat = await lstat(join(entry.parentPath, entry.name));
      allocatedBytes += stat.blocks * 512;
      if (!stat.isFile()) continue;
      files++;
      bytes += stat.size;
    }
  }
  return { files, bytes, allocatedBytes };
}
