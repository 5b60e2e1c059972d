import { resolve } from "node:path";
import { Command } from "commander";
import { found } from "../registers/found.ts";
import { adoptTrial } from "../registers/trial.ts";
import { homePath } from "./context.ts";
import type { MakeCommand } from "./main.ts";
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
      const passphrase = await newPassphrase(options.passphraseFile);
      const common = {
        home: homePath(),
        stateName: options.state,
        passphrase,
        recoveryKeyFile: resolve(options.recoveryKey),
        ...(options.readerKey === undefined ? {} : { readerKeyFile: resolve(options.readerKey) }),
        now: new Date(),
      };
      const trialPassphrase =
        options.trialPassphraseFile === undefined
          ? passphrase
          : await knownPassphrase(options.trialPassphraseFile);
      const home =
        options.fromTrial === undefined
          ? await found(common)
          : await adoptTrial({ ...common, trial: resolve(options.fromTrial), trialPassphrase });
      terminal.result(
        {
          state: home.state,
          name: options.state,
          home: home.path,
          recoveryKey: common.recoveryKeyFile,
        },
        [
          `${options.state} is founded.`,
          "",
          `  State id       ${home.state}`,
          `  home           ${home.path}`,
          `  recovery key   ${common.recoveryKeyFile}`,
          "",
          "Take the recovery key offline now: copy it to two media, keep them in two safe places away",
          "from home, and delete it here. Who has it and its passphrase can read everything; without",
          "it a lost home cannot come back.",
          "",
          "Next: exclave site add NAME --country CC --directory DIR     (once for each host country)",
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
