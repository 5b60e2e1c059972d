/** Whether peak memory grows with the register: protect and restore at 1 GB, and at 10 GB if asked to. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Corpus } from "./corpora.ts";
import { measure } from "./measure.ts";
import type { Context } from "./protect.ts";
import type { Tool } from "./tools/tool.ts";

export const MEMORY_SCALE = 0.64;
export const MEMORY_SCALE_LARGE = 6.4;

export type MemoryResult = {
  readonly corpusBytes: number;
  readonly corpusFiles: number;
  readonly protectPeakBytes: number;
  readonly restorePeakBytes: number;
};

export async function measureMemory(
  context: Context,
  corpus: Corpus,
  tool: Tool,
): Promise<MemoryResult> {
  const directory = join(context.directory, `memory-${corpus.scale}`);
  mkdirSync(directory);
  context.say(`memory, ${(corpus.bytes / 1e9).toFixed(1)} GB`);
  const repository = tool.found(directory, corpus.path);
  const conditions = { outputFile: join(context.directory, "output"), signal: context.signal };
  const protect = await measure(repository.protect, conditions);
  repository.beforeRestore?.();
  const restore = await measure(repository.restore, conditions);
  return {
    corpusBytes: corpus.bytes,
    corpusFiles: corpus.files,
    protectPeakBytes: protect.peakMemoryBytes,
    restorePeakBytes: restore.peakMemoryBytes,
  };
}
