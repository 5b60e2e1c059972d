import { resolve } from "node:path";
import { Command, Option } from "commander";
import { ExclaveError } from "../errors.ts";
import {
  addRegister,
  decidedTerms,
  declareRegister,
  type Sensitivity,
} from "../governance/registers.ts";
import { requireLawfulPlacement } from "../registers/protect.ts";
import { type PartConfig, writeQuorum } from "../vault/home.ts";
import { openHome, withState } from "./context.ts";
import { collect, oneOf, positive, siteList } from "./flags.ts";
import { formatTable } from "./format.ts";
import type { MakeCommand } from "./main.ts";
import { sayProposed } from "./proposed.ts";
import { planCommand } from "./register-plan.ts";

export { collect } from "./flags.ts";

const ADD_HELP = `
  exclave register add docs --kind files --path /srv/registers/docs \\
    --sites bb,kn,lu,ee,ca --threshold 3

Any 3 of the 5 sites then bring it back, and 2 together read nothing. Sites, their order and
the threshold cannot be changed later. For dumps: --kind stream, without --path.`;

export const registerCommand: MakeCommand = (terminal) => {
  const register = new Command("register").description(
    "the bodies of records that the State protects",
  );
  register
    .command("add")
    .argument("<name>", "short and unique, for instance civil-status")
    .description(
      "declare a register: what is in it, at which sites, how many of them bring it back",
    )
    .requiredOption(
      "--kind <kind>",
      "files: a directory tree. stream: what a dump tool writes",
      oneOf(["files", "stream"]),
    )
    .option("--path <dir>", "what to protect; several times for several parts", collect, [])
    .requiredOption(
      "--sites <names>",
      "the sites, comma-separated: one shard of everything to each",
    )
    .requiredOption(
      "--threshold <k>",
      "any so many sites bring it back, fewer can read nothing",
      positive,
    )
    .option(
      "--survive <f>",
      "losses each new recovery point survives at once (default: half of n - k)",
      positive,
    )
    .option(
      "--epoch-days <days>",
      "how long its keys last before new ones are made (default: 365)",
      days,
    )
    .option("--exclude <pattern>", "leave out what matches; several times", collect, [])
    .option("--one-file-system", "do not enter other file systems", false)
    .option(
      "--accept <name>",
      "accept that this country, operator or hazard zone alone could read or withhold",
      collect,
      [],
    )
    .option("--out <file>", "where to write the decision, when people have to sign it")
    .addHelpText("after", ADD_HELP)
    .action(async (name: string, flags: RegisterFlags) => {
      const home = await openHome();
      requireName(name);
      if (home.config.registers.some((one) => one.name === name)) {
        throw new ExclaveError("usage", `there is a register "${name}" already`);
      }
      const sites = [...siteList(flags.sites)];
      for (const site of sites) home.site(site);
      const [k, n] = [flags.threshold, sites.length];
      if (k > n) throw new ExclaveError("usage", `--threshold ${k} is more than the ${n} sites`);
      const survive = flags.survive ?? Math.floor((n - k) / 2);
      if (k + survive > n) {
        throw new ExclaveError(
          "usage",
          `${n} sites with threshold ${k} survive at most ${n - k} losses`,
        );
      }
      requireLawfulPlacement(home, { sites, k }, flags.accept);
      const epoch =
        flags.epochDays === undefined ? {} : { epochSeconds: flags.epochDays * DAY_SECONDS };
      const plan = { name, parts: partsOf(name, flags), sites, k, survive, ...epoch };
      const { config, given } = await withState(home, () => addRegister(home, plan, new Date()));
      if (given.status === "proposed") {
        return sayProposed(terminal, home, given, { register: config }, flags.out);
      }
      terminal.result({ register: config }, [
        `Register ${name}: any ${k} of ${n} sites bring it back; a recovery point counts when ${writeQuorum(config)} have it.`,
        `Next: exclave register plan ${name}     (bytes, nights, money, and the pouch instead)`,
        flags.kind === "files"
          ? `Then: exclave protect ${name}`
          : `Then: exclave protect ${name} -- COMMAND…   or   COMMAND | exclave protect ${name} --stdin`,
      ]);
    });
  register
    .command("declare")
    .argument("<name>", "short and unique, for instance land-titles")
    .description("name a register that is vital, though nothing protects it yet; `status` shows it")
    .option("--owner <name>", "the office that keeps it")
    .option("--legal-basis <text>", "the law that it rests on")
    .addOption(
      new Option("--sensitivity <level>", "how much harm it does in the wrong hands")
        .choices(SENSITIVITIES)
        .default("confidential"),
    )
    .option(
      "--recovery-point <duration>",
      "how much of it the State could bear to lose: 24h, 7d",
      duration,
    )
    .option(
      "--recovery-time <duration>",
      "how long the State could do without it: 4h, 3d",
      duration,
    )
    .option("--out <file>", "where to write the decision, when people have to sign it")
    .action(async (name: string, flags: DeclareFlags) => {
      requireName(name);
      const home = await openHome();
      const declaration = {
        name,
        ...(flags.owner === undefined ? {} : { owner: flags.owner }),
        ...(flags.legalBasis === undefined ? {} : { legalBasis: flags.legalBasis }),
        ...(flags.recoveryPoint === undefined ? {} : { recoveryPointSeconds: flags.recoveryPoint }),
        ...(flags.recoveryTime === undefined ? {} : { recoveryTimeSeconds: flags.recoveryTime }),
      };
      const given = await withState(home, () =>
        declareRegister(home, declaration, flags.sensitivity, new Date()),
      );
      const declared = { ...declaration, sensitivity: flags.sensitivity };
      if (given.status === "proposed") {
        return sayProposed(terminal, home, given, { declared }, flags.out);
      }
      terminal.result({ declared }, [
        `Register ${name} is in the inventory, and nothing protects it yet.`,
        `Next: exclave register add ${name} --kind files --path DIR --sites a,b,c --threshold K`,
      ]);
    });
  register.addCommand(planCommand(terminal));
  register
    .command("list")
    .description("the registers")
    .action(async () => {
      const home = await openHome();
      const { registers, inventory } = home.config;
      const declared = inventory.filter(
        ({ id }) => decidedTerms(home, id) && !registers.some((one) => one.id === id),
      );
      const rows = [
        ...registers.map((one) => [
          one.name,
          one.parts.map((part) => part.path || part.kind).join(", "),
          `${one.k} of ${one.sites.length}`,
          one.sites.join(","),
        ]),
        ...declared.map(({ name }) => [name, "nothing yet", "", ""]),
      ];
      terminal.result(
        { registers, declared },
        rows.length === 0
          ? [
              "No registers yet. Next: exclave register add NAME --kind files --path DIR --sites a,b,c --threshold K",
            ]
          : formatTable([["register", "protects", "threshold", "sites"], ...rows]),
      );
    });
  return register;
};

