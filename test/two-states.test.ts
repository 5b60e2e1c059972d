/** Two States that host each other: two daemons, one run by each, and both keep both States' registers, apart. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { pino } from "pino";
import { toBase64 } from "../src/crypto/bytes.ts";
import { isExclaveError } from "../src/errors.ts";
import { found } from "../src/governance/found.ts";
import { addRegister } from "../src/governance/registers.ts";
import { addSite } from "../src/governance/sites.ts";
import { protect } from "../src/registers/protect.ts";
import { homeAsSource, restore } from "../src/registers/restore.ts";
import { type RunningSite, startSite } from "../src/site-daemon/daemon.ts";
import { newGrant, readGrants, writeGrant } from "../src/site-daemon/grant.ts";
import { LIMITS, type Limits } from "../src/site-daemon/limits.ts";
import { initSite, type SiteFiles } from "../src/site-daemon/site-files.ts";
import { listPath, objectPath, statePath } from "../src/sites/wire.ts";
import { Catalog } from "../src/vault/catalog.ts";
import type { Home } from "../src/vault/home.ts";
import { temporaryFolder } from "./support/places.ts";
import { type RawAnswer, raw } from "./support/raw-request.ts";
import { noise } from "./support/vault.ts";

const NAMES = ["bz", "gd"] as const;
const QUOTA_BYTES = 2 ** 30;
const REGISTER = "land";

type Hosting = {
  readonly files: SiteFiles;
  readonly running: RunningSite;
  /** Lines of its log. */
  readonly log: readonly Readonly<Record<string, unknown>>[];
};

type State = {
  readonly home: Home;
  readonly data: string;
  protect(): Promise<void>;
  /** The newest recovery point, from the sites; the content of its one file. */
  restored(): Promise<Uint8Array>;
};

type World = { readonly sites: readonly Hosting[]; readonly states: readonly State[] };

async function startHosting(
  t: TestContext,
  folder: string,
  name: string,
  limits: Partial<Limits>,
): Promise<Hosting> {
  const free = { host: "127.0.0.1", port: 0 };
  const files = await initSite(folder, {
    name,
    country: name.toUpperCase(),
    operator: `the technicians of ${name}`,
    hazardZone: name,
    url: "https://site.example:8443",
    listen: free,
    admin: free,
    storage: { kind: "directory" },
  });
  const log: Readonly<Record<string, unknown>>[] = [];
  const destination = { write: (line: string) => void log.push(JSON.parse(line)) };
  const running = await startSite({
    folder,
    limits,
    log: pino({ base: null, level: "debug" }, destination),
    senders: [],
  });
  t.after(() => running.close());
  return { files, running, log };
}

async function foundState(folder: string, name: string, sites: readonly Hosting[]): Promise<State> {
  const home = await found({
    home: join(folder, "home"),
    stateName: name,
    passphrase: "of a test",
    recoveryKeyFile: join(folder, "recovery.age"),
    now: new Date(),
    workFactor: 10,
  });
  const contact = toBase64(home.agent.publicKey.bytes);
  for (const { files, running } of sites) {
    const granted = { state: home.state, name, contact, quotaBytes: QUOTA_BYTES };
    await writeGrant(files.folder, newGrant(granted));
    await running.reload();
    const { name: site, country, operator, hazardZone } = files.settings;
    const at = `https://127.0.0.1:${running.port}`;
    const signing = toBase64(files.keys.signing.publicKey.bytes);
    await addSite(home, { name: site, country, operator, hazardZone, at, signing }, new Date());
  }
  const data = join(folder, "data");
  mkdirSync(data);
  const part = {
    name: REGISTER,
    kind: "files" as const,
    path: data,
    excludes: [],
    oneFileSystem: false,
  };
  const terms = { name: REGISTER, parts: [part], sites: [...NAMES], k: 2, survive: 0 };
  await addRegister(home, terms, new Date());
  const withCatalog = async (work: (catalog: Catalog) => Promise<unknown>): Promise<void> => {
    const catalog = new Catalog(home.catalogPath, home.state);
    try {
      await work(catalog);
    } finally {
      catalog.close();
    }
  };
  let outputs = 0;
  return {
    home,
    data,
    protect: () =>
      withCatalog((catalog) =>
        protect({ home, catalog, register: REGISTER, now: new Date(), workers: 1 }),
      ),
    restored: async () => {
      const target = join(folder, `out-${outputs++}`);
      await withCatalog((catalog) =>
        restore({
          source: homeAsSource(home),
          catalog,
          register: REGISTER,
          choice: {},
          target,
          paths: [],
          overwrite: false,
          keepGoing: false,
          numericOwner: false,
          workers: 1,
        }),
      );
      const [file] = filesBelow(target);
      assert.ok(file);
      return readFileSync(file);
    },
  };
}

function filesBelow(folder: string): readonly string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

/** Two sites that serve both States, each with a file in its register. */
async function world(t: TestContext, limits: Partial<Limits> = {}): Promise<World> {
  const folder = temporaryFolder(t);
  const sites = await Promise.all(
    NAMES.map((name) => startHosting(t, join(folder, `site-${name}`), name, limits)),
  );
  const states: State[] = [];
  for (const [i, name] of ["Belize", "Grenada"].entries()) {
    mkdirSync(join(folder, name));
    const state = await foundState(join(folder, name), name, sites);
    writeFileSync(join(state.data, "titles"), noise(50_000, i));
    states.push(state);
  }
  return { sites, states };
}

function pairOf<T>([first, second]: readonly T[]): readonly [T, T] {
  assert.ok(first && second);
  return [first, second];
}

