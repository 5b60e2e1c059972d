import { resolve } from "node:path";
import { Command } from "commander";
import { found } from "../governance/found.ts";
import { adoptTrial, trialPaths } from "../registers/trial.ts";
import type { Home } from "../vault/home.ts";
import { homePath } from "./context.ts";
import { plural } from "./format.ts";
import type { MakeCommand } from "./main.ts";
import { shellLine } from "./page.ts";
import { knownPassphrase, newPassphrase } from "./passphrase.ts";

export const foundCommand: MakeCommand = (terminal) =>
  new Command("found")
    .description("make a State: its recovery key, its founding charter, its home in $EXCLAVE_HOME")
    .requiredOption("--state <name>", 'the State\'s name, for instance "Belize"')
    .requiredOption(
      "--recovery-key <file>",
      "where to write the recovery key (an age file); take it offline",
    )
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
      const { fromTrial } = options;
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
        stateName: options.state,
        passphrase,
        recoveryKeyFile: resolve(options.recoveryKey),
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
          name: options.state,
          home: home.path,
          recoveryKey: common.recoveryKeyFile,
          ...(fromTrial === undefined
            ? {}
            : {
                fromTrial: resolve(fromTrial),
                sites: sites.map(({ name, directory }) => ({ name, directory })),
                registers: registers.map(({ name }) => name),
              }),
        },
        [
          `${options.state} is founded.`,
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

type FoundFlags = {
  readonly state: string;
  readonly recoveryKey: string;
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
