import { resolve } from "node:path";
import { Command, Option } from "commander";
import { ExclaveError } from "../errors.ts";
import { found } from "../governance/found.ts";
import { adoptTrial, trialPaths } from "../registers/trial.ts";
import type { Home } from "../vault/home.ts";
import { homePath } from "./context.ts";
import { plural } from "./format.ts";
import { EXAMPLE_PLAN } from "./founding-plan.ts";
import { holdCeremony } from "./hold-ceremony.ts";
import type { MakeCommand } from "./main.ts";
import { shellLine } from "./page.ts";
import { knownPassphrase, newPassphrase } from "./passphrase.ts";

export const foundCommand: MakeCommand = (terminal) =>
  new Command("found")
    .description("make a State: its recovery key, its founding charter, its home in $EXCLAVE_HOME")
    .addHelpText("after", HELP)
    .option("--state <name>", 'for a trial: the State\'s name, for instance "Belize"')
    .option(
      "--recovery-key <file>",
      "for a trial: where to write the recovery key (an age file); take it offline",
    )
    .addOption(
      new Option("--preset <preset>", "how many people it takes").choices([
        "trial",
        "pilot",
        "state",
      ]),
    )
    .option(
      "--ceremony <dir>",
      "where kits, pages and transcript go: a medium that leaves the room",
    )
    .option("--plan <file>", "who holds keys and seats; asked for when absent")
    .option("--passphrases <file>", "rehearse without people: write all passphrases to this file")
    .option("--example-plan", "print a plan to begin from, and do nothing else", false)
    .option(
      "--reader-key <file>",
      "also make a reader key, for everyday restores on another machine",
    )
    .option("--passphrase-file <file>", "the passphrase of the key files; asked for when absent")
    .option(
      "--from-trial <dir>",
      "keep what `exclave try` stored: its sites, registers and recovery points",
    )
    .option("--trial-passphrase-file <file>", "the trial's passphrase, when it differs")
    .action(async (options: FoundFlags) => {
      if (options.examplePlan) {
        terminal.result(EXAMPLE_PLAN, [JSON.stringify(EXAMPLE_PLAN, undefined, 2)]);
        return;
      }
      const { preset } = options;
      if (preset === "pilot" || preset === "state" || options.plan !== undefined) {
        await holdCeremony(terminal, options);
        return;
      }
      const { fromTrial, state, recoveryKey } = options;
      if (state === undefined || recoveryKey === undefined) {
        throw new ExclaveError(
          "usage",
          "a trial needs --state NAME and --recovery-key FILE; a State of several people --preset state --ceremony DIR",
        );
      }
      if (fromTrial !== undefined && options.trialPassphraseFile === undefined) {
        if (options.passphraseFile === undefined) terminal.say("First the trial's passphrase.");
      }
      // The trial's first: whoever mistypes it has not invented a new one in vain.
      const trialPassphrase =
        fromTrial === undefined
          ? ""
          : await knownPassphrase(options.trialPassphraseFile ?? options.passphraseFile);
      const passphrase = await newPassphrase(options.passphraseFile);
      const common = {
        home: homePath(),
        stateName: state,
        passphrase,
        recoveryKeyFile: resolve(recoveryKey),
        ...(options.readerKey === undefined ? {} : { readerKeyFile: resolve(options.readerKey) }),
        now: new Date(),
      };
      const home =
        fromTrial === undefined
          ? await found(common)
          : await adoptTrial({ ...common, trial: resolve(fromTrial), trialPassphrase });
      const { sites, registers } = home.config;
      terminal.result(
        {
          state: home.state,
          name: state,
          home: home.path,
          recoveryKey: common.recoveryKeyFile,
          ...(fromTrial === undefined
            ? {}
            : {
                fromTrial: resolve(fromTrial),
                sites: sites.map(({ name, at }) => ({ name, at })),
                registers: registers.map(({ name }) => name),
              }),
        },
        [
          `${state} is founded.`,
          "",
          `  State id       ${home.state}`,
          `  home           ${home.path}`,
          `  recovery key   ${common.recoveryKeyFile}`,
          "",
          "Take the recovery key offline now: copy it to two media, keep them in two safe " +
            "places away",
          "from home, and delete it here. Who has it and its passphrase can read everything; " +
            "without",
          "it a lost home cannot come back.",
          "",
          ...(fromTrial === undefined
            ? [
                "Next: exclave site add NAME --country CC --directory DIR     (once for each " +
                  "host country)",
              ]
            : afterTrial(resolve(fromTrial), home)),
        ],
      );
    });

const HELP = `
A trial is one person with one passphrase: --state and --recovery-key.
A State is a ceremony, on a machine that is on no network: --preset state (three of five
people for everything) or --preset pilot (two of three), with --ceremony DIR.
  exclave found --example-plan > plan.json      edit it, agree on it, then
  exclave found --plan plan.json --ceremony /media/stick
docs/operations.md has the ceremony word for word.`;

type FoundFlags = {
  readonly state?: string;
  readonly recoveryKey?: string;
  readonly preset?: "trial" | "pilot" | "state";
  readonly ceremony?: string;
  readonly plan?: string;
  readonly passphrases?: string;
  readonly examplePlan: boolean;
  readonly readerKey?: string;
  readonly passphraseFile?: string;
  readonly fromTrial?: string;
  readonly trialPassphraseFile?: string;
};

/** What a State that began as a trial has, and what it should know about its key. */
function afterTrial(trial: string, home: Home): readonly string[] {
  const { sites, registers } = home.config;
  const [register] = registers;
  return [
    `It keeps what the trial stored: ${registers.map(({ name }) => name).join(", ")}, at ` +
      `${plural(sites.length, "site")}`,
    `in ${trialPaths(trial).sites}. Leave that directory where it is.`,
    "",
    "This recovery key was born in a trial: it lay on this machine, under the trial's passphrase,",
    "and whoever copied it then has it still. The trial's sites are directories of one " +
      "machine, and",
    "their countries are made up. For production, found a State afresh; for a pilot this will do.",
    "",
    "Delete the trial's own home and key now; the home can write no more, and both hold secrets:",
    `  ${shellLine("rm", "-r", trialPaths(trial).home, trialPaths(trial).recoveryKey)}`,
    "",
    ...(register ? [`Next: exclave snapshots ${register.name}`] : []),
  ];
}