/** A request by a State's agent, for its own things or another State's. */
function ask(
  { files, running }: Hosting,
  by: Home,
  target: string,
  changes: { readonly method?: string; readonly body?: Uint8Array } = {},
): Promise<RawAnswer> {
  const { method = "GET", body } = changes;
  return raw({
    port: running.port,
    method,
    target,
    by: by.agent,
    site: files.keys.signing.id,
    ...(body ? { body } : {}),
  });
}

test("what each stores lies apart, and comes back; nothing of one is in what is kept for the other", async (t) => {
  const { sites, states } = await world(t);
  await Promise.all(states.map((state) => state.protect()));
  for (const [i, state] of states.entries()) {
    assert.deepEqual(new Uint8Array(await state.restored()), noise(50_000, i));
  }
  const [belize, grenada] = pairOf(states.map(({ home }) => home.state));
  for (const { files } of sites) {
    const [ofBelize, ofGrenada] = pairOf(
      [belize, grenada].map((state) => filesBelow(files.stateFolder(state))),
    );
    const objects = (paths: readonly string[]): readonly string[] =>
      paths.filter((path) => path.includes("/objects/")).map((path) => path.split("/").at(-1)!);
    const shared = objects(ofBelize).filter((name) => objects(ofGrenada).includes(name));
    // The directory's own document says in both that it is one, of which State.
    assert.deepEqual(shared, ["exclave-site.json"]);
    assert.ok(objects(ofBelize).length > 20 && objects(ofGrenada).length > 20);
    for (const path of ofBelize) assert.ok(!readFileSync(path).includes(grenada), path);
    for (const path of ofGrenada) assert.ok(!readFileSync(path).includes(belize), path);
  }
});

test("one's agent is to the other as somebody whom nobody knows, whatever it asks", async (t) => {
  const { sites, states } = await world(t);
  await Promise.all(states.map((state) => state.protect()));
  const [belize, grenada] = pairOf(states.map(({ home }) => home));
  for (const site of sites) {
    for (const [by, of] of [
      [belize, grenada],
      [grenada, belize],
    ] as const) {
      const own = await ask(site, of, listPath(of.state, "shard", undefined));
      const [shard] = own.body.toString().split("\n");
      assert.ok(own.status === 200 && shard, "there is something to see for who may");
      const theirs = objectPath(of.state, `shard/${shard}`);
      for (const target of [
        theirs,
        listPath(of.state, "shard", undefined),
        listPath(of.state, "wrap", undefined),
        `${statePath(of.state)}/status`,
      ]) {
        const { status, error } = await ask(site, by, target);
        assert.deepEqual([status, error], [401, "untrusted"], target);
      }
      const put = { method: "PUT", body: Buffer.from("mine") };
      assert.equal((await ask(site, by, theirs, put)).status, 401);
      // Under its own State's path what the other stores is not there.
      assert.equal((await ask(site, by, objectPath(by.state, `shard/${shard}`))).status, 404);
    }
    // What both are told of a State that is served nowhere differs in nothing.
    const nowhere = `${statePath("ab".repeat(32))}/status`;
    const answers = await Promise.all([belize, grenada].map((home) => ask(site, home, nowhere)));
    assert.deepEqual(
      answers.map(({ status }) => status),
      [404, 404],
    );
  }
});

test("one's quota is used up, and the other's stores on", async (t) => {
  const { sites, states } = await world(t);
  const [belize, grenada] = pairOf(states);
  await Promise.all(states.map((state) => state.protect()));
  for (const { files, running } of sites) {
    const grant = (await readGrants(files.folder)).grants.get(belize.home.state);
    assert.ok(grant);
    await writeGrant(files.folder, { ...grant, quotaBytes: 1000 });
    await running.reload();
  }
  for (const [i, { data }] of states.entries())
    writeFileSync(join(data, "titles"), noise(90_000, i + 2));
  await assert.rejects(belize.protect(), (error) => {
    assert.ok(isExclaveError(error));
    assert.match(error.message, /1000 bytes at this site are used up/);
    return true;
  });
  await grenada.protect();
  assert.deepEqual(new Uint8Array(await grenada.restored()), noise(90_000, 3));
  assert.deepEqual(new Uint8Array(await belize.restored()), noise(50_000, 0), "what was there, is");
});

test("one asks too much and is told to come back later, and the other is served meanwhile", async (t) => {
  const rate = { perSecond: 0.01, burst: 150 };
  const { sites, states } = await world(t, {
    requestsPerSecond: { ...LIMITS.requestsPerSecond, state: rate },
  });
  const [belize, grenada] = pairOf(states.map(({ home }) => home));
  const [site] = pairOf(sites);
  const status = ({ state }: Home): string => `${statePath(state)}/status`;
  const told = [];
  for (let i = 0; i <= rate.burst; i++) told.push((await ask(site, belize, status(belize))).status);
  assert.ok(told.includes(200));
  assert.equal(told.at(-1), 429);
  assert.equal((await ask(site, grenada, status(grenada))).status, 200);
});

test("no line of the log under one State's name has anything of the other in it", async (t) => {
  const { sites, states } = await world(t);
  await Promise.all(states.map((state) => state.protect()));
  const [belize, grenada] = pairOf(states.map(({ home }) => home));
  for (const { log } of sites) {
    for (const [own, other] of [
      [belize, grenada],
      [grenada, belize],
    ] as const) {
      const lines = log
        .filter(({ state }) => state === own.state)
        .map((one) => JSON.stringify(one));
      assert.ok(lines.length > 10);
      for (const line of lines) {
        assert.ok(!line.includes(other.state) && !line.includes(other.agent.id), line);
      }
    }
  }
});
