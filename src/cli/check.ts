import { Command } from "commander";
import { type CheckReport, check } from "../checks/check.ts";
import { checkWraps, type WrapsReport } from "../checks/check-wraps.ts";
import { type CheckEntered, recordCheck } from "../checks/record-check.ts";
import { wipe } from "../crypto/bytes.ts";
import { isExclaveError } from "../errors.ts";
import { openAllSites, publish, requireCurrent } from "../governance/ledger-at-sites.ts";
import { recordOpening } from "../governance/opening.ts";
import type { RecoverySource } from "../registers/recover.ts";
import type { Catalog } from "../vault/catalog.ts";
import type { Home } from "../vault/home.ts";
import { withHome, withState } from "./context.ts";
import { EXIT } from "./exit-codes.ts";
import { formatBytes, formatCount, formatSeconds, formatTable, plural } from "./format.ts";
import type { MakeCommand } from "./main.ts";
import { recoverySource } from "./recovery-source.ts";
import { collect } from "./register.ts";
import type { Terminal } from "./terminal.ts";

const FINDINGS_SHOWN_MAX = 20;

const HELP = `
  exclave check docs                     every day: that all is there, and a sample of it
  exclave check docs --full              every week: every byte of every site
  exclave check docs --kit FILE …        when an epoch began, with enough key holders

Exit code 4 when something is missing or damaged: \`exclave repair\` makes anew what is missing.`;

export const checkCommand: MakeCommand = (terminal, setExit) =>
  new Command("check")
    .description("prove that the sites hold what they promised; needs no decryption key")
    .argument("<register>")
    .option("--full", "read every byte, not a sample", false)
    .option(
      "--kit <file>",
      "also prove that the recovery key opens what the sites hold; once for each key holder who is there",
      collect,
      [],
    )
    .option("--passphrases <file>", "rehearse without people: the passphrases of the kits")
    .option("--recovery-key <file>", "of a trial: the same, with its key file")
    .option("--passphrase-file <file>", "its passphrase; asked for when absent")
    .addHelpText("after", HELP)
    .action(async (register: string, flags: CheckFlags) => {
      const source = await sourceOf(terminal, flags);
      const { report, wraps, ledger } = await withHome(async (home, catalog) => {
        // First: of a check that fails, too, it is to be known that the key was brought together.
        if (source) await record(home, source);
        const opened = source && (await opens(terminal, home, catalog, register, source));
        const found = await check({
          home,
          catalog,
          register,
          full: flags.full,
          now: new Date(),
          onProgress: (progress) =>
            terminal.progress(
              { register, ...progress },
              () =>
                `${formatCount(progress.packs)} of ${formatCount(progress.packsTotal)} packs, ${formatBytes(progress.bytes)} read`,
            ),
        });
        return { wraps: opened, report: found, ledger: await intoLedger(home, found) };
      });
      terminal.endProgress();
      if (!report.good || (wraps && wraps.failed.length > 0)) setExit(EXIT.checkFailed);
      terminal.result({ ...report, ledger: ledger.entry, ...(wraps ? { wraps } : {}) }, [
        ...summary(report),
        ...ledger.lines,
        ...(wraps ? wrapLines(wraps) : []),
      ]);
    });

type CheckFlags = {
  readonly full: boolean;
  readonly kit: readonly string[];
  readonly passphrases?: string;
  readonly recoveryKey?: string;
  readonly passphraseFile?: string;
};

async function sourceOf(
  terminal: Terminal,
  { kit, passphrases, recoveryKey, passphraseFile }: CheckFlags,
): Promise<RecoverySource | undefined> {
  if (kit.length === 0 && recoveryKey === undefined) return undefined;
  return recoverySource(terminal, {
    kit,
    ...(passphrases === undefined ? {} : { passphrases }),
    ...(recoveryKey === undefined ? {} : { key: recoveryKey }),
    ...(passphraseFile === undefined ? {} : { passphraseFile }),
  });
}

