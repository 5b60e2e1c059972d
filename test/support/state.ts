/** A State for a test: founded, with sites and registers, in a temporary folder. */
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { watch } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { CheckReport } from "../../src/checks/check.ts";
import { found } from "../../src/governance/found.ts";
import { addSite } from "../../src/governance/sites.ts";
import type { ProtectReport } from "../../src/registers/protect.ts";
import type { RestoreReport } from "../../src/registers/restore.ts";
import { Home } from "../../src/vault/home.ts";
import { type Outcome, type RunOptions, run, shown } from "./cli.ts";
import { temporaryFolder } from "./places.ts";

/** Like what people choose; a test looks for it where it must not be. */
export const PASSPHRASE = "Saltfish-Hummingbird-47";
/** Opening a key file must not take a second in every story. */
const WORK_FACTOR = 10;
export const SITES: readonly string[] = ["bb", "kn", "lu", "ee", "ca"];

export type SnapshotsReport = {
  readonly snapshots: readonly {
    readonly id: string;
    readonly time: string;
    readonly sequence: number;
    readonly epoch: number;
    readonly term: number;
    readonly complete: boolean;
  }[];
};

export type RecoverReport = {
  readonly state: string;
  readonly sites: readonly string[];
  readonly term: number;
  readonly registers: readonly { readonly name: string; readonly recoveryPoints: number }[];
};

export type StatusReport = {
  readonly good: boolean;
  readonly needs: readonly string[];
  readonly debts: readonly { readonly site: string; readonly shards: number }[];
};

/** States that were founded, by what they are made of; and how many of them a test has. */
const TEMPLATES = new Map<string, Promise<TestState>>();
const FOUNDED = new WeakMap<TestContext, number>();
const TEMPLATE_FOLDERS: string[] = [];

function templateFolder(): string {
  if (TEMPLATE_FOLDERS.length === 0) {
    process.once("exit", () => {
      for (const folder of TEMPLATE_FOLDERS) rmSync(folder, { recursive: true, force: true });
    });
  }
  const folder = mkdtempSync(join(tmpdir(), "exclave-template-"));
  TEMPLATE_FOLDERS.push(folder);
  return folder;
}

export class TestState {
  readonly folder: string;
  readonly siteNames: readonly string[];
  home: string;

  constructor(folder: string, siteNames: readonly string[]) {
    this.folder = folder;
    this.siteNames = siteNames;
    this.home = this.path("home");
  }

  /** Founds a State with sites, and with a register `docs` of kind files at `data` unless told otherwise. */
  static async found(
    t: TestContext,
    options: {
      readonly folder?: string;
      readonly sites?: readonly string[];
      readonly threshold?: number;
      readonly register?: readonly string[] | false;
      /** Where each site is, when not in the folder. */
      readonly directories?: Readonly<Record<string, string>>;
      readonly home?: string;
    } = {},
  ): Promise<TestState> {
    const folder = options.folder ?? temporaryFolder(t);
    if (options.directories || options.home !== undefined || Array.isArray(options.register)) {
      return TestState.#make(folder, options);
    }
    // To found a State takes a second: tests have copies of one, and whoever wants another one has another one.
    const states = FOUNDED.get(t) ?? 0;
    FOUNDED.set(t, states + 1);
    const { sites = SITES, threshold = 3, register = true } = options;
    const key = JSON.stringify([states, sites, threshold, register]);
    let template = TEMPLATES.get(key);
    if (!template) {
      template = TestState.#make(templateFolder(), options);
      TEMPLATES.set(key, template);
    }
    const { folder: made } = await template;
    cpSync(made, folder, { recursive: true });
    const state = new TestState(folder, sites);
    const config = state.path("home", "config.json");
    writeFileSync(config, readFileSync(config, "utf8").replaceAll(made, folder));
    return state;
  }

