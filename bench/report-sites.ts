/** What was measured at and over sites, as Markdown. */
import { megabytes, seconds, table } from "./report-table.ts";
import type { SiteDaemonResult } from "./site-daemon.ts";
import type { FarPhase, FarRun, SitesResult } from "./sites.ts";

export function formatSiteDaemon(result: SiteDaemonResult): string {
  const rate = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB/s`;
  const rows = [
    ["shards taken, the client beside it", rate(result.putBytesPerSecond)],
    ["shards taken, by a second of its own processor time", rate(result.putBytesPerCpuSecond)],
    ["ranges of 16 KiB given a second", result.readsPerSecond.toFixed(0)],
    ["the same by a second of its processor time", result.readsPerCpuSecond.toFixed(0)],
    ["one range, median", `${result.readMillisecondsMedian.toFixed(1)} ms`],
    ["one range, 99th percentile", `${result.readMillisecondsP99.toFixed(1)} ms`],
    ["one of 3000 a second, median", `${result.pacedMillisecondsMedian.toFixed(1)} ms`],
    ["one of 3000 a second, 99th percentile", `${result.pacedMillisecondsP99.toFixed(1)} ms`],
    ["memory at first, at most", `${megabytes(result.idleBytes)}, ${megabytes(result.peakBytes)}`],
  ];
  return `One site's process, on loopback:\n\n${table(["", ""], rows)}`;
}

export function formatSites({ link, plain, runs, skipped }: SitesResult): string {
  const sections = [`Over a link: ${link}.`];
  const plainRows = Object.entries(plain).map(([name, { roundTripMs, bitsPerSecond }]) => [
    name,
    `${roundTripMs.toFixed(0)} ms`,
    ...[...bitsPerSecond.values()].map(megabits),
  ]);
  const counts = Object.values(plain)[0]?.bitsPerSecond.keys() ?? [];
  const head = ["plain TCP", "round trip", ...[...counts].map((count) => `${count} at once`)];
  if (plainRows.length > 0) sections.push(table(head, plainRows));
  for (const phase of ["protect", "restore"] as const) {
    if (runs.length === 0) continue;
    sections.push(`${phase}:\n\n${formatRuns(runs, phase)}`);
  }
  for (const reason of skipped) sections.push(`Skipped: ${reason}.`);
  return sections.join("\n\n");
}

const COLUMNS = [
  "time",
  "one copy",
  "to be moved",
  "in the streams",
  "in IP packets",
  "the other way",
  "link in use, bulk",
  "in all",
  "MB/s of one copy",
];

function formatRuns(runs: readonly FarRun[], phase: "protect" | "restore"): string {
  return table(
    ["", ...COLUMNS],
    runs.map((run) => [
      `${run.tool}, ${run.congestionControl}, ${megabytes(run.corpusBytes)}`,
      ...cellsOf(run, run[phase]),
    ]),
  );
}

function cellsOf(
  run: FarRun,
  { wallSeconds, wholeShare, bytes, flow, back }: FarPhase,
): readonly string[] {
  const beyond = (sent: number): string => `${signed((sent / bytes - 1) * 100)} %`;
  return [
    seconds(wallSeconds),
    megabytes(run.bytesBeforeDispersal),
    megabytes(bytes),
    beyond(flow.streamBytes),
    beyond(flow.sentBytes),
    megabytes(back.sentBytes),
    `${(flow.bulkShare * 100).toFixed(0)} %`,
    `${(wholeShare * 100).toFixed(0)} %`,
    (run.bytesBeforeDispersal / 1e6 / wallSeconds).toFixed(1),
  ];
}

function megabits(bitsPerSecond: number): string {
  return `${(bitsPerSecond / 1e6).toFixed(1)} Mbit/s`;
}

function signed(percent: number): string {
  return `${percent < 0 ? "" : "+"}${percent.toFixed(1)}`;
}
