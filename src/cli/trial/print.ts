/** What a trial found out, for the person who has to explain it to a minister. */
import type { Survey } from "../../registers/files/survey.ts";
import { formatBytes, formatCount, formatSeconds, plural } from "../format.ts";
import { alignTable, type Page, shellLine } from "../page.ts";
import { formatLink, type Upload } from "./link.ts";
import { SITES, THRESHOLD, type TrialResult } from "./run.ts";

/** What `exclave try --json` prints; docs/operations.md. */
export type TrialReport = TrialResult & {
  readonly good: boolean;
  readonly directory: string;
  readonly trial: string;
  readonly register: string;
  /** When it was made here, because there was nobody to ask. */
  readonly passphrase?: string;
  readonly input: Survey;
  readonly totalBytes: number;
  readonly upload: Upload;
  readonly nativeLibrary: boolean;
  readonly restoredCopyKept: boolean;
  readonly commands: readonly string[];
};

const LISTED_MAX = 10;

export function printTrial(page: Page, report: TrialReport): void {
  const { input, directory } = report;
  page.heading(`A trial with ${directory}`);
  const kinds = [
    plural(input.files, "file"),
    plural(input.directories, "directory", "directories"),
    ...(input.symlinks > 0 ? [plural(input.symlinks, "symbolic link")] : []),
    ...(input.specials > 0 ? [plural(input.specials, "FIFO or device", "FIFOs and devices")] : []),
  ];
  page.text(`${kinds.join(", ")}; ${formatBytes(input.bytes)}. Nothing left this machine.`);
  printCost(page, report);
  printRestore(page, report);
  printNotKept(page, report);
  page.heading("What it ran, to be repeated by hand in a place of its own");
  for (const command of report.commands) page.command(command);
  printNext(page, report);
}

function printCost(page: Page, report: TrialReport): void {
  const { stored, bytes, files } = report.protected;
  const [largest] = report.sites.toSorted((a, b) => b.bytes - a.bytes);
  page.heading("What it would cost");
  page.lines(
    alignTable(
      [
        ["read", formatBytes(bytes), plural(files, "file")],
        ["after deduplication", formatBytes(stored.rawBytes), "with names, owners, times, rights"],
        ["compressed and sealed", formatBytes(stored.storedBytes), ""],
        ["padded", formatBytes(stored.packBytes), "so that sizes tell a host little"],
        ["at each site", formatBytes(largest?.bytes ?? 0), ""],
        [
          `at ${SITES} sites together`,
          formatBytes(report.totalBytes),
          `${times(report.totalBytes, bytes)} what was read`,
        ],
      ],
      [2],
    ),
  );
  page.gap();
  page.text(
    `Any ${THRESHOLD} of the ${SITES} sites bring it back, so ${SITES - THRESHOLD} may be ` +
      `lost; ${THRESHOLD - 1} together read nothing, even with every key of the State stolen.`,
  );
  for (const notice of report.notices) page.text(`Noticed: ${notice}.`);
  const { bitsPerSecond, hoursPerNight, seconds, nights } = report.upload;
  page.text(
    `To send all of it abroad over ${formatLink(bitsPerSecond)}, with the line to itself: ` +
      `${formatSeconds(seconds)}, which is ` +
      `${nights === 1 ? "within one night" : `${formatCount(nights)} nights`} of ` +
      `${plural(hoursPerNight, "hour")}. After that, only what is new.`,
  );
}

function times(stored: number, read: number): string {
  return read === 0 ? "no multiple of" : `${(stored / read).toFixed(2)} times`;
}

