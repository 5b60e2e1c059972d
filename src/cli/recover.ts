import { readFile } from "node:fs/promises";
import { Command } from "commander";
import { ExclaveError } from "../errors.ts";
import { recover } from "../registers/recover.ts";
import { openKey } from "../vault/recovery-key.ts";
import { homePath } from "./context.ts";
import { formatAge, formatTime, plural } from "./format.ts";
import type { MakeCommand } from "./main.ts";
import { knownPassphrase } from "./passphrase.ts";
import { collect } from "./register.ts";

export const recoverCommand: MakeCommand = (terminal) =>
  new Command("recover")
    .description("on a bare machine: the State's home again, from the recovery key and any k sites")
    .requiredOption("--key <file>", "the recovery key that `exclave found` made")
    .option("--passphrase-file <file>", "its passphrase; asked for when absent")
    .option("--site <dir>", "a site's directory; once for each site that is left", collect, [])
    .action(
      async (flags: {
        readonly key: string;
        readonly passphraseFile?: string;
        readonly site: readonly string[];
      }) => {
        if (flags.site.length === 0)
          throw new ExclaveError("usage", "give --site DIR for each site that is left");
        const file = await readFile(flags.key).catch((cause: unknown) => {
          throw new ExclaveError("usage", `the key file ${flags.key} cannot be read`, { cause });
        });
        const key = await openKey(
          "recovery-key",
          file,
          await knownPassphrase(flags.passphraseFile),
        );
        const report = await recover({
          home: homePath(),
          key,
          directories: flags.site,
          now: new Date(),
          onNotice: (notice) => terminal.notice(notice),
        });
        const { home, sites, term, registers } = report;
        terminal.result({ state: home.state, home: home.path, sites, term, registers }, [
          `${home.config.stateName} has a home again at ${home.path}, from ${sites.join(", ")}.`,
          ...registers.map(
            ({ name, recoveryPoints, newest }) =>
              `  ${name}: ${plural(recoveryPoints, "recovery point")}, the newest of ${formatTime(newest)} (${formatAge(newest, new Date())})`,
          ),
          ...(registers.length === 0 ? ["  No register was found at these sites."] : []),
          "Whether newer ones were at the sites that are missing cannot be known from these alone.",
          `Next: exclave restore ${registers[0]?.name ?? "NAME"} --to DIR`,
        ]);
      },
    );
