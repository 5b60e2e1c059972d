import { readFile } from "node:fs/promises";
import { Command } from "commander";
import { type CheckReport, check } from "../checks/check.ts";
import { checkWraps, type WrapsReport } from "../checks/check-wraps.ts";
import { ExclaveError } from "../errors.ts";
import { openKey } from "../vault/recovery-key.ts";
import { withHome } from "./context.ts";
import { EXIT } from "./exit-codes.ts";
import { formatBytes, formatCount, formatSeconds, formatTable, plural } from "./format.ts";
import type { MakeCommand } from "./main.ts";
import { knownPassphrase } from "./passphrase.ts";

const FINDINGS_SHOWN_MAX = 20;

export const checkCommand: MakeCommand = (terminal, setExit) =>
  new Command("check")
    .description("prove that the sites hold what they promised; needs no decryption key")
    .argument("<register>")
    .option("--full", "read every byte, not a sample", false)
    .option("--recovery-key <file>", "also prove that this key opens what the sites hold")
    .option("--passphrase-file <file>", "its passphrase; asked for when absent")
    .action(async (register: string, flags: CheckFlags) => {
      const key =
        flags.recoveryKey === undefined ? undefined : await readKey(flags.recoveryKey, flags);
      const { report, wraps } = await withHome(async (home, catalog) => ({
        wraps: key && (await checkWraps({ home, catalog, register, key, now: new Date() })),
        report: await check({
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
        }),
      }));
      terminal.endProgress();
      if (!report.good || (wraps && wraps.failed.length > 0)) setExit(EXIT.checkFailed);
      terminal.result({ ...report, ...(wraps ? { wraps } : {}) }, [
        ...summary(report),
        ...(wraps ? wrapLines(wraps) : []),
      ]);
    });

type CheckFlags = {
  readonly full: boolean;
  readonly recoveryKey?: string;
  readonly passphraseFile?: string;
};

async function readKey(
  path: string,
  flags: CheckFlags,
): Promise<Awaited<ReturnType<typeof openKey>>> {
  const file = await readFile(path).catch((cause: unknown) => {
    throw new ExclaveError("usage", `the key file ${path} cannot be read`, { cause });
  });
  return openKey("recovery-key", file, await knownPassphrase(flags.passphraseFile));
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
  return [
    ...formatTable([["site", "holds", "missing", "verified", "damaged", "read"], ...rows]),
    ...findings,
    ...(more > 0 ? [`  and ${formatCount(more)} more`] : []),
    `${verdict} ${report.full ? "Every byte was read" : "A sample was read; --full reads every byte"}, in ${formatSeconds(report.seconds)}.`,
  ];
}
