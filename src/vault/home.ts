/**
 * Home: what a State keeps in `$EXCLAVE_HOME`.
 *
 *   config.json        where its sites are, what its registers are made of
 *   documents/         what the charter follows from: charters, decisions, vetoes … as the ledger names them
 *   ledger/N.sqlite    the ledger, one file a generation
 *   annex/             who people are and what registers are called, sealed to the recovery key
 *   custody/           how receipts of key holders are told, one file a share set
 *   witness-doubts.json  what witnesses said against the ledger and did not show
 *   keys/agent.json    the seed of this home's agent (secret)
 *   keys/ledger.json   the seed that signs the ledger's checkpoints (secret)
 *   keys/seat.json     in a trial: the seed of its one seat (secret)
 *   keys/epoch/…       the keys of the epochs it may read and write (secret)
 *   catalog.sqlite     a cache, rebuilt from the sites by `exclave rebuild`
 *   cache/             entry streams and index segments, likewise
 */
import { existsSync, readFileSync } from "node:fs";
import { mkdir, open, readdir, readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import type { Charter } from "../charter/charter.ts";
import { fromHex, toHex } from "../crypto/bytes.ts";
import { type SigningKey, signingKeyFromSeed } from "../crypto/signing.ts";
import { parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError } from "../errors.ts";
import { GOVERNING_KINDS, RECORD_KINDS } from "../ledger/entry.ts";
import { Log } from "../ledger/log.ts";
import { logKeyFromSeed } from "../ledger/log-key.ts";
import { syncDirectory, writeDurably } from "../sites/durable.ts";
import type { SiteIdentity } from "../sites/site.ts";
import { PARTS_MAX, type StoredDocument, shortName } from "./documents.ts";
import {
  type DocumentId,
  type EpochContext,
  parseId,
  type RegisterId,
  type StateId,
} from "./identifiers.ts";
import {
  type Generation,
  hadCheckpoint,
  type KnownState,
  knowState,
  type LedgerDocumentKind,
  ledgerKeysOf,
} from "./known-state.ts";
import { lockConfig } from "./lock.ts";

const name = shortName;
const CONFIG_BYTES_MAX = 16 * 1024 * 1024;

const siteSchema = z.strictObject({
  name,
  country: z.string().regex(/^[A-Z]{2}$/),
  operator: z.string().min(1).max(200),
  hazardZone: z.string().min(1).max(200),
  /** Its address: `site-address.ts`. */
  at: z.string().min(1).max(4096),
  /** Of one that enforces: the key that it is admitted with. Once it is, the charter says so too. */
  signing: z.string().max(16_384).optional(),
  /** How much of the link it may take, and when: `bandwidth.ts` reads it. */
  bandwidth: z.string().max(200).optional(),
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
  /** How the open epoch began; absent before the first protect. */
  begun: z
    .strictObject({
      time: z.iso.datetime(),
      /** The recovery key that its key is wrapped to: SHA-256 of the KEM key. */
      recipient: z.string().regex(/^[0-9a-f]{64}$/),
      /** Decisions so far that a new epoch of this register begins. */
      rotations: z.int().min(0),
    })
    .optional(),
});
export type RegisterConfig = z.infer<typeof registerSchema>;

/** What is sealed about a register: in the charter stands its SHA-256 alone. */
export const registerDetailsSchema = z.strictObject({
  kind: z.literal("register-details"),
  format: z.literal(1),
  id: z.string().regex(/^[0-9a-f]{32}$/),
  name,
  owner: z.string().min(1).max(200).optional(),
  legalBasis: z.string().min(1).max(1000).optional(),
  /** How much of it, and how long, the State could bear to be without. */
  recoveryPointSeconds: z.int().min(1).optional(),
  recoveryTimeSeconds: z.int().min(1).optional(),
  random: z.string().regex(/^[0-9a-f]{32}$/),
});
export type RegisterDetails = z.infer<typeof registerDetailsSchema>;

const ledgerSchema = z.strictObject({
  /** Verifier keys of the generation, Ed25519 first. */
  keys: z.array(z.string().max(4096)).length(2),
  /** The size at which the next generation closed it. */
  closedAt: z.int().min(1).optional(),
});

const configSchema = z.strictObject({
  format: z.literal(2),
  state: z.string().regex(/^[0-9a-f]{64}$/),
  /** The generations of the ledger, the first one first; the last is open. */
  ledgers: z.array(ledgerSchema).min(1).max(1024),
  /** Every register that the State knows of, protected or not. */
  inventory: z.array(registerDetailsSchema).max(1024),
  sites: z.array(siteSchema).max(32),
  registers: z.array(registerSchema).max(1024),
});
export type HomeConfig = z.infer<typeof configSchema>;

export class Home {
  readonly path: string;
  readonly state: StateId;
  readonly agent: SigningKey;
  /** In a trial: the one seat's key, which is kept here. */
  readonly seat: SigningKey | undefined;
  #known: KnownState;
  #config: HomeConfig;

  private constructor(
    path: string,
    config: HomeConfig,
    known: KnownState,
    keys: { readonly agent: SigningKey; readonly seat: SigningKey | undefined },
  ) {
    this.path = path;
    this.state = known.id;
    this.agent = keys.agent;
    this.seat = keys.seat;
    this.#known = known;
    this.#config = config;
  }

  get config(): HomeConfig {
    return this.#config;
  }

  /** The State, as the ledger at home says. */
  get known(): KnownState {
    return this.#known;
  }

  /** The charter in force. */
  get charter(): Charter {
    return this.#known.charter;
  }

  /** The term in which this home writes. Throws `untrusted` when its agent is no longer the one who does. */
  get term(): number {
    const agent = this.#known.agents.get(this.agent.id);
    if (agent === undefined || agent.term !== this.charter.term) {
      throw new ExclaveError(
        "untrusted",
        "this home has been superseded: the State writes from another one now. What it holds can still be restored",
      );
    }
    if (agent.suspectFrom) {
      throw new ExclaveError(
        "untrusted",
        `this home's agent was revoked: what it writes has not counted since ${agent.suspectFrom.toISOString()}. Nothing was written`,
      );
    }
    return agent.term;
  }

  get catalogPath(): string {
    return join(this.path, "catalog.sqlite");
  }

  get cachePath(): string {
    return join(this.path, "cache");
  }

  /** Opens the home of a State. Throws `no-home` when there is none. */
  static async open(path: string): Promise<Home> {
    const config = readConfig(path);
    const known = replayHome(path, config);
    const seat = await readOptional(join(path, SEAT_KEY));
    return new Home(path, config, known, {
      agent: signingKeyFromSeed(await readSecret(join(path, AGENT_KEY))),
      seat: seat && signingKeyFromSeed(await readSecret(join(path, SEAT_KEY))),
    });
  }

  /**
   * Makes a home where `prepareHome` made room, and the ledger and documents are already. Last comes
   * config.json: without it there is no home, so a crash before leaves nothing half-founded.
   */
  static async create(
    path: string,
    initial: {
      readonly config: HomeConfig;
      readonly agentSeed: Uint8Array;
      readonly ledgerSeed: Uint8Array;
      readonly seatSeed?: Uint8Array;
    },
  ): Promise<Home> {
    await refuseExistingHome(path);
    await writeSecret(path, AGENT_KEY, initial.agentSeed);
    await writeSecret(path, LEDGER_KEY, initial.ledgerSeed);
    if (initial.seatSeed) await writeSecret(path, SEAT_KEY, initial.seatSeed);
    await writeIn(path, "config.json", encodeConfig(initial.config));
    await syncDirectory(dirname(path));
    return Home.open(path);
  }

  /** Puts another agent's key in the place of this home's, which is forgotten. */
  async replaceAgent(seed: Uint8Array): Promise<void> {
    await writeSecret(this.path, AGENT_KEY, seed);
  }

  /** Runs `work` with the open generation of the ledger, ready to append and sign. */
  async withLedger<T>(work: (log: Log) => T | Promise<T>): Promise<T> {
    const { ledgers } = this.#config;
    const keys = ledgerKeysOf(ledgers.at(-1) ?? { keys: [] });
    const signer = logKeyFromSeed(await readSecret(join(this.path, LEDGER_KEY)), keys[0].name);
    const log = Log.open(ledgerFile(this.path, ledgers.length), keys, signer);
    try {
      return await work(log);
    } finally {
      log.close();
    }
  }

  /** Runs `work` with every generation of the ledger, to read from. */
  async withGenerations<T>(
    work: (generations: readonly Generation[]) => T | Promise<T>,
  ): Promise<T> {
    const generations = openGenerations(this.path, this.#config);
    try {
      return await work(generations);
    } finally {
      for (const { log } of generations) log.close();
    }
  }

  /** Keeps a document that the ledger is to name; before it does. */
  async saveDocument(kind: LedgerDocumentKind, id: string, bytes: Uint8Array): Promise<void> {
    await saveDocument(this.path, kind, id, bytes);
  }

  /** A document that the ledger names. Throws `altered` when it is not here. */
  document(kind: LedgerDocumentKind, id: string): Uint8Array {
    return readDocument(this.path, kind, id);
  }

  /** Keeps an annex, sealed as it is, until every site has it. */
  async saveAnnex({ id, bytes }: Pick<StoredDocument, "id" | "bytes">): Promise<void> {
    await saveAnnex(this.path, id, bytes);
  }

  /** The annexes, sealed, with their names. */
  async annexes(): Promise<readonly Pick<StoredDocument, "id" | "bytes">[]> {
    const files = (await readdir(join(this.path, "annex"))).filter((file) =>
      file.endsWith(".json"),
    );
    return Promise.all(
      files.map(async (file) => ({
        id: parseId("DocumentId", file.slice(0, -".json".length)),
        bytes: await readFile(join(this.path, "annex", file)),
      })),
    );
  }

  /** Keeps how the receipts of a share set's holders are told. */
  async saveCustody(setId: string, bytes: Uint8Array): Promise<void> {
    await writeIn(this.path, join("custody", `${setId}.json`), bytes);
  }

  /** Ids of the share sets that home knows the holders of. */
  async custodySets(): Promise<readonly string[]> {
    const files = await readdir(join(this.path, "custody"));
    return files
      .filter((file) => file.endsWith(".json"))
      .map((file) => file.slice(0, -".json".length));
  }

  /** The same, as it was kept; undefined when there is none. */
  async custody(setId: string): Promise<Uint8Array | undefined> {
    return readOptional(join(this.path, "custody", `${setId}.json`));
  }

  /** Reads configuration and ledger again, after something came into them, here or by another process. */
  refresh(): void {
    this.#config = readConfig(this.path);
    this.#known = replayHome(this.path, this.#config);
  }

  /**
   * Changes the configuration as it is on disk by now: what another process added since this one read it stays.
   * Throws `busy` when another one never ends with changing it.
   */
  async changeConfig(change: (config: HomeConfig) => HomeConfig): Promise<void> {
    const unlock = lockConfig(this.path);
    try {
      const parsed = configSchema.safeParse(change(readConfig(this.path)));
      if (!parsed.success) {
        const [issue] = parsed.error.issues;
        throw new ExclaveError(
          "usage",
          `this cannot be configured (${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}). Nothing was changed`,
          { cause: parsed.error },
        );
      }
      await writeIn(this.path, "config.json", encodeConfig(parsed.data));
      this.#config = parsed.data;
    } finally {
      unlock();
    }
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
    await this.changeConfig((config) => {
      const others = config.registers.filter(({ name: other }) => other !== register.name);
      return { ...config, registers: [...others, register] };
    });
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

  /** Epochs of a register whose keys this home has, the oldest first. */
  async epochsWithKey(register: RegisterId): Promise<readonly number[]> {
    const files = await readdir(join(this.path, "keys", "epoch"));
    return files
      .filter((file) => file.startsWith(`${register}-`) && file.endsWith(".json"))
      .map((file) => Number(file.slice(register.length + 1, -".json".length)))
      .toSorted((a, b) => a - b);
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

const AGENT_KEY = join("keys", "agent.json");
const LEDGER_KEY = join("keys", "ledger.json");
const SEAT_KEY = join("keys", "seat.json");

const FOLDERS = [
  "",
  "annex",
  "cache",
  "custody",
  "documents",
  "keys",
  "keys/epoch",
  "ledger",
  "locks",
  "tmp",
];

/** Makes the folders of a home. Throws `home-exists` when a State lives there. */
export async function prepareHome(path: string): Promise<void> {
  await refuseExistingHome(path);
  for (const folder of FOLDERS) {
    await mkdir(join(path, folder), { recursive: true, mode: 0o700 });
  }
}

/** The file of one generation of the ledger, 1 first. */
export function ledgerFile(home: string, generation: number): string {
  return join(home, "ledger", `${generation}.sqlite`);
}

export async function saveDocument(
  home: string,
  kind: LedgerDocumentKind,
  id: string,
  bytes: Uint8Array,
): Promise<void> {
  await writeIn(home, documentFile(kind, id), bytes);
}

export async function saveAnnex(home: string, id: DocumentId, bytes: Uint8Array): Promise<void> {
  await writeIn(home, join("annex", `${id}.json`), bytes);
}

export function readDocument(home: string, kind: LedgerDocumentKind, id: string): Uint8Array {
  try {
    return readFileSync(join(home, documentFile(kind, id)));
  } catch (cause) {
    throw new ExclaveError(
      "altered",
      `home is damaged: its ledger names ${kind} ${id}, which is not there. \`exclave rebuild\` fetches it from the sites`,
      { cause },
    );
  }
}

function documentFile(kind: LedgerDocumentKind, id: string): string {
  return join("documents", `${kind}-${id}.json`);
}

/** What is configured, as it is on disk. Throws `no-home` when nothing is. */
function readConfig(path: string): HomeConfig {
  const file = join(path, "config.json");
  let text: Uint8Array;
  try {
    text = readFileSync(file);
  } catch (cause) {
    if (!isNotThere(cause)) throw cause;
    throw new ExclaveError(
      "no-home",
      `${path} is not the home of a State. Set EXCLAVE_HOME, begin with \`exclave found\`, or get a lost home back with \`exclave recover\``,
      { cause },
    );
  }
  const parsed = configSchema.safeParse(parseStrictJson(text, { bytesMax: CONFIG_BYTES_MAX }));
  if (parsed.success) return parsed.data;
  throw new ExclaveError("malformed", `${file} is damaged`, { cause: parsed.error });
}

/** A document that the ledger names and home has lost. */
export type MissingDocument = { readonly kind: LedgerDocumentKind; readonly id: string };

/**
 * What a home that does not open lacks, and where its sites are: for `rebuild`, which fetches it. A run that was
 * cut short while home caught up leaves it so.
 */
export async function missingDocuments(path: string): Promise<{
  readonly state: string;
  readonly missing: readonly MissingDocument[];
  readonly sites: readonly SiteConfig[];
}> {
  const config = readConfig(path);
  const generations = openGenerations(path, config);
  try {
    const missing = generations.flatMap(({ log, closedAt }) =>
      [...log.entriesOf([...GOVERNING_KINDS, ...RECORD_KINDS])]
        .filter(({ position }) => position < (closedAt ?? Number.POSITIVE_INFINITY))
        .map(({ kind, envelope }) => ({ kind: kind as LedgerDocumentKind, id: envelope }))
        .filter(({ kind, id }) => !existsSync(join(path, documentFile(kind, id)))),
    );
    return { state: config.state, missing, sites: config.sites };
  } finally {
    for (const { log } of generations) log.close();
  }
}

function replayHome(path: string, config: HomeConfig): KnownState {
  const generations = openGenerations(path, config);
  try {
    const founding = readDocument(path, "charter", config.state);
    const known = knowState(
      founding,
      generations,
      (kind, id) => readDocument(path, kind, id),
      new Date(),
    );
    if (known.id !== config.state) {
      throw new ExclaveError("foreign-state", "the charter in this home belongs to another State");
    }
    if (known.charter.ledger.keys.join() !== config.ledgers.at(-1)?.keys.join()) {
      throw new ExclaveError(
        "altered",
        "home is damaged: its ledger is not the one that the charter names. Nothing was changed; get home back with `exclave recover`",
      );
    }
    // The files are closed when somebody asks again.
    const had: KnownState["history"]["hadCheckpoint"] = (checkpoint) => {
      const reopened = openGenerations(path, config);
      try {
        return hadCheckpoint(reopened, checkpoint);
      } finally {
        for (const { log } of reopened) log.close();
      }
    };
    return { ...known, history: { ...known.history, hadCheckpoint: had } };
  } finally {
    for (const { log } of generations) log.close();
  }
}

function openGenerations(path: string, { ledgers }: HomeConfig): readonly Generation[] {
  const opened: Generation[] = [];
  try {
    for (const [i, { keys, closedAt }] of ledgers.entries()) {
      const log = Log.open(ledgerFile(path, i + 1), ledgerKeysOf({ keys }));
      opened.push(closedAt === undefined ? { log } : { log, closedAt });
    }
    return opened;
  } catch (error) {
    for (const { log } of opened) log.close();
    throw error;
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
    if (!isNotThere(error)) throw error;
    return undefined;
  }
}

function isNotThere(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "");
}

function unknownName(
  what: string,
  wanted: string,
  known: readonly { readonly name: string }[],
): ExclaveError {
  const names = known.map(({ name: one }) => one).join(", ") || "none yet";
  return new ExclaveError("unknown-name", `there is no ${what} "${wanted}"; there are: ${names}`);
}