async function opens(
  terminal: Terminal,
  home: Home,
  catalog: Catalog,
  register: string,
  { state, secretFor }: RecoverySource,
): Promise<WrapsReport> {
  const seed = secretFor(home.charter.recovery.shares);
  try {
    return await checkWraps({
      home,
      catalog,
      register,
      key: { state, seed },
      now: new Date(),
      onNotice: (notice) => terminal.notice(notice),
    });
  } finally {
    wipe(seed);
  }
}

/** The ledger is to say whenever key holders brought the key together. */
async function record(home: Home, { opened }: RecoverySource): Promise<void> {
  if (opened.length === 0) return;
  await withState(home, async () => {
    const places = await openAllSites(home);
    await requireCurrent(home, places);
    await recordOpening(home, "check", opened, new Date());
    await publish(home, places);
  });
}

/**
 * Enters what was found. Where that cannot be, the check is as good: it was made, and says why the ledger does not
 * have it.
 */
async function intoLedger(
  home: Home,
  report: CheckReport,
): Promise<{ readonly entry: CheckEntered; readonly lines: readonly string[] }> {
  try {
    return { entry: await withState(home, () => recordCheck(home, report)), lines: [] };
  } catch (error) {
    const why = whyNot(error);
    return { entry: { entered: false, why }, lines: [`This check is not in the ledger: ${why}.`] };
  }
}

/** The reason of a refusal, or of a home that cannot be written to. Throws what is a mistake of ours. */
function whyNot(error: unknown): string {
  if (isExclaveError(error) && error.code !== "bug") {
    return error.message.replace(/\.? Nothing was .*$/s, "");
  }
  const { code = "", syscall } = error as NodeJS.ErrnoException;
  if (syscall === undefined && code !== "ERR_SQLITE_ERROR") throw error;
  return `home could not be written to (${code === "ERR_SQLITE_ERROR" ? String(error) : code})`;
}

function wrapLines({ opened, failed }: WrapsReport): readonly string[] {
  return [
    ...(opened.length > 0
      ? [`The recovery key opens epoch ${opened.join(", ")}: it brings these back.`]
      : []),
    ...failed.map(
      ({ epoch, why }) => `The recovery key does NOT bring back epoch ${epoch}: ${why}.`,
    ),
  ];
}

function summary(report: CheckReport): readonly string[] {
  const rows = report.sites.map((site) =>
    site.unavailable === undefined
      ? [
          site.site,
          formatCount(site.expected - site.missing),
          formatCount(site.missing),
          formatCount(site.verified),
          formatCount(site.damaged),
          formatBytes(site.bytesRead),
        ]
      : [site.site, "?", "?", "?", "?", site.unavailable],
  );
  const verdict =
    report.survives < 0
      ? "Something is lost: fewer good shards are left than are needed."
      : `${report.good ? "Good" : "Not all good"}: ${plural(report.recoveryPoints, "recovery point")}, and ${report.survives === 0 ? "no further site may be lost" : `any ${report.survives} more of the sites may be lost`}.`;
  const findings = report.findings
    .slice(0, FINDINGS_SHOWN_MAX)
    .map(({ site, object, why }) => `  ${site}: ${object}: ${why}`);
  const more = report.findingCount - findings.length;
  const withheld = report.sites.reduce((sum, site) => sum + site.withheld, 0);
  return [
    ...formatTable([["site", "holds", "missing", "verified", "damaged", "read"], ...rows]),
    ...findings,
    ...(more > 0 ? [`  and ${formatCount(more)} more`] : []),
    ...(withheld > 0
      ? [
          `${plural(withheld, "shard")} of closed epochs ${withheld === 1 ? "is" : "are"} there and ${withheld === 1 ? "was" : "were"} not read: sites show home too few to read them, before a release.`,
        ]
      : []),
    `${verdict} ${report.full ? "Every byte was read" : "A sample was read"}, in ${formatSeconds(report.seconds)}${report.full ? "" : "; --full reads every byte"}.`,
  ];
}
