import { resolve } from "node:path";
import { Command } from "commander";
import { ExclaveError } from "../errors.ts";
import { addSite } from "../governance/sites.ts";
import { openSite } from "../vault/open-sites.ts";
import { openHome, withState } from "./context.ts";
import { formatTable } from "./format.ts";
import type { MakeCommand } from "./main.ts";
import { sayProposed } from "./proposed.ts";

const ADD_HELP = `
  exclave site add lu --country LU --operator "Luxembourg State" --directory /media/lu

The same operator, or the same hazard zone, for sites that one company runs, or one hurricane
can take: a register is not placed where one of them could read or withhold it alone.
After a recovery: the site's old name, and where it is now. No decision is needed for that.`;

export const siteCommand: MakeCommand = (terminal) => {
  const site = new Command("site").description("the places abroad that store");
  site
    .command("add")
    .argument("<name>", "short and unique, for instance the country's code")
    .description("admit a site: an empty or new directory, on a disk of its own")
    .requiredOption("--country <cc>", "host country, ISO 3166-1 alpha-2, for instance LU")
    .requiredOption("--directory <dir>", "where it stores")
    .option("--operator <name>", "who runs it (default: the site's own name)")
    .option("--hazard-zone <name>", "what one disaster can take (default: the country)")
    .option("--out <file>", "where to write the decision, when people have to sign it")
    .addHelpText("after", ADD_HELP)
    .action(async (name: string, flags: SiteFlags) => {
      const country = flags.country.toUpperCase();
      if (!/^[A-Z]{2}$/.test(country)) {
        throw new ExclaveError(
          "usage",
          `--country takes two letters, for instance LU, not ${flags.country}`,
        );
      }
      if (!/^[a-z0-9][a-z0-9._-]{0,62}$/.test(name)) {
        throw new ExclaveError(
          "usage",
          "a name has small letters, digits, dots, dashes, at most 63",
        );
      }
      const config = {
        name,
        country,
        operator: flags.operator ?? name,
        hazardZone: flags.hazardZone ?? country,
        directory: resolve(flags.directory),
      };
      const home = await openHome();
      const [register] = home.config.registers;
      const given = await withState(home, () => addSite(home, config, new Date()));
      if (given?.status === "proposed") {
        return sayProposed(terminal, home, given, { site: config }, flags.out);
      }
      terminal.result({ site: config, ...(given ? { decision: given } : {}) }, [
        `Site ${name} (${country}) stores in ${config.directory}.`,
        register?.sites.includes(name)
          ? `Next, for what it lacks: exclave repair ${register.name}     (and each other register that it keeps)`
          : "Next, when there are enough: exclave register add NAME --kind files --path DIR --sites a,b,c --threshold K",
      ]);
    });
  site
    .command("list")
    .description("the sites, and whether they answer")
    .action(async () => {
      const home = await openHome();
      const sites = await Promise.all(
        home.config.sites.map(async (config) => {
          const problem = await openSite(config, home.known).then(
            () => undefined,
            (error: unknown) => (error instanceof Error ? error.message : String(error)),
          );
          const admitted = home.charter.sites.some((site) => site.name === config.name);
          return {
            ...config,
            admitted,
            answers: problem === undefined,
            ...(problem ? { problem } : {}),
          };
        }),
      );
      const rows = sites.map((one) => [
        one.name,
        one.country,
        one.operator,
        one.hazardZone,
        one.directory,
        one.admitted ? (one.answers ? "answers" : (one.problem ?? "")) : "not admitted yet",
      ]);
      terminal.result(
        { sites },
        rows.length === 0
          ? ["No sites yet. Next: exclave site add NAME --country CC --directory DIR"]
          : formatTable([
              ["site", "country", "operator", "hazard zone", "directory", "now"],
              ...rows,
            ]),
      );
    });
  return site;
};

type SiteFlags = {
  readonly country: string;
  readonly directory: string;
  readonly operator?: string;
  readonly hazardZone?: string;
  readonly out?: string;
};
