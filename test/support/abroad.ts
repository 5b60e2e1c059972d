/** Sites that enforce, as they are in life: `exclave site serve`, a process each, of a State that knows them by card. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  cpSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";
import type { PublicSigningKey } from "../../src/crypto/signing.ts";
import { openSiteCard } from "../../src/sites/site-card.ts";
import { good, run } from "./cli.ts";
import { temporaryFolder } from "./places.ts";
import { freePort } from "./ports.ts";
import { TestState } from "./state.ts";

const BIN = join(import.meta.dirname, "../../bin/exclave");
const DAY_MS = 86_400_000;
export const ABROAD: readonly string[] = ["lu", "ee", "ca"];

/** One site: its folder, its process when it runs, and what an operator does there. */
export class SiteProcess {
  readonly name: string;
  readonly folder: string;
  readonly url: string;
  readonly port: number;
  #child: ChildProcess | undefined;

  constructor(name: string, folder: string, port: number) {
    this.name = name;
    this.folder = folder;
    this.port = port;
    this.url = `https://127.0.0.1:${port}`;
  }

  /** Made by flags in a folder of the test; its process is gone after it. */
  static async init(
    t: TestContext,
    name: string,
    folder: string,
    ...flags: readonly string[]
  ): Promise<SiteProcess> {
    const site = new SiteProcess(name, folder, await freePort());
    const country = name.slice(0, 2).toUpperCase();
    await site.exclave(
      "init",
      "--name",
      name,
      "--country",
      country,
      "--operator",
      `State ${name}`,
      "--url",
      site.url,
      "--listen",
      `127.0.0.1:${site.port}`,
      "--admin",
      "127.0.0.1:0",
      ...flags,
    );
    t.after(() => site.end("SIGKILL"));
    return site;
  }

  get card(): string {
    return join(this.folder, `${this.name}.card.json`);
  }

  get key(): PublicSigningKey {
    return openSiteCard(readFileSync(this.card)).key;
  }

  get log(): string {
    const file = join(this.folder, "log.jsonl");
    return existsSync(file) ? readFileSync(file, "utf8") : "";
  }

  /** Runs `exclave site …` in its folder; it must end well. */
  async exclave<Report>(...args: readonly string[]): Promise<Report> {
    return good(await run<Report>(this.folder, ["site", ...args, "--folder", this.folder]));
  }

  /** Resolves when it serves. */
  async serve(): Promise<void> {
    const log = openSync(join(this.folder, "log.jsonl"), "a");
    const args = [BIN, "site", "serve", "--folder", this.folder, "--json"];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", log] });
    closeSync(log);
    this.#child = child;
    assert.ok(child.stdout);
    for await (const line of createInterface({ input: child.stdout })) {
      assert.ok(line.includes('"ready":true'), line);
      return;
    }
    assert.fail(`site ${this.name} does not start: ${this.log.slice(-2000)}`);
  }

  /** As a power cut does it, or as its operator. */
  async end(signal: "SIGKILL" | "SIGTERM" = "SIGKILL"): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill(signal);
    await ended;
  }

  /** Changes the grant of a State, as the operator does with an editor; a site that runs takes it up. */
  grantsOtherwise(state: string, changes: Readonly<Record<string, unknown>>): void {
    const file = join(this.folder, "grants", `${state}.json`);
    writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), ...changes }));
  }

  /** What it stores of a kind for a State, by the object's name, as paths of files. */
  stored(state: string, kind: string): ReadonlyMap<string, string> {
    const top = join(this.folder, "states", state, "objects", kind);
    if (!existsSync(top)) return new Map();
    return new Map(
      readdirSync(top, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => [entry.name, join(entry.parentPath, entry.name)]),
    );
  }
}

export type Abroad = {
  readonly state: TestState;
  /** The State's id. */
  readonly id: string;
  readonly sites: readonly SiteProcess[];
  readonly site: (name: string) => SiteProcess;
};

/** States that were founded, by what they are made of. */
const TEMPLATES = new Map<string, Promise<Abroad>>();
const TEMPLATE_FOLDERS: string[] = [];

function templateFolder(): string {
  if (TEMPLATE_FOLDERS.length === 0) {
    process.once("exit", () => {
      for (const folder of TEMPLATE_FOLDERS) rmSync(folder, { recursive: true, force: true });
    });
  }
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "exclave-template-")));
  TEMPLATE_FOLDERS.push(folder);
  return folder;
}

/**
 * A trial State whose sites all enforce, with a register `docs` of the folder `data`, of which any two bring it back.
 * Its sites serve until the test is over.
 */
export async function foundAbroad(
  t: TestContext,
  {
    names = ABROAD,
    serving = true,
  }: { readonly names?: readonly string[]; serving?: boolean } = {},
): Promise<Abroad> {
  const key = names.join();
  const made = TEMPLATES.get(key) ?? makeAbroad(t, names);
  TEMPLATES.set(key, made);
  const { state: template, id, sites: templates } = await made;
  const state = new TestState(temporaryFolder(t), []);
  cpSync(template.folder, state.folder, { recursive: true });
  const config = state.path("home", "config.json");
  let text = readFileSync(config, "utf8").replaceAll(template.folder, state.folder);
  const sites: SiteProcess[] = [];
  for (const one of templates) {
    // Each copy at ports of its own: the address is the operator's word, and the key is the site.
    const site = new SiteProcess(one.name, state.path(`site-${one.name}`), await freePort());
    const settings = join(site.folder, "site.json");
    const { listen, ...kept } = JSON.parse(readFileSync(settings, "utf8")) as {
      readonly listen: object;
    };
    const moved = { ...kept, url: site.url, listen: { ...listen, port: site.port } };
    writeFileSync(settings, JSON.stringify(moved));
    text = text.replaceAll(one.url, site.url);
    t.after(() => site.end("SIGKILL"));
    sites.push(site);
  }
  writeFileSync(config, text);
  if (serving) await Promise.all(sites.map((site) => site.serve()));
  const site = (name: string): SiteProcess => {
    const found = sites.find((one) => one.name === name);
    assert.ok(found, `there is a site ${name}`);
    return found;
  };
  return { state, id, sites, site };
}

async function makeAbroad(t: TestContext, names: readonly string[]): Promise<Abroad> {
  const folder = templateFolder();
  const state = await TestState.found(t, { folder, sites: [], register: false });
  const request = state.path("request.json");
  const { state: id } = await state.good<{ readonly state: string }>(
    "site",
    "request",
    "--out",
    request,
    "--quota",
    "1GB",
  );
  const sites: SiteProcess[] = [];
  for (const name of names) {
    const site = await SiteProcess.init(t, name, state.path(`site-${name}`));
    await site.exclave("grant", request, "--yes");
    await site.serve();
    await state.good("site", "add", "--card", site.card);
    sites.push(site);
  }
  await state.addRegister(undefined, names, 2);
  await Promise.all(sites.map((site) => site.end("SIGTERM")));
  return { state, id, sites, site: () => assert.fail("a template is copied") };
}

/** From now on every command and every site that is started has a clock that is so many days ahead. */
export function clockAhead(t: TestContext, days: number): void {
  const before = process.env.NODE_OPTIONS;
  const script = `const R=Date,s=${days * DAY_MS};globalThis.Date=class Date extends R{constructor(...a){a.length?super(...a):super(R.now()+s)}static now(){return R.now()+s}}`;
  process.env.NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(script)}`;
  t.after(() => {
    if (before === undefined) delete process.env.NODE_OPTIONS;
    else process.env.NODE_OPTIONS = before;
  });
}
