import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, realpathSync, rmdirSync, statSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { stdin } from "node:process";
import { Command } from "commander";
import { generatePassphrase } from "../crypto/key-file.ts";
import { ExclaveError } from "../errors.ts";
import { loadNative } from "../platform/native.ts";
import { parseBitRate } from "../platform/units.ts";
import { compileExcludes } from "../registers/files/patterns.ts";
import { type Survey, survey } from "../registers/files/survey.ts";
import { trialPaths } from "../registers/trial.ts";
import { removeTree, stoppable } from "./clean-up.ts";
import { requireRoom } from "./disk.ts";
import { EXIT } from "./exit-codes.ts";
import { formatBytes, formatCount, formatSeconds, plural } from "./format.ts";
import type { MakeCommand } from "./main.ts";
import { newPage } from "./page.ts";
import { newPassphrase } from "./passphrase.ts";
import { collect } from "./register.ts";
import type { Terminal } from "./terminal.ts";
import { parseHours, planUpload } from "./trial/link.ts";
import { printTrial, type TrialReport } from "./trial/print.ts";
import { runTrial, SITES, THRESHOLD, type TrialOptions, trialCommands } from "./trial/run.ts";

const TRIAL_NAME = "exclave-trial";
/** Names, tables and headers, at most; and what a trial needs however small its input. */
const STORED_OVERHEAD = 1.05;
const ROOM_MIN_BYTES = 64e6;
/** Before that a guess at the time left is worth nothing. */
const GUESS_AFTER_SECONDS = 2;

export const tryCommand: MakeCommand = (terminal, setExit) =>
  new Command("try")
    .description("on this machine alone: what would it cost to protect DIR, and does it restore")
    .argument("<dir>", "what to try it with; it is only read")
    .option("--link <speed>", "the line abroad: 20mbit, 100mbit, 1gbit", "100mbit")
    .option("--hours <hours>", "when it is free at night: so many hours, or a span like 22-6", "8")
    .option("--into <dir>", `where the trial lives (default: ${TRIAL_NAME} in this directory)`)
    .option("--passphrase-file <file>", "the passphrase of the trial's recovery key")
    .option("--exclude <pattern>", "leave out what matches; several times", collect, [])
    .option("--one-file-system", "do not enter other file systems", false)
    .option("--keep", "keep the restored copy too, to look at", false)
    .action(async (dir: string, flags: TryFlags) => {
      const bitsPerSecond = parseBitRate(flags.link, "--link");
      const hoursPerNight = parseHours(flags.hours);
      const directory = existingDirectory(dir);
      const trial = trialPlace(directory, flags.into);
      const native = loadNative();
      const excludes = compileExcludes(flags.exclude);
      const input = await look(terminal, directory, { ...flags, native, excludes });
      requireRoom(
        dirname(trial),
        neededBytes(input),
        `trying ${formatBytes(input.bytes)} with ${SITES} sites and a restored copy`,
        "give --into DIR on another disk, or try a part of it",
      );
      const { passphrase, generated } = await choosePassphrase(flags.passphraseFile);
      const options: TrialOptions = {
        directory,
        trial,
        register: registerName(directory),
        excludes: flags.exclude,
        oneFileSystem: flags.oneFileSystem,
        passphrase,
        native,
        ...liveLines(terminal, input),
      };
      let [finished, keepCopy] = [false, flags.keep];
      const cleanUp = (): void => {
        // A trial that was cut short is of no use to anyone.
        if (!finished) removeTree(trial);
        else if (!keepCopy) removeTree(trialPaths(trial).restored);
      };
      try {
        await stoppable(terminal, cleanUp, async () => {
          // Nobody else is to read the restored copy.
          mkdirSync(trial, { mode: 0o700 });
          const result = await runTrial(options);
          terminal.endProgress();
          finished = true;
          const total = result.sites.reduce((sum, { bytes }) => sum + bytes, 0);
          const good = result.compared.differenceCount === 0 && lostFiles(result) === 0;
          // What differs is wanted for finding out why.
          keepCopy ||= !good;
          const report: TrialReport = {
            good,
            directory,
            trial,
            register: options.register,
            ...(generated ? { passphrase } : {}),
            input,
            ...result,
            totalBytes: total,
            upload: planUpload(total, bitsPerSecond, hoursPerNight),
            nativeLibrary: native !== undefined,
            restoredCopyKept: keepCopy,
            commands: trialCommands(options),
          };
          if (!good) setExit(EXIT.failed);
          else if (!result.protected.complete) setExit(EXIT.incomplete);
          printTrial(newPage(terminal), report);
          terminal.result(report, []);
          terminal.progress({ step: "clearing up" }, () => "clearing up …");
        });
      } finally {
        cleanUp();
        if (finished) removeIfEmpty(trialPaths(trial).lost);
      }
    });

type TryFlags = {
  readonly link: string;
  readonly hours: string;
  readonly into?: string;
  readonly passphraseFile?: string;
  readonly exclude: readonly string[];
  readonly oneFileSystem: boolean;
  readonly keep: boolean;
};