  static async #make(
    folder: string,
    options: NonNullable<Parameters<typeof TestState.found>[1]>,
  ): Promise<TestState> {
    const { sites = SITES, threshold = 3 } = options;
    const state = new TestState(folder, sites);
    if (options.home !== undefined) state.home = options.home;
    writeFileSync(state.path("pw"), `${PASSPHRASE}\n`);
    mkdirSync(state.path("data"));
    const now = new Date();
    const home = await found({
      home: state.home,
      stateName: "Test State",
      passphrase: PASSPHRASE,
      recoveryKeyFile: state.path("recovery.age"),
      now,
      workFactor: WORK_FACTOR,
    });
    for (const name of sites) {
      const country = name.slice(0, 2).toUpperCase();
      const directory = options.directories?.[name] ?? state.path(name);
      await addSite(
        home,
        { name, country, operator: name, hazardZone: country, at: directory },
        now,
      );
    }
    const { register } = options;
    if (register !== false) await state.addRegister(register, sites, threshold);
    return state;
  }

  /** Adds a register, `docs` of the folder `data` unless other words say which, that any `threshold` sites bring back. */
  addRegister(
    words: readonly string[] | undefined,
    sites: readonly string[],
    threshold: number,
  ): Promise<unknown> {
    const docs = ["docs", "--kind", "files", "--path", this.path("data")];
    const place = ["--sites", sites.join(","), "--threshold", `${threshold}`];
    return this.good("register", "add", ...(words ?? docs), ...place);
  }

  path(...names: readonly string[]): string {
    return join(this.folder, ...names);
  }

  run<Report>(args: readonly string[], options: RunOptions = {}): Promise<Outcome<Report>> {
    return run<Report>(this.home, args, options);
  }

  /** Runs a command that must end well. */
  async good<Report>(...args: readonly string[]): Promise<Report> {
    const outcome = await this.run<Report>(args);
    if (outcome.code !== 0) throw new Error(`${args.join(" ")}: ${shown(outcome)}`);
    return outcome.report;
  }

  protect(...args: readonly string[]): Promise<Outcome<ProtectReport>> {
    return this.run(["protect", "docs", ...args]);
  }

  restore(to: string, ...args: readonly string[]): Promise<Outcome<RestoreReport>> {
    return this.run(["restore", "docs", "--to", this.path(to), ...args]);
  }

  check(...args: readonly string[]): Promise<Outcome<CheckReport>> {
    return this.run(["check", "docs", ...args]);
  }

  status(): Promise<StatusReport> {
    return this.good("status");
  }

  snapshots(): Promise<SnapshotsReport> {
    return this.good("snapshots", "docs");
  }

  /** Gets home back into `home`, from these sites. */
  async recover(
    home: string,
    sites: readonly string[],
    ...flags: readonly string[]
  ): Promise<Outcome<RecoverReport>> {
    this.home = this.path(home);
    return this.run([
      "recover",
      "--key",
      this.path("recovery.age"),
      "--passphrase-file",
      this.path("pw"),
      ...sites.flatMap((name) => ["--site", this.path(name)]),
      ...flags,
    ]);
  }

  /** Takes a site away, as a cut cable does; gives it back with `bringBack`. */
  takeAway(site: string): void {
    cpSync(this.path(site), this.path(`${site}.away`), { recursive: true });
    this.lose(site);
  }

  bringBack(site: string): void {
    cpSync(this.path(`${site}.away`), this.path(site), { recursive: true });
    rmSync(this.path(`${site}.away`), { recursive: true });
  }

  /** At once, also under who writes there just now: a folder that fills again while it is emptied stays. */
  lose(...names: readonly string[]): void {
    for (const name of names) {
      const gone = this.path(`${name}.gone`);
      renameSync(this.path(name), gone);
      rmSync(gone, { recursive: true, maxRetries: 20 });
    }
  }

  /** The files of a kind at a site. */
  objects(site: string, kind: string): readonly string[] {
    const top = this.path(site, kind);
    if (!existsSync(top)) return [];
    return readdirSync(top, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .sort();
  }

  /** Resolves when the first site has so many shards: a run that protects is at work then. */
  async shards(count: number): Promise<void> {
    const [site = ""] = this.siteNames;
    while (this.objects(site, "shard").length < count) {
      // Objects come in folders that may not be there yet, so their parent is watched, and each of them.
      const stop = new AbortController();
      const folders = [this.path(site, "shard"), this.path(site, "tmp")];
      const changes = folders.map(async (folder) => {
        for await (const _ of watch(folder, { signal: stop.signal })) return;
      });
      if (this.objects(site, "shard").length < count) await Promise.race(changes);
      stop.abort();
      await Promise.allSettled(changes);
    }
  }

  /** The files of a kind at all sites, as "site kind/name". */
  everyObject(kind: string): readonly string[] {
    return this.siteNames.flatMap((site) =>
      this.objects(site, kind).map((file) => `${site} ${kind}/${file.split("/").at(-1)}`),
    );
  }

  write(name: string, content: string | Uint8Array): void {
    writeFileSync(this.path("data", name), content);
  }

  read(...names: readonly string[]): Buffer {
    return readFileSync(this.path(...names));
  }

  /** Home, opened in this process. */
  openHome(): Promise<Home> {
    return Home.open(this.home);
  }
}