function printRestore(page: Page, report: TrialReport): void {
  const { protected: made, restored, compared } = report;
  page.heading("Does it restore");
  const rate = (bytes: number, seconds: number): string =>
    `${formatBytes(bytes / Math.max(seconds, 0.001))}/s`;
  page.lines(
    alignTable([
      ["protect, first time", formatSeconds(made.seconds), rate(made.bytes, made.seconds)],
      [
        `restore without ${report.lost.join(" and ")}`,
        formatSeconds(restored.seconds),
        rate(restored.bytes, restored.seconds),
      ],
      [
        "compare with the original",
        formatSeconds(report.compareSeconds),
        rate(compared.bytes, report.compareSeconds),
      ],
    ]),
  );
  page.gap();
  if (report.good) {
    page.text(
      `${made.complete ? "Yes." : "Yes, all that could be read."} ` +
        `${plural(compared.entries, "entry", "entries")} compared, ` +
        `${plural(compared.files, "file")} byte for byte, ${formatBytes(compared.bytes)}, with ` +
        `permissions, times, links and attributes: no difference.`,
    );
  } else {
    page.text(
      `NO: ${plural(compared.differenceCount, "difference")}. This is a fault, in Exclave or ` +
        `in this machine; please report it. The trial is kept.`,
    );
    page.lines(compared.differences.slice(0, LISTED_MAX));
    page.lines(restored.problems.slice(0, LISTED_MAX).map(({ shown, why }) => `${shown}: ${why}`));
  }
  if (compared.changedSince > 0) {
    page.text(
      `${plural(compared.changedSince, "entry", "entries")} changed here after being ` +
        `protected, and could not be compared: ` +
        `${compared.changedSinceExamples.slice(0, 3).join(", ")}${compared.changedSince > 3 ? ", …" : ""}`,
    );
  }
  page.text(
    `(All ${SITES} sites share this machine's disk here. Real sites have their own, and a ` +
      `line between.)`,
  );
}

const KINDS: Readonly<Record<string, string>> = {
  vanished: "vanished before it was read",
  unreadable: "could not be read",
  changed: "changed while it was read; what was read is kept",
  "not-kept": "is not kept",
};

function printNotKept(page: Page, report: TrialReport): void {
  const { notKept, notKeptCount, notSet, nativeLibrary, compared } = report;
  page.heading("What would not be kept");
  if (notKeptCount === 0 && notSet.length === 0 && nativeLibrary) {
    page.text("Nothing of it: every entry is kept with all that belongs to it.");
  }
  if (!nativeLibrary) {
    page.text(
      "Extended attributes, device nodes, holes and times below a microsecond: the native " +
        "library (koffi) could not be loaded on this machine.",
    );
  }
  page.lines(
    notKept
      .slice(0, LISTED_MAX)
      .map(
        ({ path, kind, why }) =>
          `${path || "the directory itself"} ${KINDS[kind] ?? kind} (${why})`,
      ),
  );
  if (notKeptCount > LISTED_MAX) page.text(`and ${formatCount(notKeptCount - LISTED_MAX)} more`);
  for (const { why, entries } of notSet) {
    page.text(`${plural(entries, "entry", "entries")}, when restored here: ${why}`);
  }
  if (compared.metadataExcused > 0 || process.getuid?.() !== 0) {
    page.text("Owners are kept; only root can give files back to them when restoring.");
  }
}

function printNext(page: Page, report: TrialReport): void {
  const { trial } = report;
  page.heading("What is left, and what to do next");
  page.text(
    `The trial is kept in ${trial}, with its recovery ` +
      `key${report.passphrase === undefined ? "" : ", whose passphrase was made here and is shown this once:"}`,
  );
  if (report.passphrase !== undefined) {
    page.gap();
    page.lines([`  ${report.passphrase}`]);
    page.gap();
  }
  page.text(
    report.restoredCopyKept
      ? "The restored copy is kept in it too. To delete all of it:"
      : "The restored copy is deleted. To delete the rest:",
  );
  page.command(shellLine("rm", "-r", trial));
  page.text("To keep what it stored, as the beginning of a State:");
  page.command(
    `exclave found --state "Your State" --recovery-key FILE --from-trial ${shellLine(trial)}`,
  );
  page.gap();
}
