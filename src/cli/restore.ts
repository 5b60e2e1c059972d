import { once } from "node:events";
import { resolve } from "node:path";
import { Command } from "commander";
import { ExclaveError } from "../errors.ts";
import { readAsReader } from "../registers/read-as-reader.ts";
import {
  homeAsSource,
  type RestoreReport,
  type RestoreSource,
  restore,
} from "../registers/restore.ts";
import type { Catalog } from "../vault/catalog.ts";
import { withHome } from "./context.ts";
import { EXIT } from "./exit-codes.ts";
import { formatBytes, formatCount, formatSeconds, formatTime, plural } from "./format.ts";
import type { MakeCommand } from "./main.ts";
import { openKeyAt } from "./recovery-source.ts";
import { collect } from "./register.ts";
import type { Terminal } from "./terminal.ts";

const PROBLEMS_SHOWN_MAX = 20;

const HELP = `
  exclave restore docs --to /srv/restored                          the newest, all of it
  exclave restore docs --to one --path 'births/*' --at 2026-11-21T09:10Z
  exclave restore ledger --stdout | psql registry                  of a stream
  exclave restore docs --to out --reader-key reader.age --site https://lu.example.org:7443 …

Nothing that exists is overwritten without --overwrite. \`exclave snapshots\` has the ids.`;

export const restoreCommand: MakeCommand = (terminal, setExit) =>
  new Command("restore")
    .description("bring a recovery point back")
    .argument("<register>")
    .option("--to <dir>", "the directory to restore into; made when it does not exist")
    .option("--stdout", "for a stream: write it to standard output", false)
    .option("--snapshot <id>", "this recovery point, by the start of its id (default: the newest)")
    .option("--quarantined", "with --snapshot: one that was set aside, whoever wrote it", false)
    .option("--at <time>", "the newest one not after this time, for instance 2026-11-21T09:10Z")
    .option("--path <glob>", "only what matches, and what is in it; several times", collect, [])
    .option("--overwrite", "replace files that exist in the target", false)
    .option("--keep-going", "restore what can be had when something is lost for good", false)
    .option("--numeric-owner", "owners by number, even where this machine knows the names", false)
    .option("--reader-key <file>", "without a home: what was released to this key, from --site")
    .option("--site <address>", "with --reader-key: a site; several times", collect, [])
    .option("--passphrase-file <file>", "with --reader-key: the key file's passphrase")
    .option("--accept-stale", "with --reader-key: though sites not given may have newer", false)
    .addHelpText("after", HELP)
    .action(async (register: string, flags: RestoreFlags) => {
      if ((flags.to === undefined) !== flags.stdout) {
        throw new ExclaveError("usage", "give either --to DIR or --stdout");
      }
      const target = flags.to === undefined ? writeOut : resolve(flags.to);
      const startedMs = performance.now();
      let shown = 0;
      const report = await withSource(terminal, flags, (source, catalog) =>
        restore({
          source,
          catalog,
          register,
          choice: {
            ...(flags.snapshot === undefined ? {} : { snapshot: flags.snapshot }),
            ...(flags.at === undefined ? {} : { at: parseTime(flags.at) }),
            quarantined: flags.quarantined,
          },
          target,
          paths: flags.path,
          overwrite: flags.overwrite,
          keepGoing: flags.keepGoing,
          numericOwner: flags.numericOwner,
          onProgress: (progress) =>
            terminal.progress({ register, ...progress }, () => {
              const seconds = (performance.now() - startedMs) / 1000;
              const rate = progress.bytes / Math.max(seconds, 0.001);
              const left = formatSeconds(
                (progress.bytesTotal - progress.bytes) / Math.max(rate, 1),
              );
              return `${formatCount(progress.files)} of ${formatCount(progress.filesTotal)} files, ${formatBytes(progress.bytes)}, ${formatBytes(rate)}/s, ${left} left`;
            }),
          onProblem: ({ shown: path, why }) => {
            if (++shown <= PROBLEMS_SHOWN_MAX) terminal.notice(`${path || "the root"}: ${why}`);
          },
          onNotice: (notice) => terminal.notice(notice),
        }),
      );
      terminal.endProgress();
      if (flags.quarantined) {
        terminal.notice(
          "this recovery point was set aside: somebody may have made it up. Compare it with what people know",
        );
      }
      if (report.problems.some(({ kind }) => kind !== "metadata")) setExit(EXIT.incomplete);
      // Standard output is taken by the stream itself.
      if (flags.stdout) return;
      terminal.result(report, summary(report, flags.to ?? ""));
    });

/** With this home; or with the reader key, where one is given. */
async function withSource<T>(
  terminal: Terminal,
  flags: RestoreFlags,
  work: (source: RestoreSource, catalog: Catalog) => Promise<T>,
): Promise<T> {
  const { readerKey, site: sites, acceptStale, passphraseFile } = flags;
  if (readerKey === undefined) {
    if (sites.length > 0 || acceptStale || passphraseFile !== undefined) {
      throw new ExclaveError(
        "usage",
        "--site, --accept-stale and --passphrase-file go with --reader-key",
      );
    }
    return withHome((home, catalog) => work(homeAsSource(home), catalog));
  }
  if (sites.length === 0)
    throw new ExclaveError("usage", "--reader-key needs --site, several times");
  const key = await openKeyAt(readerKey, "reader-key", passphraseFile);
  const onNotice = (notice: string): void => terminal.notice(notice);
  return readAsReader({ key, sites, acceptStale, onNotice }, work);
}

function summary(report: RestoreReport, target: string): readonly string[] {
  const lines = [
    `Restored ${plural(report.files, "file")}, ${formatBytes(report.bytes)}, to ${target} in ${formatSeconds(report.seconds)}, as of ${formatTime(report.time)}.`,
  ];
  const bySite = Map.groupBy(report.shardProblems, ({ site }) => site);
  for (const [site, problems] of bySite) {
    lines.push(
      `  ${plural(problems.length, "shard")} of ${site} made good from other sites (${problems[0]?.why})`,
    );
  }
  if (report.problemCount > 0)
    lines.push(`  ${plural(report.problemCount, "problem")}, named above`);
  return lines;
}

type RestoreFlags = {
  readonly to?: string;
  readonly stdout: boolean;
  readonly snapshot?: string;
  readonly quarantined: boolean;
  readonly at?: string;
  readonly path: readonly string[];
  readonly overwrite: boolean;
  readonly keepGoing: boolean;
  readonly numericOwner: boolean;
  readonly readerKey?: string;
  readonly site: readonly string[];
  readonly passphraseFile?: string;
  readonly acceptStale: boolean;
};

function parseTime(text: string): Date {
  const time = new Date(text);
  if (!Number.isNaN(time.getTime())) return time;
  throw new ExclaveError("usage", `${text} is no time; write it like 2026-11-21T09:10Z`);
}

async function writeOut(bytes: Uint8Array): Promise<void> {
  try {
    if (!process.stdout.write(bytes)) await once(process.stdout, "drain");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "EPIPE") throw cause;
    throw new ExclaveError("interrupted", "who read the output went away", { cause });
  }
}
