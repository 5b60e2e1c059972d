/** What a site's operator sets: `site.json` in the site's folder. */
import { isAbsolute, join, resolve } from "node:path";
import { z } from "zod";
import { charterFields } from "../charter/charter.ts";
import { ExclaveError } from "../errors.ts";
import type { SiteIdentity } from "../sites/site.ts";
import { siteUrl } from "../sites/site-card.ts";
import { jsonText, parseEdited, readBounded, writeFileIn, writeNewFileIn } from "./folder.ts";

const { shortName, label } = charterFields;
const SETTINGS_FILE = "site.json";
const PEERS_MAX = 32;
const ARGUMENTS_MAX = 32;
const RECIPIENTS_MAX = 16;

const path = z.string().min(1).max(4096);
/** An address to listen at, or a name for one. */
const host = z.string().regex(/^[0-9A-Za-z.:_-]{1,253}$/);
/** 0 takes any free port, which is told when the site is ready. */
const port = z.int().min(0).max(65_535);
const listener = z.strictObject({ host, port });
/** Paragraphs for whoever comes to the machine's door. */
const words = z
  .string()
  .min(1)
  .max(4000)
  .regex(
    /^[^\p{Cc}\p{Default_Ignorable_Code_Point}]*(?:\n[^\p{Cc}\p{Default_Ignorable_Code_Point}]*)*$/u,
  );