function existingDirectory(dir: string): string {
  try {
    const path = realpathSync(resolve(dir));
    if (statSync(path).isDirectory()) return path;
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw new ExclaveError("usage", `${dir} cannot be read (${why})`, { cause });
  }
  throw new ExclaveError("usage", `${dir} is no directory; name the directory that it is in`);
}

/** Where the trial goes: never into what is tried, and never over an earlier one. */
function trialPlace(directory: string, into: string | undefined): string {
  const wanted = into === undefined ? join(process.cwd(), TRIAL_NAME) : resolve(into);
  const place = realPlace(wanted);
  const inside = isWithin(directory, place);
  if (inside && into !== undefined) {
    throw new ExclaveError("usage", `${place} lies in ${directory}; give --into another directory`);
  }
  const trial = inside ? join(dirname(directory), TRIAL_NAME) : place;
  if (isWithin(directory, trial) || isWithin(trial, directory)) {
    throw new ExclaveError("usage", "there is no room beside that directory; give --into DIR");
  }
  if (existsSync(trial)) {
    throw new ExclaveError(
      "usage",
      `${trial} exists already, perhaps from an earlier trial. Nothing was changed; delete it ` +
        `(rm -r) or give --into another directory`,
    );
  }
  return trial;
}

/** The path with its parent's symbolic links resolved; the parent has to exist. */
function realPlace(path: string): string {
  try {
    return join(realpathSync(dirname(path)), basename(path));
  } catch (cause) {
    throw new ExclaveError("usage", `${dirname(path)} does not exist`, { cause });
  }
}

function isWithin(directory: string, path: string): boolean {
  const way = relative(directory, path);
  return way === "" || !(way === ".." || way.startsWith("../"));
}

async function look(
  terminal: Terminal,
  directory: string,
  options: Omit<Parameters<typeof survey>[1], "onProgress">,
): Promise<Survey> {
  const found = await survey(directory, {
    ...options,
    onProgress: (entries, bytes) =>
      terminal.progress(
        { step: "look", entries, bytes },
        () => `looking: ${formatCount(entries)} entries, ${formatBytes(bytes)}`,
      ),
  });
  terminal.endProgress();
  return found;
}

/** The shards of everything, and the restored copy beside them. */
function neededBytes(input: Survey): number {
  const stored = (SITES / THRESHOLD) * Math.min(input.bytes, input.diskBytes) * STORED_OVERHEAD;
  return stored + input.diskBytes + ROOM_MIN_BYTES;
}

/** Typed, from the file, or made here when there is nobody to ask. */
async function choosePassphrase(
  file: string | undefined,
): Promise<{ readonly passphrase: string; readonly generated: boolean }> {
  if (file === undefined && !stdin.isTTY) {
    return { passphrase: generatePassphrase(randomBytes), generated: true };
  }
  return { passphrase: await newPassphrase(file), generated: false };
}

/** The register's name: the directory's, in the letters that names may have. */
function registerName(directory: string): string {
  const name = basename(directory)
    .toLowerCase()
    .replaceAll(/[^a-z0-9._-]+/g, "-")
    .replace(/^[^a-z0-9]+/, "")
    .slice(0, 50);
  return name === "" ? "records" : name;
}

function lostFiles({ restored }: { readonly restored: TrialReport["restored"] }): number {
  return restored.problems.filter(({ kind }) => kind === "lost").length;
}

function liveLines(
  terminal: Terminal,
  input: Survey,
): Pick<TrialOptions, "onStep" | "onProtect" | "onRestore" | "onCompare"> {
  let startedMs = performance.now();
  const line = (doing: string, files: number, bytes: number): string => {
    const seconds = (performance.now() - startedMs) / 1000;
    const rate = bytes / Math.max(seconds, 0.001);
    const left =
      seconds > GUESS_AFTER_SECONDS && bytes > 0 && bytes < input.bytes
        ? `, ${formatSeconds((input.bytes - bytes) / rate)} left`
        : "";
    return (
      `${doing}: ${plural(files, "file")}, ${formatBytes(bytes)} of ` +
      `${formatBytes(input.bytes)}, ${formatBytes(rate)}/s${left}`
    );
  };
  return {
    onStep(step) {
      startedMs = performance.now();
      if (step === "founding") terminal.progress({ step }, () => "making keys …");
    },
    onProtect: (progress) =>
      terminal.progress({ step: "protect", ...progress }, () =>
        line("protecting", progress.files, progress.bytes),
      ),
    onRestore: (progress) =>
      terminal.progress({ step: "restore", ...progress }, () =>
        line("restoring", progress.files, progress.bytes),
      ),
    onCompare: ({ files, bytes }) =>
      terminal.progress({ step: "compare", files, bytes }, () => line("comparing", files, bytes)),
  };
}

function removeIfEmpty(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // Something is in it, then, or it is gone; either way it is not ours to remove.
  }
}
