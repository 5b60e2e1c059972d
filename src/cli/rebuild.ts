import { Command } from "commander";
import { mendDocuments } from "../governance/catch-up.ts";
import { rebuild } from "../registers/rebuild.ts";
import { homePath, openHome } from "./context.ts";
import { EXIT } from "./exit-codes.ts";
import { plural } from "./format.ts";
import type { MakeCommand } from "./main.ts";

export const rebuildCommand: MakeCommand = (terminal, setExit) =>
  new Command("rebuild")
    .description(
      "make the catalog anew from the sites, which is only a cache, and what home lost of its ledger",
    )
    .action(async () => {
      await mendDocuments(homePath());
      const home = await openHome();
      const report = await rebuild(home, new Date(), (notice) => terminal.notice(notice));
      if (report.problems.length > 0) setExit(EXIT.incomplete);
      terminal.result(report, [
        "The catalog is made anew from the sites.",
        ...report.registers.map(
          ({ name, recoveryPoints }) => `  ${name}: ${plural(recoveryPoints, "recovery point")}`,
        ),
      ]);
    });
