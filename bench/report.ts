/** Results as Markdown, to be read on a terminal and copied into docs/benchmarks.md alike. */
import type { Aim } from "./aims.ts";
import type { Corpus } from "./corpora.ts";
import type { ErasureResult } from "./erasure.ts";
import type { LedgerResult } from "./ledger.ts";
import type { Machine } from "./machine.ts";
import type { MemoryResult } from "./memory.ts";
import type { Failure, Phase, ToolResult } from "./protect.ts";
import { formatSiteDaemon, formatSites } from "./report-sites.ts";
import { megabytes, seconds, table } from "./report-table.ts";
import type { SiteDaemonResult } from "./site-daemon.ts";
import type { SitesResult } from "./sites.ts";

export type Report = {
  readonly date: string;
  readonly machine: Machine;
  /** By tool; null where it is not installed, and was therefore skipped. */
  readonly versions: Readonly<Record<string, string | null>>;
  readonly repeat: number;
  readonly corpus?: Corpus;
  readonly tools?: readonly ToolResult[];
  readonly failures: readonly Failure[];
  readonly erasure?: readonly ErasureResult[];
  readonly ledger?: LedgerResult;
  readonly memory?: readonly MemoryResult[];
  readonly siteDaemon?: SiteDaemonResult;
  readonly sites?: SitesResult;
  readonly aims: readonly Aim[];
};

const PHASE_TITLES: Readonly<Record<Phase, string>> = {
  first: "First protect",
  again: "Protect again, nothing changed",
  restore: "Restore (exclave: two of five sites gone)",
};

export function formatReport(report: Report): string {
  const { tools, erasure, memory, failures } = report;
  const sections = [formatSetting(report)];
  if (tools && tools.length > 0) {
    for (const phase of ["first", "again", "restore"] as const) {
      sections.push(`${PHASE_TITLES[phase]}:\n\n${formatPhase(tools, phase)}`);
    }
    sections.push(`Stored after the first protect:\n\n${formatStored(tools)}`);
  }
  if (erasure) sections.push(`One core:\n\n${formatErasure(erasure)}`);
  if (memory) sections.push(`Peak memory by size of the register:\n\n${formatMemory(memory)}`);
  if (report.siteDaemon) sections.push(formatSiteDaemon(report.siteDaemon));
  if (report.sites) sections.push(formatSites(report.sites));
  if (report.aims.length > 0) sections.push(`Aims:\n\n${formatAims(report.aims)}`);
  for (const { tool, reason } of failures) sections.push(`FAILED: ${tool}: ${reason}`);
  return sections.join("\n\n");
}

function formatSetting({ date, machine, versions, corpus, repeat }: Report): string {
  const lines = [
    `${date.slice(0, 10)}; ${machine.cpu}, ${machine.cores} cores, ${gigabytes(machine.memoryBytes)} of memory;`,
    `Linux ${machine.kernel}; ${machine.disk}; load before: ${machine.loadBefore.toFixed(2)};`,
    `Node ${machine.node}, its OpenSSL ${machine.openssl}.`,
    ...Object.entries(versions).map(
      ([tool, version]) => `- ${version ?? `${tool}: not installed, skipped`}`,
    ),
  ];
  if (corpus) {
    lines.push(
      "",
      `Corpus: ${corpus.files} files, ${gigabytes(corpus.bytes)} (scale ${corpus.scale}, seed ${corpus.seed},`,
      `generator ${corpus.version}, SHA-256 ${corpus.digest.slice(0, 16)}…); best of ${repeat}.`,
    );
  }
  return lines.join("\n");
}

function formatPhase(tools: readonly ToolResult[], phase: Phase): string {
  const ours = tools.find(({ tool }) => tool === "exclave")?.phases[phase];
  return table(
    ["", "time", "/ exclave", "CPU", "peak memory", "flush after"],
    tools.flatMap(({ tool, phases }) => {
      const usage = phases[phase];
      if (!usage) return [];
      const ratio = ours ? `${(usage.wallSeconds / ours.wallSeconds).toFixed(2)}×` : "–";
      return [
        [
          tool,
          seconds(usage.wallSeconds),
          ratio,
          seconds(usage.cpuSeconds),
          megabytes(usage.peakMemoryBytes),
          seconds(usage.flushSeconds),
        ],
      ];
    }),
  );
}

function formatStored(tools: readonly ToolResult[]): string {
  const ours = tools.find(({ tool }) => tool === "exclave")?.bytesBeforeDispersal;
  return table(
    ["", "bytes", "on disk", "files", "before dispersal", "/ exclave"],
    tools.map(({ tool, stored, bytesBeforeDispersal }) => [
      tool,
      megabytes(stored.bytes),
      megabytes(stored.allocatedBytes),
      String(stored.files),
      megabytes(bytesBeforeDispersal),
      ours ? `${(bytesBeforeDispersal / ours).toFixed(3)}×` : "–",
    ]),
  );
}

function formatErasure(results: readonly ErasureResult[]): string {
  return table(
    ["", "rate"],
    results.map(({ name, gigabytesPerSecond }) => [name, `${gigabytesPerSecond.toFixed(2)} GB/s`]),
  );
}

function formatMemory(results: readonly MemoryResult[]): string {
  return table(
    ["register", "files", "protect", "restore"],
    results.map((result) => [
      gigabytes(result.corpusBytes),
      String(result.corpusFiles),
      megabytes(result.protectPeakBytes),
      megabytes(result.restorePeakBytes),
    ]),
  );
}

function formatAims(aims: readonly Aim[]): string {
  return table(
    ["", "measured", "aim", ""],
    aims.map(({ what, measured, unit, bound, aim, holds }) => {
      const digits = unit === "MB" || unit === "a second" ? 0 : 2;
      const space = unit === "×" ? "" : " ";
      return [
        what,
        `${measured.toFixed(digits)}${space}${unit}`,
        `${bound} ${aim}${space}${unit}`,
        holds ? "holds" : "MISSED",
      ];
    }),
  );
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(2)} GB`;
}
