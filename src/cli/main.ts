/** The command line: takes it apart, runs one command, and says how it went. */
import { readFileSync } from "node:fs";
import { Command, CommanderError, Help, type Option } from "commander";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { EXIT, exitCodeOf } from "./exit-codes.ts";
import { newTerminal, type Terminal } from "./terminal.ts";

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
  for (const make of await commandsFor(argv)) {
    program.addCommand(
      make(terminal, (code) => {
        exitCode = code;
      }),
    );
  }
  for (const command of allCommands(program)) {
    command.exitOverride().configureHelp({ optionDescription });
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

/**
 * The commands, in the order of the help. Each is loaded when it is called: together they are half of what a short
 * command takes.
 */
const COMMANDS: Readonly<Record<string, () => Promise<MakeCommand>>> = {
  try: async () => (await import("./try.ts")).tryCommand,
  found: async () => (await import("./found.ts")).foundCommand,
  site: async () => (await import("./site.ts")).siteCommand,
  register: async () => (await import("./register.ts")).registerCommand,
  protect: async () => (await import("./protect.ts")).protectCommand,
  snapshots: async () => (await import("./snapshots.ts")).snapshotsCommand,
  restore: async () => (await import("./restore.ts")).restoreCommand,
  check: async () => (await import("./check.ts")).checkCommand,
  repair: async () => (await import("./repair.ts")).repairCommand,
  pouch: async () => (await import("./pouch.ts")).pouchCommand,
  rebuild: async () => (await import("./rebuild.ts")).rebuildCommand,
  recover: async () => (await import("./recover.ts")).recoverCommand,
  keyholder: async () => (await import("./keyholder.ts")).keyholderCommand,
  ledger: async () => (await import("./ledger.ts")).ledgerCommand,
  status: async () => (await import("./status.ts")).statusCommand,
  signatory: async () => (await import("./signatory.ts")).signatoryCommand,
  decide: async () => (await import("./decide.ts")).decideCommand,
  demo: async () => (await import("./demo.ts")).demoCommand,
};

/** The command that is called; all of them when help is wanted, or none is called by its name. */
async function commandsFor(argv: readonly string[]): Promise<readonly MakeCommand[]> {
  const name = argv.find((arg) => !arg.startsWith("-")) ?? "";
  const called = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  const wanted = called ? [called] : Object.values(COMMANDS);
  return Promise.all(wanted.map((load) => load()));
}

/** How each command is made: it prints through the terminal and may set an exit code. */
export type MakeCommand = (terminal: Terminal, setExit: (code: number) => void) => Command;

/** As commander has it, without saying that what is off, or may be given several times, is so by default. */
function optionDescription(option: Option): string {
  const given: unknown = option.defaultValue;
  const isBare = given === false || (Array.isArray(given) && given.length === 0);
  return isBare ? option.description : new Help().optionDescription(option);
}

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