type DeclareFlags = {
  readonly owner?: string;
  readonly legalBasis?: string;
  readonly sensitivity: Sensitivity;
  readonly recoveryPoint?: number;
  readonly recoveryTime?: number;
  readonly out?: string;
};

const SENSITIVITIES: readonly Sensitivity[] = ["public", "internal", "confidential", "secret"];

function requireName(name: string): void {
  if (/^[a-z0-9][a-z0-9._-]{0,62}$/.test(name)) return;
  throw new ExclaveError("usage", "a name has small letters, digits, dots, dashes, at most 63");
}

const DAY_SECONDS = 86_400;

/** Days that an epoch lasts: a day to a hundred years. */
function days(text: string): number {
  if (/^[1-9]\d{0,4}$/.test(text) && Number(text) <= 36_600) return Number(text);
  throw new ExclaveError("usage", `${text} is not a number of days from 1 to 36600`);
}

const UNIT_SECONDS: Readonly<Record<string, number>> = { m: 60, h: 3600, d: 86_400 };

/** Seconds of "30m", "24h", "7d". */
function duration(text: string): number {
  const [, count, unit] = /^([1-9]\d{0,4})([mhd])$/.exec(text) ?? [];
  if (count !== undefined && unit !== undefined) return Number(count) * (UNIT_SECONDS[unit] ?? 0);
  throw new ExclaveError("usage", `${text} is not a duration: write 30m, 24h or 7d`);
}

type RegisterFlags = {
  readonly kind: "files" | "stream";
  readonly path: readonly string[];
  readonly sites: string;
  readonly threshold: number;
  readonly survive?: number;
  readonly epochDays?: number;
  readonly exclude: string[];
  readonly oneFileSystem: boolean;
  readonly accept: readonly string[];
  readonly out?: string;
};

function partsOf(name: string, flags: RegisterFlags): PartConfig[] {
  const common = { kind: flags.kind, excludes: flags.exclude, oneFileSystem: flags.oneFileSystem };
  if (flags.kind === "stream") {
    if (flags.path.length > 0) throw new ExclaveError("usage", "a stream has no --path");
    return [{ ...common, name, path: "" }];
  }
  const [only, ...more] = flags.path;
  if (only === undefined) throw new ExclaveError("usage", "a register of kind files needs --path");
  if (more.length === 0) return [{ ...common, name, path: resolve(only) }];
  const parts = flags.path.map((path, i) => ({
    ...common,
    name: partName(path, i),
    path: resolve(path),
  }));
  return parts.map((part, i) =>
    parts.some((other, j) => j < i && other.name === part.name)
      ? { ...part, name: `${part.name}-${i + 1}` }
      : part,
  );
}

/** A part's name: the last part of its path, in the letters that names may have. */
function partName(path: string, position: number): string {
  const last = resolve(path).split("/").at(-1) ?? "";
  const name = last
    .toLowerCase()
    .replaceAll(/[^a-z0-9._-]/g, "-")
    .replace(/^[^a-z0-9]+/, "")
    .slice(0, 50);
  return name === "" ? `part-${position + 1}` : name;
}
