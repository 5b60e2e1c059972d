/** Protect, protect again, lose two sites, restore, compare: each tool on the same corpus and disk. */
import { existsSync, mkdirSync, readdirSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { assertSameTree } from "./compare-trees.ts";
import type { Corpus } from "./corpora.ts";
import { measure, measureStored, type Stored, type Usage } from "./measure.ts";
import type { Repository, Tool } from "./tools/tool.ts";

/** For a process and its small files, beside twice the corpus for what it reads and writes. */
const WARM_BYTES_MIN = 500e6;

export type Phase = "first" | "again" | "restore";

export type ToolResult = {
  readonly tool: string;
  /** The quickest run of each phase; its peak memory is the largest of all runs. */
  readonly phases: Partial<Record<Phase, Usage>>;
  /** After the first protect. */
  readonly stored: Stored;
  /** `stored.bytes` without the tool's own dispersal: times k / n. */
  readonly bytesBeforeDispersal: number;
  /** What dispersal stores beyond n / k on full packs, as a fraction; absent where nothing is dispersed. */
  readonly dispersalOverhead?: number;
};

export type Failure = { readonly tool: string; readonly reason: string };

/** How the work is done and watched. */
export type Context = {
  /** An empty directory on the disk to measure; whoever gives it deletes it. */
  readonly directory: string;
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
};

/**
 * Runs all tools in turn, `repeat` times, the order reversed each time.
 *
 * Nothing is deleted in between, only truncated: ext4 searches linearly past each inode that was
 * freed in the last minutes, so whoever makes files after a large deletion waits for it (we saw
 * the tar pipeline restore in 12.6 s instead of 4.4).
 */
export async function compareTools(
  context: Context,
  corpus: Corpus,
  tools: readonly Tool[],
  repeat: number,
): Promise<{ readonly results: readonly ToolResult[]; readonly failures: readonly Failure[] }> {
  const results = new Map<string, ToolResult>();
  const failures: Failure[] = [];
  for (let round = 0; round < repeat; round++) {
    for (const tool of round % 2 === 0 ? tools : tools.toReversed()) {
      if (failures.some((failure) => failure.tool === tool.name)) continue;
      context.say(`${tool.name}, run ${round + 1} of ${repeat}`);
      try {
        const result = await runTool(context, corpus, tool, round);
        results.set(tool.name, better(results.get(tool.name), result));
      } catch (error) {
        context.signal.throwIfAborted();
        const reason = reasonOf(error);
        failures.push({ tool: tool.name, reason });
        context.say(`${tool.name} failed: ${reason}`);
      }
    }
  }
  return { results: tools.flatMap((tool) => results.get(tool.name) ?? []), failures };
}

export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function runTool(
  context: Context,
  corpus: Corpus,
  tool: Tool,
  round: number,
): Promise<ToolResult> {
  const directory = join(context.directory, `${tool.name.replaceAll("|", "-")}-${round}`);
  mkdirSync(directory);
  const repository = tool.found(directory, corpus.path);
  const timed = async (name: Phase, command: Repository["protect"], cached: readonly string[]) => {
    const usage = await measure(command, {
      outputFile: join(context.directory, "output"),
      signal: context.signal,
      cached,
      warmBytes: corpus.bytes * 2 + WARM_BYTES_MIN,
    });
    context.say(`  ${name}: ${usage.wallSeconds.toFixed(2)} s`);
    return usage;
  };

  const first = await timed("first", repository.protect, [corpus.path]);
  const stored = await measureStored(repository.stored);
  const dispersalOverhead = repository.dispersalOverhead?.();
  const again =
    repository.protectAgain && (await timed("again", repository.protectAgain, [corpus.path]));
  repository.beforeRestore?.();
  const kept = repository.stored.filter((path) => existsSync(path));
  const restore = await timed("restore", repository.restore, kept);
  assertSameTree(corpus.path, repository.restored);
  truncateFiles(directory);
  return {
    tool: tool.name,
    phases: { first, ...(again && { again }), restore },
    stored,
    bytesBeforeDispersal: stored.bytes / repository.expansion,
    ...(dispersalOverhead !== undefined && { dispersalOverhead }),
  };
}

function better(known: ToolResult | undefined, result: ToolResult): ToolResult {
  if (!known) return result;
  const phases: ToolResult["phases"] = {};
  for (const phase of ["first", "again", "restore"] as const) {
    const [a, b] = [known.phases[phase], result.phases[phase]];
    if (!a || !b) continue;
    const quicker = a.wallSeconds <= b.wallSeconds ? a : b;
    const peakMemoryBytes = Math.max(a.peakMemoryBytes, b.peakMemoryBytes);
    phases[phase] = { ...quicker, peakMemoryBytes };
  }
  return { ...result, phases };
}

function truncateFiles(directory: string): void {
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) truncateSync(join(entry.parentPath, entry.name));
  }
}
