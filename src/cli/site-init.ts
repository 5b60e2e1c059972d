import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { stdin } from "node:process";
import { Command } from "commander";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { holdProgram } from "../site-daemon/program.ts";
import type { NewSiteSettings } from "../site-daemon/settings.ts";
import { initSite, type SiteFiles } from "../site-daemon/site-files.ts";
import { stateDirectory, UNIT_NAME, UNIT_USER, unitFile } from "../site-daemon/unit-file.ts";
import { readS3File } from "../sites/s3-file.ts";
import { fingerprintOf } from "../sites/self-signed.ts";
import { listenerFlag } from "./listener-flag.ts";
import { shellLine } from "./page.ts";
import { ask } from "./passphrase.ts";
import { type FolderFlag, folderOption } from "./site-folder.ts";
import type { Terminal } from "./terminal.ts";

const HELP = `
  exclave site init --folder /var/lib/exclave-site      asks five questions

or, without a terminal:
  exclave site init --folder /var/lib/exclave-site --name lu --country LU \\
    --operator "Luxembourg State" --hazard-zone Moselle --url https://exclave.example.lu:7443

The folder is on the disk that is to store, unless an S3 engine does (--s3 FILE). What is not asked
is set in site.json there: what a bailiff reads, whom an alarm goes to, which other sites are told of
a veto.`;

const LISTEN_HOST = "0.0.0.0";
const ADMIN = "127.0.0.1:7444";
const HTTPS_PORT = 443;
const ENTRY = resolve(import.meta.dirname, "../../bin/exclave");

export function siteInitCommand(terminal: Terminal): Command {
  return new Command("init")
    .description("at a site: make a folder a site that enforces, with keys of its own")
    .addOption(folderOption())
    .option("--name <name>", "short, for instance the country's code")
    .option("--country <cc>", "host country, ISO 3166-1 alpha-2, for instance LU")
    .option("--operator <name>", "who runs it")
    .option("--hazard-zone <name>", "what one disaster can take (default: the country)")
    .option("--url <url>", "where States reach it: https://host:port")
    .option("--listen <host:port>", `where it listens (default: ${LISTEN_HOST}, the URL's port)`)
    .option("--monitor <host:port>", "plain HTTP for ledger monitors and bailiffs (default: none)")
    .option("--admin <host:port>", "metrics and health, for the operator alone", ADMIN)
    .option("--s3 <file>", "how an S3 engine is reached that stores (default: the folder stores)")
    .addHelpText("after", HELP)
    .action(async (flags: InitFlags) => {
      const folder = resolve(flags.folder);
      const site = await initSite(folder, await settingsOf(await answered(flags)));
      const card = join(folder, `${site.settings.name}.card.json`);
      const unit = join(folder, UNIT_NAME);
      await writeFile(card, site.card(), { mode: 0o644 });
      await writeFile(unit, await unitOf(site), { mode: 0o644 });
      const program = await heldProgram(folder);
      const { id } = site.keys.signing;
      terminal.result(
        {
          ...{ site: site.settings.name, folder, card, unit, id, fingerprint: fingerprintOf(id) },
          ...(program === undefined ? {} : { program }),
        },
        said(site, card, unit, program),
      );
    });
}

/** SHA-256 of the program that the site will hand out; undefined in a checkout that was not compiled. */
async function heldProgram(folder: string): Promise<string | undefined> {
  try {
    return (await holdProgram(folder)).sha256;
  } catch (error) {
    if (!isExclaveError(error, "usage")) throw error;
    return undefined;
  }
}

type Answers = {
  readonly name?: string;
  readonly country?: string;
  readonly operator?: string;
  readonly hazardZone?: string;
  readonly url?: string;
  readonly listen?: string;
  readonly s3?: string;
};
type InitFlags = FolderFlag & Answers & { readonly monitor?: string; readonly admin: string };

/** The flags, and what they left open as the operator answers it. */
async function answered(flags: InitFlags): Promise<InitFlags> {
  const { name, country, operator, url } = flags;
  const isWhole = [name, country, operator, url].every((flag) => flag !== undefined);
  if (isWhole) return flags;
  if (!stdin.isTTY) {
    throw new ExclaveError(
      "usage",
      "no terminal to ask at. Give --name, --country, --operator and --url; nothing was made",
    );
  }
  return { ...flags, ...(await fiveQuestions(flags)) };
}