const email = z.string().regex(/^[^\s<>"(),;:\\@]{1,64}@[0-9A-Za-z.-]{1,253}$/);

const notice = z.strictObject({
  /** Whose data lie here. */
  owner: words,
  /** Under which agreement. */
  agreement: words.optional(),
  /** What the host country has promised not to do. */
  immunity: words.optional(),
  /** Whom to call before anything is touched. */
  contact: words,
});
/** A grant may have words of its own in place of the site's. */
export const noticeInGrant = notice.partial();

const alarms = z.strictObject({
  /** Takes a POST of JSON. */
  webhook: z
    .string()
    .max(2000)
    .refine((text) => URL.canParse(text) && /^https?:$/.test(new URL(text).protocol), "a URL")
    .optional(),
  email: z
    .strictObject({
      smtp: z.strictObject({
        host,
        port: z.int().min(1).max(65_535),
        /** TLS from the first byte; otherwise STARTTLS where the server has it. */
        secure: z.boolean().default(true),
        user: z.string().min(1).max(256).optional(),
        /** Holds the password, and is readable by its owner alone. */
        passwordFile: path.optional(),
      }),
      from: email,
      to: z.array(email).min(1).max(RECIPIENTS_MAX),
    })
    .optional(),
  /** Program and arguments, by no shell; the message comes on its standard input. */
  command: z.array(z.string().min(1).max(4096)).min(1).max(ARGUMENTS_MAX).optional(),
});
export type AlarmSettings = Readonly<z.infer<typeof alarms>>;

const peer = z.strictObject({
  /** As the charter calls the site. */
  name: shortName,
  url: siteUrl,
  /** Its public key, base64, as on its card. */
  signing: z.string().min(4).max(8192),
});

type Peer = Readonly<z.infer<typeof peer>>;

/** How the site is called as a witness: a C2SP key name. */
const keyName = z.string().regex(/^[\x21-\x2a\x2c-\x7e]{1,255}$/);

const settingsSchema = z.strictObject({
  kind: z.literal("site"),
  format: z.literal(1),
  name: shortName,
  country: z.string().regex(/^[A-Z]{2}$/, "two capital letters, such as LU"),
  operator: label,
  hazardZone: label,
  /** Where States reach it. */
  url: siteUrl,
  /** Its name as a witness. It stays when the address changes: cosignatures are by it. */
  witness: keyName,
  /** For States: TLS. */
  listen: listener,
  /** For whoever watches ledgers, and for bailiffs: plain HTTP; absent for none. */
  monitor: listener.optional(),
  /** For the operator: metrics and health. Not for the world. */
  admin: listener,
  storage: z.discriminatedUnion("kind", [
    /** In `states/` of the site's folder. */
    z.strictObject({ kind: z.literal("directory") }),
    /** The file that says how the engine is reached. */
    z.strictObject({ kind: z.literal("s3"), file: path }),
  ]),
  notice,
  alarms: alarms.default({}),
  /** Other sites that are told of vetoes and freezes which came here. */
  peers: z.array(peer).max(PEERS_MAX).default([]),
  /** The packed program that the site hands out. */
  program: path.optional(),
});
export type SiteSettings = Readonly<z.infer<typeof settingsSchema>>;

/** What the operator is asked, and what follows from the answers. */
export type NewSiteSettings = {
  readonly name: string;
  readonly country: string;
  readonly operator: string;
  readonly hazardZone: string;
  readonly url: string;
  readonly listen: Listener;
  readonly monitor?: Listener | undefined;
  readonly admin: Listener;
  readonly storage: SiteSettings["storage"];
};
export type Listener = SiteSettings["listen"];

/** The settings of a new site. Throws `usage` for what no site can be. */
export function newSettings(from: NewSiteSettings): SiteSettings {
  const { monitor, ...rest } = from;
  const settings: SiteSettings = {
    kind: "site",
    format: 1,
    ...rest,
    witness: `${URL.canParse(from.url) ? new URL(from.url).host : ""}/witness`,
    ...(monitor ? { monitor } : {}),
    notice: {
      owner:
        "What is stored on this machine belongs to the States that it is stored for. It is encrypted, and nobody here can read it.",
      contact: from.operator,
    },
    alarms: {},
    peers: [],
  };
  return parseEdited("the site's settings", jsonText(settings), settingsSchema);
}

/** Keeps the settings of a new site; false when there are some already. */
export async function writeSettings(folder: string, settings: SiteSettings): Promise<boolean> {
  return writeNewFileIn(settingsFile(folder), jsonText(settings));
}

/**
 * The settings of the site in a folder; paths in them are taken from there. Throws `usage` when there are none, or they
 * have something in them that is unknown or cannot be.
 */
export async function readSettings(folder: string): Promise<SiteSettings> {
  const settings = await findSettings(folder);
  if (settings) return settings;
  throw new ExclaveError(
    "usage",
    `${resolve(folder)} is no site: there is no ${SETTINGS_FILE}. Make one with \`exclave site init\`, or give --folder or EXCLAVE_SITE`,
  );
}

/** The same, or undefined where no site is. */
export async function findSettings(folder: string): Promise<SiteSettings | undefined> {
  const file = settingsFile(folder);
  const bytes = await readBounded(file);
  if (!bytes) return undefined;
  const settings = parseEdited(file, bytes, settingsSchema);
  const from = (given: string): string =>
    isAbsolute(given) ? given : join(resolve(folder), given);
  const { storage, program } = settings;
  return {
    ...settings,
    storage: storage.kind === "s3" ? { ...storage, file: from(storage.file) } : storage,
    ...(program === undefined ? {} : { program: from(program) }),
  };
}

/**
 * Names another site to pass objections on to, in the place of one of the same name. Returns the names of all of
 * them. Throws `usage` when there are too many, and as `readSettings` does.
 */
export async function addPeer(folder: string, added: Peer): Promise<readonly string[]> {
  const { peers } = await changeSettings(folder, (settings) => ({
    ...settings,
    peers: [...settings.peers.filter(({ name }) => name !== added.name), added],
  }));
  return peers.map(({ name }) => name);
}

/** Names the packed program that the site hands out; a path from the site's folder. */
export async function nameProgram(folder: string, file: string): Promise<void> {
  await changeSettings(folder, (settings) => ({ ...settings, program: file }));
}

async function changeSettings(
  folder: string,
  change: (settings: SiteSettings) => SiteSettings,
): Promise<SiteSettings> {
  const file = settingsFile(folder);
  const bytes = await readBounded(file);
  // Paths stay as they were written.
  const settings = bytes ? parseEdited(file, bytes, settingsSchema) : await readSettings(folder);
  const changed = parseEdited(file, jsonText(change(settings)), settingsSchema);
  await writeFileIn(file, jsonText(changed));
  return changed;
}

export function identityOfSite(settings: SiteSettings): SiteIdentity {
  const { name, country, operator, hazardZone } = settings;
  return { name, country, operator, hazardZone };
}

function settingsFile(folder: string): string {
  return join(folder, SETTINGS_FILE);
}
