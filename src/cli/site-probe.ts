import { Command } from "commander";
import { probeSite } from "../governance/probe-site.ts";
import { brokenPromises, PROMISES, type ProbeReport } from "../sites/probe-report.ts";
import { openHome } from "./context.ts";
import { EXIT } from "./exit-codes.ts";
import { formatTable } from "./format.ts";
import type { Terminal } from "./terminal.ts";

const HELP = `
It writes small objects under locks of a minute, and tries to overwrite, delete and shorten them
with the site's own credentials, as who stole them would. An engine that gives way to that is named.
Do it after every upgrade of the engine. The report is kept at home, signed.`;

/** `exclave site probe`: what the lock of an S3 engine is worth, tried for real. */
export function siteProbeCommand(terminal: Terminal, setExit: (code: number) => void): Command {
  return new Command("probe")
    .argument("<name>", "a site that is a bucket")
    .description("try for real what an S3 engine promises, and keep the signed result")
    .addHelpText("after", HELP)
    .action(async (name: string) => {
      const home = await openHome();
      const { report, file, lock } = await probeSite(home, home.site(name));
      if (!report.trustworthy) setExit(EXIT.checkFailed);
      terminal.result({ site: name, report, file, lock }, probeLines(report, file));
    });
}

/** A probe, for people: the verdict first. */
export function probeLines(report: ProbeReport, file: string): readonly string[] {
  const broken = brokenPromises(report);
  const rows = report.results.map(({ name, held, needed, detail }) => [
    held ? "held" : needed ? "BROKEN" : "not held",
    PROMISES[name].says,
    held ? "" : detail,
  ]);
  return [
    broken.length === 0
      ? `The engine at ${report.endpoint} (${report.engine}) holds everything that a site needs.`
      : `The engine at ${report.endpoint} (${report.engine}) lies about ${broken.length} of the things that a site needs.`,
    "",
    ...formatTable(rows),
    "",
    `Kept, signed, in ${file}.`,
  ];
}