async function fiveQuestions(flags: InitFlags): Promise<Answers> {
  const or = async (flag: string | undefined, question: string): Promise<string> =>
    flag ?? ask(question);
  const called = await or(
    flags.name && flags.country && `${flags.name} ${flags.country}`,
    "1. A short name for the site, and its country (such as: lu LU): ",
  );
  const [name = "", country = ""] = called.split(/\s+/);
  const operator = await or(flags.operator, "2. Who runs it: ");
  const hazardZone = await or(
    flags.hazardZone,
    `3. What one disaster can take: an island, a flood plain, a grid [${country.toUpperCase()}]: `,
  );
  const reached = await or(
    flags.url,
    "4. Where States reach it, and where it listens if elsewhere (such as: https://exclave.example.lu:7443 0.0.0.0:7443): ",
  );
  const [url = "", listen = flags.listen] = reached.split(/\s+/);
  const s3 = await or(
    flags.s3,
    `5. Where it stores: the file that says how an S3 engine is reached, or nothing for ${resolve(flags.folder)}: `,
  );
  return {
    name,
    country,
    operator,
    ...(hazardZone === "" ? {} : { hazardZone }),
    url,
    ...(listen === undefined ? {} : { listen }),
    ...(s3 === "" ? {} : { s3 }),
  };
}

async function settingsOf(flags: InitFlags): Promise<NewSiteSettings> {
  const { name = "", operator = "" } = flags;
  const country = (flags.country ?? "").toUpperCase();
  const url = urlOf(flags.url ?? "");
  const port = url.port === "" ? HTTPS_PORT : Number(url.port);
  // Before anything is made.
  if (flags.s3 !== undefined) await readS3File(flags.s3);
  return {
    name,
    country,
    operator,
    hazardZone: flags.hazardZone ?? country,
    url: url.origin,
    listen: flags.listen === undefined ? { host: LISTEN_HOST, port } : listenerFlag(flags.listen),
    ...(flags.monitor === undefined ? {} : { monitor: listenerFlag(flags.monitor) }),
    admin: listenerFlag(flags.admin),
    storage:
      flags.s3 === undefined ? { kind: "directory" } : { kind: "s3", file: resolve(flags.s3) },
  };
}

function urlOf(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const rest = url && `${url.pathname}${url.search}${url.hash}${url.username}${url.password}`;
  if (url?.protocol === "https:" && rest === "/") return url;
  throw new ExclaveError(
    "usage",
    `a site is reached at https://host:port and no path, not at "${text}". Nothing was made`,
  );
}

async function unitOf({ folder, settings }: SiteFiles): Promise<string> {
  const { listen, monitor, admin, storage } = settings;
  return unitFile({
    folder,
    node: process.execPath,
    program: ENTRY,
    ports: [listen, monitor, admin].flatMap((one) => (one ? [one.port] : [])),
    reads: storage.kind === "s3" ? await readsOf(storage.file) : [],
  });
}

/** What the site reads to reach its engine. */
async function readsOf(file: string): Promise<readonly string[]> {
  const { credentialsFile, caFile } = (await readS3File(file)).config;
  return [file, credentialsFile, ...(caFile === undefined ? [] : [caFile])];
}

/** How the unit is put in its place, a command a line. */
function howToInstall(unit: string, folder: string): readonly string[] {
  const user = [
    `useradd --system --user-group --no-create-home --shell /usr/sbin/nologin ${UNIT_USER}`,
    shellLine("chown", "-R", `${UNIT_USER}:`, folder),
  ];
  return [
    ...(stateDirectory(folder) === undefined ? user : []),
    shellLine("install", "-m", "644", unit, "/etc/systemd/system/"),
    "systemctl daemon-reload",
    `systemctl enable --now ${UNIT_NAME}`,
  ];
}

function said(
  { folder, settings, keys }: SiteFiles,
  card: string,
  unit: string,
  program: string | undefined,
): readonly string[] {
  return [
    `Site ${settings.name} (${settings.country}) is made; it does not run yet.`,
    "",
    `  folder        ${folder}   its keys are in keys/: keep a copy, show it to nobody`,
    `  card          ${card}   give it to the State`,
    `  fingerprint   ${fingerprintOf(keys.signing.id)}`,
    "",
    "1. Send the card. Read the fingerprint to the State by telephone: it must have the same.",
    "2. Let the State in:   exclave site grant REQUEST      (the file that it sends you)",
    "3. Run it:             exclave site serve",
    "   or as a service, as root:",
    ...howToInstall(unit, folder).map((line) => `     ${line}`),
    `4. In ${join(folder, "site.json")}, under "notice", write what a bailiff is to read.`,
    program === undefined
      ? "5. It has no program to hand out to who recovers: this one is not compiled. See exclave site program --help"
      : `It hands out this program to who recovers, SHA-256 ${program}.`,
  ];
}
