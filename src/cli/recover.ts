import { Command } from "commander";
import { ExclaveError } from "../errors.ts";
import { recover } from "../registers/recover.ts";
import { refuseExistingHome } from "../vault/home.ts";
import { homePath } from "./context.ts";
import { formatAge, formatTime, plural } from "./format.ts";
import type { MakeCommand } from "./main.ts";
import { recoverySource } from "./recovery-source.ts";
import { collect } from "./register.ts";

const HELP = `
  exclave recover --kit 1.kit.json --kit 4.kit.json --kit 5.kit.json \\
    --site /media/kn --site /media/lu --site /media/ee

Each key holder is asked for their passphrase, alone in front of the screen. Give every site
that is left: it refuses where those that are silent could hide something newer.
It takes over: from then on the old home refuses to write. Never try it out on live sites;
for practice, copy them. Killed in the middle: run it again.`;

export const recoverCommand: MakeCommand = (terminal) =>
  new Command("recover")
    .description(
      "on a bare machine: the State's home again, from its key holders' kits and any k sites",
    )
    .option("--kit <file>", "the kit of a key holder; once for each who is there", collect, [])
    .option(
      "--passphrases <file>",
      "rehearse without people: the passphrases that a rehearsal wrote",
    )
    .option("--key <file>", "of a trial: the recovery key that `exclave found` made")
    .option("--passphrase-file <file>", "its passphrase; asked for when absent")
    .option(
      "--site <address>",
      "a site: its directory, or https://host:port; once for each that is left",
      collect,
      [],
    )
    .option(
      "--accept-stale",
      "take what there is, though sites that are missing may have newer",
      false,
    )
    .addHelpText("after", HELP)
    .action(
      async (flags: {
        readonly kit: readonly string[];
        readonly passphrases?: string;
        readonly key?: string;
        readonly passphraseFile?: string;
        readonly site: readonly string[];
        readonly acceptStale: boolean;
      }) => {
        if (flags.site.length === 0)
          throw new ExclaveError("usage", "give --site DIR for each site that is left");
        await refuseExistingHome(homePath());
        const key = await recoverySource(terminal, flags);
        const report = await recover({
          home: homePath(),
          key,
          sites: flags.site,
          acceptStale: flags.acceptStale,
          now: new Date(),
          onNotice: (notice) => terminal.notice(notice),
        });
        const { home, sites, term, checkpoint, registers } = report;
        terminal.result(
          { state: home.state, home: home.path, sites, term, checkpoint, registers },
          [
            `${home.charter.name} has a home again at ${home.path}, from ${sites.join(", ")}.`,
            ...registers.map(
              ({ name, recoveryPoints, newest }) =>
                `  ${name}: ${plural(recoveryPoints, "recovery point")}, the newest of ${formatTime(newest)} (${formatAge(newest, new Date())})`,
            ),
            ...(registers.length === 0 ? ["  No register was found at these sites."] : []),
            `The ledger ends with entry ${checkpoint.entries} of ${formatTime(checkpoint.time)}, as ${checkpoint.confirmedBy.join(", ")} confirm.`,
            ...(checkpoint.stale.length === 0
              ? []
              : [
                  `Newer ones may be at the sites that are missing: of ${checkpoint.stale.join(", ")}.`,
                ]),
            `Next: exclave restore ${registers[0]?.name ?? "NAME"} --to DIR`,
          ],
        );
      },
    );
