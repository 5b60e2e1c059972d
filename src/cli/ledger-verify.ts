import { Command } from "commander";
import { type ExclaveError, isExclaveError } from "../errors.ts";
import { openAllSites } from "../governance/ledger-at-sites.ts";
import { type VerifyReport, verifyState } from "../governance/verify-state.ts";
import { parseId } from "../vault/identifiers.ts";
import { fetchDocument } from "../vault/site-documents.ts";
import { openHome } from "./context.ts";
import { EXIT } from "./exit-codes.ts";
import { formatCount, formatSeconds, plural } from "./format.ts";
import type { MakeCommand } from "./main.ts";
import { type AtSites, addAtSites, isAtSites, withStateAtSites } from "./state-at-sites.ts";
import type { Terminal } from "./terminal.ts";

const SHOWN_MAX = 20;

export const verifyCommand: MakeCommand = (terminal, setExit) =>
  addAtSites(new Command("verify"))
    .description("verify the whole ledger, and every document and decision, from the founding on")
    .addHelpText(
      "after",
      "\nWith --site and --state anybody who may read the sites verifies the same, and needs no key.\nExit code 4 says that something does not hold, 3 that something could not be asked.",
    )
    .action(async (flags: AtSites) => {
      const outcome = await findings(() =>
        isAtSites(flags) ? fromSites(terminal, flags) : atHome(terminal),
      );
      terminal.endProgress();
      if ("failure" in outcome) {
        setExit(EXIT.checkFailed);
        terminal.result({ good: false, problems: [outcome.failure], problemCount: 1 }, [
          `  ${outcome.failure}`,
          "The ledger does not hold: nothing that it says can be believed from here.",
        ]);
        return;
      }
      const { report, name } = outcome;
      if (!report.good) setExit(EXIT.checkFailed);
      else if (report.missing.length > 0) setExit(EXIT.incomplete);
      terminal.result(report, lines(report, name));
    });

type Verified = { readonly report: VerifyReport; readonly name: string };

/** What keeps a ledger from being read at all is a finding too. */
async function findings(
  verify: () => Promise<Verified>,
): Promise<Verified | { readonly failure: string }> {
  try {
    return await verify();
  } catch (error) {
    const isFinding = ["altered", "malformed", "untrusted", "not-found"] as const;
    if (!isFinding.some((code) => isExclaveError(error, code))) throw error;
    return { failure: (error as ExclaveError).message };
  }
}

async function atHome(terminal: Terminal): Promise<Verified> {
  const home = await openHome();
  const places = await openAllSites(home);
  const report = await home.withGenerations((generations) =>
    verifyState({
      known: home.known,
      generations,
      places,
      document: (kind, id) => home.document(kind, id),
      onProgress: progressOf(terminal),
    }),
  );
  return { report, name: home.charter.name };
}

function fromSites(
  terminal: Terminal,
  flags: AtSites & { readonly state: string },
): Promise<Verified> {
  return withStateAtSites(terminal, flags, async ({ known, generations }, places) => {
    const report = await verifyState({
      known,
      generations,
      places,
      document: (kind, object) => fetchDocument(places, kind, parseId("DocumentId", object)),
      onProgress: progressOf(terminal),
    });
    return { report, name: known.charter.name };
  });
}

function progressOf(terminal: Terminal): (entries: number) => void {
  return (entries) =>
    terminal.progress({ entries }, () => `${formatCount(entries)} entries verified`);
}

function lines(report: VerifyReport, name: string): readonly string[] {
  const { problems, problemCount, missing, notes, ignored, sites, documents } = report;
  const more = problemCount - Math.min(problems.length, SHOWN_MAX);
  const agree = sites.filter(
    ({ entries, behind }) => entries !== undefined && behind === undefined,
  );
  const behind = sites.filter((site) => site.behind !== undefined);
  const decisions = Object.entries(report.decisions).map(([status, count]) => `${count} ${status}`);
  const verdict =
    problemCount > 0
      ? `NOT good: ${plural(problemCount, "thing does", "things do")} not hold, named above.`
      : missing.length > 0
        ? `What could be asked holds; ${plural(missing.length, "thing")} could not be, named above.`
        : "Everything holds.";
  return [
    ...problems.slice(0, SHOWN_MAX).map((problem) => `  ${problem}`),
    ...(more > 0 ? [`  and ${formatCount(more)} more`] : []),
    ...missing.slice(0, SHOWN_MAX).map((one) => `  ${one}`),
    ...notes.slice(0, SHOWN_MAX).map((note) => `  note: ${note}`),
    ...ignored
      .slice(0, SHOWN_MAX)
      .map(
        (one) => `  note: entry ${one.generation}/${one.position} counts for nothing: ${one.why}`,
      ),
    ...behind.map(
      (site) =>
        `  note: ${site.site} lacks the last ${plural(site.behind ?? 0, "entry", "entries")}`,
    ),
    `${verdict} ${name}, from its founding on: ${plural(report.generations.length, "generation")} of the ledger with ${plural(report.entries, "entry", "entries")}, ${plural(report.charters, "charter")}, decisions: ${decisions.join(", ") || "none"}, and ${plural(documents.statement ?? 0, "recovery point")}; ${plural(agree.length, "site")} of ${sites.length} hold all of it. Verified in ${formatSeconds(report.seconds)}.`,
  ];
}
