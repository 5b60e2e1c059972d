import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { Command } from "commander";
import { ExclaveError } from "../errors.ts";
import { addSite } from "../governance/sites.ts";
import { openSiteCard } from "../sites/site-card.ts";
import type { SiteConfig } from "../vault/home.ts";
import { openSite } from "../vault/open-sites.ts";
import { formatSiteAddress, parseSiteAddress, type SiteAddress } from "../vault/site-address.ts";
import { openHome, withState } from "./context.ts";
import { formatTable } from "./format.ts";
import type { MakeCommand } from "./main.ts";
import { sayProposed } from "./proposed.ts";
import { siteLimitCommand } from "./site-limit.ts";
import { siteOperatorCommands } from "./site-operator.ts";
import { siteProbeCommand } from "./site-probe.ts";
import { siteRequestCommand } from "./site-request.ts";

const ADD_HELP = `
  exclave site add --card lu.card.json               a site that runs \`exclave site serve\`
  exclave site add lu --country LU --operator "Luxembourg State" --directory /media/lu
  exclave site add bb --country BB --s3 bb-bucket.json

A card is what the site's operator sends: compare its fingerprint with them by telephone. Such a
site enforces the charter; a directory or a bucket only stores.
The same operator, or the same hazard zone, for sites that one company runs, or one hurricane
can take: a register is not placed where one of them could read or withhold it alone.
After a recovery, or when a site has moved: the same again. No decision is needed for that.`;

export const siteCommand: MakeCommand = (terminal, setExit) => {
  const site = new Command("site").description("the places abroad that store");
  site
    .command("add")
    .argument("[name]", "short and unique, for instance the country's code; a card has its own")
    .description("admit a site: one that enforces, a directory on a disk of its own, or a bucket")
    .option("--card <file>", "the card that `exclave site init` made there")
    .option("--directory <dir>", "where it stores: an empty or new directory")
    .option("--s3 <file>", "how its S3 engine is reached, as docs/operations.md has it")
    .option("--country <cc>", "host country, ISO 3166-1 alpha-2, for instance LU")
    .option("--operator <name>", "who runs it (default: the site's own name)")
    .option("--hazard-zone <name>", "what one disaster can take (default: the country)")
    .option("--url <url>", "with --card: where it is reached now, when it has moved")
    .option("--out <file>", "where to write the decision, when people have to sign it")
    .addHelpText("after", ADD_HELP)
    .action(async (name: string | undefined, flags: SiteFlags) => {
      const config = flags.card === undefined ? placeOf(name, flags) : await cardOf(name, flags);
      const home = await openHome();
      const [register] = home.config.registers;
      const given = await withState(home, () => addSite(home, config, new Date()));
      if (given?.status === "proposed") {
        return sayProposed(terminal, home, given, { site: config }, flags.out);
      }
      terminal.result({ site: config, ...(given ? { decision: given } : {}) }, [
        `Site ${config.name} (${config.country}) stores at ${config.at}.`,
        register?.sites.includes(config.name)
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
          const problem = await openSite(config, home).then(
            () => undefined,
            (error: unknown) => (error instanceof Error ? error.message : String(error)),
          );
          const admitted = home.charter.sites.some((site) => site.name === config.name);
          return {
            ...config,
            admitted,
            enforces: parseSiteAddress(config.at).kind === "remote",
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
        one.at,
        one.enforces ? "enforces" : "stores",
        one.admitted ? (one.answers ? "answers" : (one.problem ?? "")) : "not admitted yet",
      ]);
      terminal.result(
        { sites },
        rows.length === 0
          ? ["No sites yet. Next: exclave site add NAME --country CC --directory DIR"]
          : formatTable([["site", "country", "operator", "hazard zone", "at", "", "now"], ...rows]),
      );
    });
  site.addCommand(siteLimitCommand(terminal));
  site.addCommand(siteProbeCommand(terminal, setExit));
  site.addCommand(siteRequestCommand(terminal));
  for (const command of siteOperatorCommands(terminal)) site.addCommand(command);
  return site;
};

/** A directory or a bucket, as the flags say. */
function placeOf(name: string | undefined, flags: SiteFlags): SiteConfig {
  const { directory, s3, country: code } = flags;
  if (
    name === undefined ||
    code === undefined ||
    (directory === undefined) === (s3 === undefined)
  ) {
    throw new ExclaveError(
      "usage",
      "give --card FILE, or a name with --country and one of --directory and --s3",
    );
  }
  const country = code.toUpperCase();
  if (!/^[A-Z]{2}$/.test(country)) {
    throw new ExclaveError("usage", `--country takes two letters, for instance LU, not ${code}`);
  }
  if (!/^[a-z0-9][a-z0-9._-]{0,62}$/.test(name)) {
    throw new ExclaveError("usage", "a name has small letters, digits, dots, dashes, at most 63");
  }
  const address: SiteAddress =
    s3 === undefined
      ? { kind: "directory", path: resolve(directory ?? "") }
      : { kind: "s3", file: resolve(s3) };
  return {
    name,
    country,
    operator: flags.operator ?? name,
    hazardZone: flags.hazardZone ?? country,
    at: formatSiteAddress(address),
  };
}

/** A site that enforces, as its card says. */
async function cardOf(name: string | undefined, flags: SiteFlags): Promise<SiteConfig> {
  const bytes = await readFile(flags.card ?? "").catch((cause: unknown) => {
    throw new ExclaveError("usage", `the card ${flags.card} cannot be read`, { cause });
  });
  const { card } = openSiteCard(bytes);
  if (name !== undefined && name !== card.name) {
    throw new ExclaveError("usage", `the card is of site "${card.name}", not of "${name}"`);
  }
  const { country, operator, hazardZone, signing } = card;
  const at = formatSiteAddress(parseSiteAddress(flags.url ?? card.url));
  return { name: card.name, country, operator, hazardZone, at, signing };
}

type SiteFlags = {
  readonly card?: string;
  readonly directory?: string;
  readonly s3?: string;
  readonly country?: string;
  readonly operator?: string;
  readonly hazardZone?: string;
  readonly url?: string;
  readonly out?: string;
};
