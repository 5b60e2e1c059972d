/** The aims of DESIGN section 9 and of the vault's issue, each beside what was measured. */
import type { ErasureResult } from "./erasure.ts";
import type { LedgerResult } from "./ledger.ts";
import type { MemoryResult } from "./memory.ts";
import type { Phase, ToolResult } from "./protect.ts";
import type { SiteDaemonResult } from "./site-daemon.ts";
import type { SitesResult } from "./sites.ts";

export type Aim = {
  readonly what: string;
  readonly measured: number;
  readonly unit: "×" | "%" | "MB" | "GB/s" | "a second" | "ms" | "s";
  readonly bound: "at least" | "at most";
  readonly aim: number;
  readonly holds: boolean;
};

const PEAK_MEMORY_MB = 300;

export function aimsOfTools(results: readonly ToolResult[]): Aim[] {
  const find = (name: string) => results.find(({ tool }) => tool === name);
  const ours = find("exclave");
  if (!ours) return [];
  const aims: Aim[] = [];
  const quickerThan = (name: string, what: string, phase: Phase, least: number) => {
    const [theirSeconds, ourSeconds] = [find(name), ours].map((r) => r?.phases[phase]?.wallSeconds);
    if (theirSeconds === undefined || ourSeconds === undefined) return;
    aims.push(aim(`${what}: ${name} / exclave`, theirSeconds / ourSeconds, "×", "at least", least));
  };
  quickerThan("restic", "first protect", "first", 2.5);
  quickerThan("borg", "first protect", "first", 3.5);
  quickerThan("tar|zstd|openssl", "first protect", "first", 1);
  const restic = find("restic");
  if (restic) {
    const ratio = ours.bytesBeforeDispersal / restic.bytesBeforeDispersal;
    aims.push(aim("bytes before dispersal: exclave / restic", ratio, "×", "at most", 1));
  }
  if (ours.dispersalOverhead !== undefined) {
    const percent = ours.dispersalOverhead * 100;
    aims.push(aim("stored beyond n/k, full packs", percent, "%", "at most", 2));
  }
  quickerThan("restic", "protect again, unchanged", "again", 3);
  quickerThan("restic", "restore with two sites gone", "restore", 2.5);
  for (const [phase, usage] of Object.entries(ours.phases)) {
    aims.push(memoryAim(`peak memory, ${phase}`, usage.peakMemoryBytes));
  }
  return aims;
}

export function aimsOfErasure(results: readonly ErasureResult[]): Aim[] {
  const rate = (start: string) =>
    results.find(({ name }) => name.startsWith(start))?.gigabytesPerSecond ?? 0;
  return [
    aim("erasure coding 3-of-5, one core", rate("encode 3-of-5"), "GB/s", "at least", 5),
    aim("its decoding, two pieces lost", rate("decode 3-of-5"), "GB/s", "at least", 2.5),
  ];
}

export function aimsOfLedger(result: LedgerResult): Aim[] {
  const { appendedPerSecond, proofMilliseconds, verifySeconds } = result;
  const { envelopesPerSecond, signaturesPerSecond } = result;
  return [
    aim("entries appended to the ledger", appendedPerSecond, "a second", "at least", 2000),
    aim("a proof from a ledger of 100,000", proofMilliseconds, "ms", "at most", 10),
    aim("verifying 100,000 entries, no signatures", verifySeconds, "s", "at most", 10),
    aim(
      "signed envelopes verified / bare signatures",
      envelopesPerSecond / signaturesPerSecond,
      "×",
      "at least",
      0.9,
    ),
  ];
}

export function aimsOfMemory(results: readonly MemoryResult[]): Aim[] {
  return results.flatMap(({ corpusBytes, protectPeakBytes, restorePeakBytes }) => {
    const size = `${(corpusBytes / 1e9).toFixed(1)} GB`;
    return [
      memoryAim(`peak memory, protecting ${size}`, protectPeakBytes),
      memoryAim(`peak memory, restoring ${size}`, restorePeakBytes),
    ];
  });
}

/** A core's share of what was done: the daemon's own processor time counts, the client's beside it does not. */
export function aimsOfSiteDaemon(result: SiteDaemonResult): Aim[] {
  const { putBytesPerCpuSecond, readsPerSecond, pacedMillisecondsP99, peakBytes } = result;
  return [
    aim(
      "shards taken by a site, MB a core second",
      putBytesPerCpuSecond / 1e6,
      "MB",
      "at least",
      400,
    ),
    aim("small ranges that it gives", readsPerSecond, "a second", "at least", 3000),
    aim("one of 3000 a second, 99th percentile", pacedMillisecondsP99, "ms", "at most", 20),
    aim("its peak memory", peakBytes / 1e6, "MB", "at most", 200),
  ];
}

export function aimsOfSites({ runs }: SitesResult): Aim[] {
  return runs.flatMap((ours) => {
    const { tool, size, congestionControl: name } = ours;
    if (tool !== "exclave") return [];
    const theirs = runs.find((run) => run.tool === "restic" && run.congestionControl === name);
    return (["protect", "restore"] as const).flatMap((phase) => {
      const { flow, bytes, wallSeconds } = ours[phase];
      const what = `${phase} over the link, ${name}`;
      const over = (flow.streamBytes / bytes - 1) * 100;
      const quicker = theirs && theirs[phase].wallSeconds / wallSeconds;
      return [
        // A short transfer has no bulk under BBR; under CUBIC any is long.
        ...(size === "bulk" || name === "cubic"
          ? [
              aim(`${what}: link in use, bulk`, flow.bulkShare * 100, "%", "at least", 90),
              aim(`${what}: sent beyond the shards`, over, "%", "at most", 3),
            ]
          : []),
        ...(quicker !== undefined && size === "compared"
          ? [aim(`${what}: restic over sftp / exclave`, quicker, "×", "at least", 1)]
          : []),
      ];
    });
  });
}

function memoryAim(what: string, bytes: number): Aim {
  return aim(what, bytes / 1e6, "MB", "at most", PEAK_MEMORY_MB);
}

function aim(
  what: string,
  measured: number,
  unit: Aim["unit"],
  bound: Aim["bound"],
  wanted: number,
): Aim {
  const holds = bound === "at least" ? measured >= wanted : measured <= wanted;
  return { what, measured, unit, bound, aim: wanted, holds };
}
