/** The command line: takes it apart, runs one command, and says how it went. */
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { checkCommand } from "./check.ts";
import { decideCommand } from "./decide.ts";
import { demoCommand } from "./demo.ts";
import { EXIT, exitCodeOf } from "./exit-codes.ts";
import { foundCommand } from "./found.ts";
import { keyholderCommand } from "./keyholder.ts";
import { ledgerCommand } from "./ledger.ts";
import { protectCommand } from "./protect.ts";
import { rebuildCommand } from "./rebuild.ts";
import { recoverCommand } from "./recover.ts";
import { registerCommand } from "./register.ts";
import { repairCommand } from "./repair.ts";
import { restoreCommand } from "./restore.ts";
import { signatoryCommand } from "./signatory.ts";
import { siteCommand } from "./site.ts";
import { snapshotsCommand } from "./snapshots.ts";
import { statusCommand } from "./status.ts";
import { newTerminal, type Terminal } from "./terminal.ts";
import { tryCommand } from "./try.ts";

const FOOT = `
Five words are enough to begin: a register is a body of records; it is kept in
several host countries; each protect makes a recovery point; key holders bring a
lost home back; decisions, signed by enough seats, change the rules.

Begin with:   exclave try DIRECTORY        what would it cost, does it restore
or with:      exclave demo                 the whole story on this machine

State lives in $EXCLAVE_HOME (now ${process.env.EXCLAVE_HOME ?? "not set: ~/.exclave"}).
Exit codes: 0 done, 1 failed, 2 wrong command line, 3 done but incomplete, 4 check found damage.`;

/** Runs one command line (without node and program) and gives its exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  // Whoever reads our output may stop reading (`| head`): that is no failure of the work.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
  const terminal = newTerminal({ json: argv.includes("--json"), quiet: argv.includes("--quiet") });
  let exitCode: number = EXIT.done;
  const program = new Command("exclave")
    .description(
      "Keeps a State's registers alive abroad: encrypted at home, dispersed over host countries.",
    )
    .version(version())
    .addHelpText("after", FOOT)
    .option("--json", "the same before or after the command")
    .option("--quiet", "no progress")
    .exitOverride()
    .configureOutput({ writeErr: (text) => terminal.error(text.trimEnd()) });
  const commands = [
    tryCommand,
    foundCommand,
    siteCommand,
    registerCommand,
    protectCommand,
    snapshotsCommand,
    restoreCommand,
    checkCommand,
    repairCommand,
    rebuildCommand,
    recoverCommand,
    keyholderCommand,
    ledgerCommand,
    statusCommand,
    signatoryCommand,
    decideCommand,
    demoCommand,
  ];
  for (const make of commands) {
    program.addCommand(
      make(terminal, (code) => {
        exitCode = code;
      }),
    );
  }
  for (const command of allCommands(program)) {
    command.exitOverride();
    if (command.commands.length > 0) continue;
    command
      .option("--json", "print one JSON object on standard output, and progress as JSON lines")
      .option("--quiet", "no progress");
  }
  try {
    await program.parseAsync(argv, { from: "user" });
    return exitCode;
  } catch (error) {
    return fail(terminal, error);
  } finally {
    terminal.close();
  }
}

/** How each command is made: it prints through the terminal and may set an exit code. */
export type MakeCommand = (terminal: Terminal, setExit: (code: number) => void) => Command;

function allCommands(command: Command): readonly Command[] {
  return command.commands.flatMap((sub) => [sub, ...allCommands(sub)]);
}

function fail(terminal: Terminal, error: unknown): number {
  if (error instanceof CommanderError) {
    // Help and version are no failures; for the rest commander has said what is wrong.
    return error.exitCode === 0 ? EXIT.done : EXIT.usage;
  }
  const known = isExclaveError(error) ? error : fromSystem(error);
  terminal.result({ error: { code: known.code, message: known.message } }, []);
  terminal.error(`exclave: ${known.message}`);
  if (known.code === "bug" && known.cause instanceof Error) terminal.error(known.cause.stack ?? "");
  return exitCodeOf(known.code);
}

/** What the system or a mistake of ours threw, as an error of ours. */
function fromSystem(error: unknown): ExclaveError {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "ENOSPC" || code === "EDQUOT" || /database or disk is full/.test(message)) {
    const text =
      "the disk of home is full. Nothing was committed; earlier recovery points are untouched";
    return new ExclaveError("disk-full", text, { cause: error });
  }
  return new ExclaveError("bug", `something went wrong that should not: ${String(error)}`, {
    cause: error,
  });
}

function version(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
