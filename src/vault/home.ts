/**
 * Home: what a State keeps in `$EXCLAVE_HOME`.
 *
 *   config.json        the State, its sites and registers
 *   charter/N.json     the charters, signed by the recovery key
 *   keys/agent.json    the seed of this home's agent (secret)
 *   keys/epoch/…       the keys of the epochs it may read and write (secret)
 *   catalog.sqlite     a cache, rebuilt from the sites by `exclave rebuild`
 *   cache/             entry streams and index segments, likewise
 */
import { mkdir, open, readdir, readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { fromBase64, fromHex, toHex } from "../crypto/bytes.ts";
import { parseSigningPublicKey, type SigningKey, signingKeyFromSeed } from "../crypto/signing.ts";
import { parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError } from "../errors.ts";
import { writeDurably } from "../sites/durable.ts";
import type { SiteIdentity } from "../sites/site.ts";
import { type CharterChain, PARTS_MAX, shortName, verifyCharters } from "./documents.ts";
import { type EpochContext, parseId, type RegisterId, type StateId } from "./identifiers.ts";

const name = shortName;

const siteSchema = z.strictObject({
  name,
  country: z.string().regex(/^[A-Z]{2}$/),
  operator: z.string().min(1).max(200),
  hazardZone: z.string().min(1).max(200),
  directory: z.string().min(1),
});
/** A site as home knows it. */
export type SiteConfig = z.infer<typeof siteSchema>;

const partSchema = z.strictObject({
  name,
  kind: z.enum(["files", "stream"]),
  /** Absolute; "" for streams. */
  path: z.string(),
  excludes: z.array(z.string().max(4096)).max(1024),
  oneFileSystem: z.boolean(),
});
export type PartConfig = z.infer<typeof partSchema>;

const registerSchema = z.strictObject({
  name,
  id: z.string().regex(/^[0-9a-f]{32}$/),
  parts: z.array(partSchema).min(1).max(PARTS_MAX),
  /** In the order of the shards. */
  sites: z.array(name).min(1).max(32),
  k: z.int().min(1).max(32),
  /** Losses of sites that each recovery point survives from the moment it is committed. */
  survive: z.int().min(0).max(31),
  /** The open epoch; 0 before the first protect. */
  epoch: z.int().min(0),
});
export type RegisterConfig = z.infer<typeof registerSchema>;

const configSchema = z.strictObject({
  format: z.literal(1),
  state: z.string().regex(/^[0-9a-f]{64}$/),
  stateName: z.string(),
  /** The recovery key's public signing key, base64: what charters are judged by. */
  recovery: z.string(),
  sites: z.array(siteSchema).max(32),
  registers: z.array(registerSchema).max(1024),
});
export type HomeConfig = z.infer<typeof configSchema>;

export class Home {
  readonly path: string;
  readonly state: StateId;
  readonly agent: SigningKey;
  readonly charters: CharterChain;
  #config: HomeConfig;

  private constructor(path: string, config: HomeConfig, agent: SigningKey, charters: CharterChain) {
    this.path = path;
    this.state = parseId("StateId", config.state);
    this.agent = agent;
    this.charters = charters;
    this.#config = config;
  }

  get config(): HomeConfig {
    return this.#config;
  }

  /** The term in which this home writes. Throws `untrusted` when its agent is no longer the one who does. */
  get term(): number {
    const { current, agents } = this.charters;
    const term = agents.get(this.agent.id)?.term;
    if (term === undefined || term !== current.term) {
      throw new ExclaveError(
        "untrusted",
        "this home has been superseded: the State writes from another one now. What it holds can still be restored",
      );
    }
    return term;
  }

  get catalogPath(): string {
    return join(this.path, "catalog.sqlite");
  }

  get cachePath(): string {
    return join(this.path, "cache");
  }

  /** Opens the home of a State. Throws `no-home` when there is none. */
  static async open(path: string): Promise<Home> {
    const text = await readOptional(join(path, "config.json"));
    if (!text) {
      throw new ExclaveError(
        "no-home",
        `${path} is not the home of a State. Set EXCLAVE_HOME, begin with \`exclave found\`, or get a lost home back with \`exclave recover\``,
      );
    }
    const parsed = configSchema.safeParse(parseStrictJson(text, { bytesMax: 16 * 1024 * 1024 }));
    if (!parsed.success) {
      throw new ExclaveError("malformed", `${join(path, "config.json")} is damaged`, {
        cause: parsed.error,
      });
    }
    const config = parsed.data;
    const envelopes = await Promise.all(
      (await readdir(join(path, "charter"))).map((file) => readFile(join(path, "charter", file))),
    );
    const charters = verifyCharters(envelopes, parseSigningPublicKey(fromBase64(config.recovery)));
    if (charters.state !== config.state) {
      throw new ExclaveError("foreign-state", "the charter in this home belongs to another State");
    }
    const seed = await readSecret(join(path, "keys", "agent.json"));
    return new Home(path, config, signingKeyFromSeed(seed), charters);
  }

  /** Makes a home. Throws `home-exists` when there is one. */
  static async create(
    path: string,
    initial: {
      readonly config: HomeConfig;
      readonly charters: readonly Uint8Array[];
      readonly agentSeed: Uint8Array;
    },
  ): Promise<Home> {
    await refuseExistingHome(path);
    for (const folder of ["", "charter", "keys", "keys/epoch", "cache", "locks", "tmp"]) {
      await mkdir(join(path, folder), { recursive: true, mode: 0o700 });
    }
    for (const [i, charter] of initial.charters.entries()) {
      await writeIn(path, join("charter", `${i + 1}.json`), charter);
    }
    await writeSecret(path, join("keys", "agent.json"), initial.agentSeed);
    // Last: a home without config.json is none, so a crash before leaves nothing half-founded.
    await writeIn(path, "config.json", encodeConfig(initial.config));
    return Home.open(path);
  }

  async saveConfig(config: HomeConfig): Promise<void> {
    const parsed = configSchema.safeParse(config);
    if (!parsed.success) {
      const [issue] = parsed.error.issues;
      throw new ExclaveError(
        "usage",
        `this cannot be configured (${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}). Nothing was changed`,
        { cause: parsed.error },
      );
    }
    await writeIn(this.path, "config.json", encodeConfig(parsed.data));
    this.#config = config;
  }

  site(siteName: string): SiteConfig {
    const site = this.#config.sites.find((candidate) => candidate.name === siteName);
    if (!site) throw unknownName("site", siteName, this.#config.sites);
    return site;
  }

  register(registerName: string): RegisterConfig {
    const register = this.#config.registers.find((candidate) => candidate.name === registerName);
    if (!register) throw unknownName("register", registerName, this.#config.registers);
    return register;
  }

  async saveRegister(register: RegisterConfig): Promise<void> {
    const others = this.#config.registers.filter(({ name: other }) => other !== register.name);
    await this.saveConfig({ ...this.#config, registers: [...others, register] });
  }

  /** The context of a register's epoch. */
  context(register: RegisterConfig, epoch: number): EpochContext {
    return { state: this.state, register: parseId("RegisterId", register.id), epoch };
  }

  /** The key of an epoch, or undefined when this home has none. */
  async epochKey(register: RegisterId, epoch: number): Promise<Uint8Array | undefined> {
    const path = join(this.path, epochKeyFile(register, epoch));
    return (await readOptional(path)) ? readSecret(path) : undefined;
  }

  async saveEpochKey(register: RegisterId, epoch: number, key: Uint8Array): Promise<void> {
    await writeSecret(this.path, epochKeyFile(register, epoch), key);
  }

  /** Deletes what can be rebuilt. */
  async clearCaches(): Promise<void> {
    for (const suffix of ["", "-wal", "-shm"]) await rm(this.catalogPath + suffix, { force: true });
    await rm(this.cachePath, { recursive: true, force: true });
    await mkdir(this.cachePath, { mode: 0o700 });
  }
}

/** Throws `home-exists` when a State lives at this path. */
export async function refuseExistingHome(path: string): Promise<void> {
  if (await readOptional(join(path, "config.json"))) {
    throw new ExclaveError(
      "home-exists",
      `${path} is the home of a State already. Nothing was changed; choose another EXCLAVE_HOME`,
    );
  }
}

/** The identity of a site, as placement and roots need it. */
export function identityOf(site: SiteConfig): SiteIdentity {
  const { name: siteName, country, operator, hazardZone } = site;
  return { name: siteName, country, operator, hazardZone };
}

/** Sites that must have confirmed a write before it counts: w ≥ k + f. */
export function writeQuorum(register: Pick<RegisterConfig, "k" | "survive">): number {
  return register.k + register.survive;
}

function epochKeyFile(register: RegisterId, epoch: number): string {
  return join("keys", "epoch", `${register}-${epoch}.json`);
}

function encodeConfig(config: HomeConfig): Uint8Array {
  return Buffer.from(`${JSON.stringify(config, undefined, 2)}\n`);
}

async function writeIn(home: string, file: string, bytes: Uint8Array): Promise<void> {
  const temporary = join(home, "tmp", `${process.pid}-${file.replaceAll("/", "-")}`);
  await rm(temporary, { force: true });
  await writeDurably(join(home, file), temporary, [bytes]);
}

async function writeSecret(home: string, file: string, secret: Uint8Array): Promise<void> {
  await mkdir(dirname(join(home, file)), { recursive: true, mode: 0o700 });
  await writeIn(home, file, Buffer.from(`${JSON.stringify({ secret: toHex(secret) })}\n`));
}

const secretSchema = z.strictObject({ secret: z.string().regex(/^[0-9a-f]{64}$/) });

async function readSecret(path: string): Promise<Uint8Array> {
  const parsed = secretSchema.safeParse(parseStrictJson(await readFile(path)));
  if (!parsed.success) throw new ExclaveError("bad-key", `the key file ${path} is damaged`);
  return fromHex(parsed.data.secret, 32);
}

async function readOptional(path: string): Promise<Uint8Array | undefined> {
  try {
    const file = await open(path, "r");
    try {
      return await file.readFile();
    } finally {
      await file.close();
    }
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? ""))
      return undefined;
    throw error;
  }
}

function unknownName(
  what: string,
  wanted: string,
  known: readonly { readonly name: string }[],
): ExclaveError {
  const names = known.map(({ name: one }) => one).join(", ") || "none yet";
  return new ExclaveError("unknown-name", `there is no ${what} "${wanted}"; there are: ${names}`);
}
