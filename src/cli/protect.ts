import { spawn } from "node:child_process";
import { once } from "node:events";
import { Command } from "commander";
import { ExclaveError } from "../errors.ts";
import { displayName } from "../platform/names.ts";
import type { Problem } from "../registers/files/protect-files.ts";
import { type ProtectProgress, type ProtectReport, protect } from "../registers/protect.ts";
import type { Catalog } from "../vault/catalog.ts";
import type { Home } from "../vault/home.ts";
import { parseId } from "../vault/identifiers.ts";
import { withHome } from "./context.ts";
import { EXIT } from "./exit-codes.ts";
import { formatBytes, formatCount, formatSeconds, plural } from "./format.ts";
import type { MakeCommand } from "./main.ts";
import type { Terminal } from "./terminal.ts";

/** Problems that are shown one by one; the rest is counted. */
const PROBLEMS_SHOWN_MAX = 20;

const HELP = `
  exclave protect docs
  exclave protect ledger -- pg_dump --format=plain registry

Prefer -- COMMAND to a pipe into --stdin: behind a pipe nobody sees that the dump failed.
What cannot be read is named, the rest is protected, and the exit code is 3.`;

export const protectCommand: MakeCommand = (terminal, setExit) =>
  new Command("protect")
    .description("make a recovery point of a register now")
    .argument("<register>")
    .argument("[command...]", "for a stream: after --, the command whose output is protected")
    .option("--stdin", "for a stream: protect standard input", false)
    .addHelpText("after", HELP)
    .action(
      async (register: string, command: readonly string[], flags: { readonly stdin: boolean }) => {
        const report = await withHome(async (home, catalog) => {
          const input = inputOf(home, register, command, flags.stdin);
          return protectWithProgress(terminal, { home, catalog, register, ...input });
        });
        if (!report.complete) setExit(EXIT.incomplete);
        terminal.result(report, summary(report));
      },
    );

export type StreamInput = {
  readonly input?: AsyncIterable<Uint8Array>;
  readonly beforeCommit?: () => Promise<void>;
};

/** Runs `protect` with a live line and notices on this terminal. */
export async function protectWithProgress(
  terminal: Terminal,
  options: {
    readonly home: Home;
    readonly catalog: Catalog;
    readonly register: string;
  } & StreamInput,
): Promise<ProtectReport> {
  const { home, catalog, register } = options;
  const before = expected(home, catalog, register);
  const startedMs = performance.now();
  let shown = 0;
  const report = await protect({
    ...options,
    now: new Date(),
    onProgress: (progress) =>
      terminal.progress({ register, ...progress }, () => progressLine(progress, before, startedMs)),
    onProblem: (_part, problem) => {
      if (++shown <= PROBLEMS_SHOWN_MAX) terminal.notice(problemLine(problem));
    },
    onNotice: (notice) => terminal.notice(notice),
  });
  terminal.endProgress();
  return report;
}

/** What the recovery point before had: the best guess at how much there is. */
function expected(home: Home, catalog: Catalog, register: string): number | undefined {
  const newest = catalog.latestSnapshot(parseId("RegisterId", home.register(register).id));
  if (!newest) return undefined;
  const root = JSON.parse(newest.root) as { readonly parts: readonly { readonly bytes: number }[] };
  return root.parts.reduce((sum, part) => sum + part.bytes, 0);
}

function progressLine(
  progress: ProtectProgress,
  before: number | undefined,
  startedMs: number,
): string {
  const seconds = (performance.now() - startedMs) / 1000;
  const rate = progress.bytes / Math.max(seconds, 0.001);
  const left =
    before !== undefined && before > progress.bytes && rate > 0
      ? `, ${formatSeconds((before - progress.bytes) / rate)} left`
      : "";
  const doing = { reading: "", storing: "storing the rest … ", committing: "committing … " }[
    progress.phase
  ];
  return `${doing}${formatCount(progress.files)} files, ${formatBytes(progress.bytes)}, ${formatBytes(rate)}/s, ${formatBytes(progress.newBytes)} new${left}`;
}

const PROBLEM_WORDS: Readonly<Record<Problem["kind"], string>> = {
  vanished: "vanished while it was to be read",
  unreadable: "cannot be read and is left out",
  changed: "changed while it was read; what was read is kept",
  "not-kept": "is not kept",
};

function problemLine({ path, kind, why }: Problem): string {
  return `${displayName(path) || "the root"} ${PROBLEM_WORDS[kind]} (${why})`;
}

function summary(report: ProtectReport): readonly string[] {
  const { stored } = report;
  const lines = [
    `Recovery point ${report.snapshot.slice(0, 12)} of ${report.register}: ${plural(report.files, "file")}, ${formatBytes(report.bytes)}, in ${formatSeconds(report.seconds)}.`,
    `  new ${formatBytes(stored.rawBytes)}, stored as ${formatBytes(stored.packBytes)} before dispersal; ${plural(report.unchangedFiles, "file")} unchanged`,
  ];
  const { enforcing, storing } = report.durableAt;
  lines.push(
    storing === 0
      ? `  at ${plural(enforcing, "site")}, all of which enforce the charter`
      : `  at ${plural(enforcing + storing, "site")}: ${enforcing} ${enforcing === 1 ? "enforces" : "enforce"} the charter, ${storing} only ${storing === 1 ? "stores" : "store"}`,
  );
  const failed = Object.keys(report.failedSites);
  if (failed.length > 0) lines.push(`  not at: ${failed.join(", ")}`);
  if (report.problemCount > 0) {
    lines.push(
      `  ${plural(report.problemCount, "entry", "entries")} with a problem${report.complete ? "" : ": this recovery point is incomplete"}`,
    );
  }
  return lines;
}

function inputOf(
  home: Home,
  register: string,
  command: readonly string[],
  stdin: boolean,
): StreamInput {
  const isStream = home.register(register).parts.every(({ kind }) => kind === "stream");
  const [program, ...args] = command;
  if (!isStream) {
    if (stdin || program !== undefined) {
      throw new ExclaveError(
        "usage",
        `register "${register}" is of kind files; it reads its own path`,
      );
    }
    return {};
  }
  if (stdin === (program !== undefined)) {
    throw new ExclaveError("usage", "a stream needs either --stdin, or -- and a command");
  }
  return program === undefined ? { input: process.stdin } : runCommand(program, args);
}

/**
 * The output of a command, and a refusal to commit when it fails. It is started when its output is first
 * asked for: not when another process is at work on the register, or too few sites answer.
 */
function runCommand(program: string, args: readonly string[]): StreamInput {
  let ended: Promise<string | undefined> = Promise.resolve("was not run");
  async function* output(): AsyncGenerator<Uint8Array> {
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
    ended = once(child, "close").then(
      ([code, signal]) => (code === 0 ? undefined : `ended with ${signal ?? `exit code ${code}`}`),
      (error: unknown) =>
        `could not be run: ${(error as NodeJS.ErrnoException).code ?? String(error)}`,
    );
    let readToEnd = false;
    try {
      yield* child.stdout;
      readToEnd = true;
    } finally {
      // Nobody reads on when the work has failed. One that has said all is left to end by itself.
      if (!readToEnd) child.kill();
    }
  }
  return {
    input: output(),
    beforeCommit: async () => {
      const why = await ended;
      if (why === undefined) return;
      throw new ExclaveError(
        "command-failed",
        `${program} ${why}, so its output was not committed. Earlier recovery points are untouched`,
      );
    },
  };
}
