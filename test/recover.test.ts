/** Home is lost: who gets it back, from what, and what the old one may still do. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { momentOf } from "../src/charter/charter.ts";
import type { Order } from "../src/charter/orders.ts";
import { toBase64 } from "../src/crypto/bytes.ts";
import { decide } from "../src/governance/decide.ts";
import { openAllSites, publish } from "../src/governance/ledger-at-sites.ts";
import { declareRegister } from "../src/governance/registers.ts";
import { recover } from "../src/registers/recover.ts";
import { firstEpochOf, signDocument } from "../src/vault/documents.ts";
import { folder, plainState } from "./support/attacks.ts";
import { failed, good } from "./support/cli.ts";
import { PLACES } from "./support/embassy.ts";
import { randomBytes } from "./support/random.ts";
import { startDaemon } from "./support/site-daemon.ts";
import { SITES, TestState } from "./support/state.ts";
import { assertSameTree, treeOf } from "./support/tree.ts";

/** A State with two recovery points. */
async function withHistory(t: TestContext): Promise<TestState> {
  const state = await TestState.found(t);
  state.write("first", randomBytes("first", 30_000));
  good(await state.protect());
  state.write("second", randomBytes("second", 30_000));
  good(await state.protect());
  return state;
}

async function assertRestores(state: TestState, to: string): Promise<void> {
  good(await state.restore(to));
  assertSameTree(treeOf(state.path(to)), treeOf(state.path("data")));
}

/** Puts an object at a site under the name that its bytes have. */
function plant(
  state: TestState,
  site: string,
  kind: string,
  bytes: Uint8Array,
  name?: string,
): string {
  const digest = name ?? createHash("sha256").update(bytes).digest("hex");
  mkdirSync(state.path(site, kind, digest.slice(0, 2)), { recursive: true });
  writeFileSync(state.path(site, kind, digest.slice(0, 2), digest), bytes);
  return digest;
}

describe("a home that was lost", () => {
  test("comes back from any k sites with every recovery point, in the next term", async (t) => {
    const state = await withHistory(t);
    const before = (await state.snapshots()).snapshots.map(({ id }) => id);
    state.lose("home", "bb", "lu");
    const report = good(await state.recover("new", ["ca", "kn", "ee"]));
    assert.deepEqual([report.term, [...report.sites].sort()], [2, ["ca", "ee", "kn"]]);
    assert.deepEqual(
      report.registers.map(({ name, recoveryPoints }) => `${name} ${recoveryPoints}`),
      ["docs 2"],
    );
    assert.deepEqual(
      (await state.snapshots()).snapshots.map(({ id }) => id),
      before,
    );
    await assertRestores(state, "out");
    assert.equal(good(await state.restore("old", "--snapshot", before[1] ?? "")).files, 1);
  });

  test("protects again while the write quorum has a place, though one site has none yet", async (t) => {
    const state = await withHistory(t);
    state.lose("home", "bb", "ca");
    good(await state.recover("new", ["kn", "lu", "ee"]));
    await state.good("site", "add", "bb", "--country", "bb", "--directory", state.path("bb-2"));
    const { failedSites } = good(await state.protect());
    assert.deepEqual(Object.keys(failedSites), ["ca"]);
  });

  test("protects again in a new epoch once new sites stand in for the lost ones", async (t) => {
    const state = await withHistory(t);
    state.lose("home", "bb", "ca");
    good(await state.recover("new", ["kn", "lu", "ee"]));
    assert.match(
      failed(await state.protect(), "write-quorum"),
      /home does not know where site "bb" is/,
    );
    for (const site of ["bb", "ca"]) {
      await state.good(
        "site",
        "add",
        site,
        "--country",
        site,
        "--directory",
        state.path(`${site}-2`),
      );
    }
    state.write("third", "third");
    const report = good(await state.protect());
    assert.ok(report.epoch > 1, "in an epoch of its own");
    assert.deepEqual([report.sequence, report.failedSites], [3, {}]);
    await assertRestores(state, "out");
    for (const { id } of (await state.snapshots()).snapshots) {
      good(await state.restore(id, "--snapshot", id));
    }
    // And it is lost once more, with other sites: both epochs come back.
    state.lose("new", "kn", "lu");
    cpSync(state.path("bb-2"), state.path("bb"), { recursive: true });
    cpSync(state.path("ca-2"), state.path("ca"), { recursive: true });
    good(await state.recover("newer", ["bb", "ee", "ca"]));
    await assertRestores(state, "again");
  });

  test("takes back sites that were only cut off, with all that they hold", async (t) => {
    const state = await withHistory(t);
    state.lose("home");
    good(await state.recover("new", ["kn", "lu", "ee"]));
    // The cable is mended: both are there, as they were.
    for (const site of ["bb", "ca"]) {
      await state.good("site", "add", site, "--country", site, "--directory", state.path(site));
    }
    assert.deepEqual(good(await state.protect()).failedSites, {});
    assert.equal(good(await state.check("--full")).good, true);
  });

  test("may not write any more when it turns up again; what it has can still be restored", async (t) => {
    const state = await withHistory(t);
    cpSync(state.home, state.path("old"), { recursive: true });
    state.lose("home");
    good(await state.recover("new", SITES));
    state.home = state.path("old");
    const objects = state.everyObject("statement");
    assert.match(failed(await state.protect(), "untrusted"), /superseded/);
    assert.deepEqual(state.everyObject("statement"), objects);
    await assertRestores(state, "from-old");
    state.home = state.path("new");
    good(await state.protect());
    // What the new home writes is signed in its term, which the old one does not know.
    state.home = state.path("old");
    failed(await state.protect(), "untrusted");
    state.home = state.path("new");
    assert.equal((await state.snapshots()).snapshots.length, 3);
  });

  test("is not overwritten while it is there, and no other directory is", async (t) => {
    const state = await withHistory(t);
    failed(await state.recover("home", SITES), "home-exists");
    mkdirSync(state.path("busy"));
    writeFileSync(state.path("busy", "thesis"), "precious");
    failed(await state.recover("busy", SITES), "usage", 2);
    assert.equal(state.read("busy", "thesis").toString(), "precious");
    state.home = state.path("home");
    good(await state.protect());
  });
});

describe("who may not have a home back", () => {
  /** Runs a recovery that must fail, and asserts that nothing came of it. */
  async function refused(
    state: TestState,
    attempt: () => ReturnType<TestState["recover"]>,
    code: Parameters<typeof failed>[1],
    exit?: number,
  ): Promise<string> {
    const charters = state.everyObject("charter");
    const message = failed(await attempt(), code, exit);
    assert.deepEqual(state.everyObject("charter"), charters, "no charter was published");
    assert.ok(!existsSync(join(state.home, "config.json")), "no home was made");
    return message;
  }

  test("who has a wrong passphrase", async (t) => {
    const state = await withHistory(t);
    state.lose("home");
    const right = readFileSync(state.path("pw"));
    writeFileSync(state.path("pw"), "Saltfish-Hummingbird-48\n");
    await refused(state, () => state.recover("new", SITES), "wrong-passphrase");
    writeFileSync(state.path("pw"), right);
    good(await state.recover("new", SITES));
  });

  test("who has a key file that is damaged, or none", async (t) => {
    const state = await withHistory(t);
    state.lose("home");
    const key = readFileSync(state.path("recovery.age"));
    for (const bytes of [key.subarray(0, key.length - 9), Buffer.from("no key"), Buffer.alloc(0)]) {
      writeFileSync(state.path("recovery.age"), bytes);
      await refused(state, () => state.recover("new", SITES), "bad-key");
    }
    rmSync(state.path("recovery.age"));
    await refused(state, () => state.recover("new", SITES), "usage", 2);
    writeFileSync(state.path("recovery.age"), key);
    good(await state.recover("new", SITES));
  });

  test("who has another State's key", async (t) => {
    const [state, other] = [await withHistory(t), await withHistory(t)];
    state.lose("home");
    const key = readFileSync(state.path("recovery.age"));
    cpSync(other.path("recovery.age"), state.path("recovery.age"));
    await refused(state, () => state.recover("new", SITES), "foreign-state");
    writeFileSync(state.path("recovery.age"), key);
    good(await state.recover("new", SITES));
  });

  test("who has fewer than k sites; with one more it works, under the same name", async (t) => {
    const state = await withHistory(t);
    state.lose("home");
    const charters = state.everyObject("charter");
    const outcome = await state.recover("new", ["kn", "lu"]);
    assert.notEqual(outcome.code, 0, "two of the three sites that are needed are not enough");
    assert.deepEqual(state.everyObject("charter"), charters, "no charter was published");
    const report = good(await state.recover("new", ["kn", "lu", "ee"]));
    assert.equal(report.registers.length, 1);
    await assertRestores(state, "out");
  });

  test("who names directories that are no sites", async (t) => {
    const state = await withHistory(t);
    state.lose("home");
    mkdirSync(state.path("nothing"));
    await refused(state, () => state.recover("new", ["nothing", "absent"]), "site-unavailable");
  });
});

describe("what sites plant", () => {
  test("another State's site among the given ones is named, not used and not written to", async (t) => {
    const [state, other] = [await withHistory(t), await withHistory(t)];
    state.lose("home");
    rmSync(state.path("ee"), { recursive: true });
    cpSync(other.path("ee"), state.path("ee"), { recursive: true, preserveTimestamps: true });
    const before = treeOf(state.path("ee"));
    const outcome = await state.recover("new", SITES);
    const report = good(outcome);
    assert.deepEqual([...report.sites].sort(), ["bb", "ca", "kn", "lu"]);
    assert.ok(outcome.notices.some((notice) => /belongs to another State/.test(notice)));
    await assertRestores(state, "out");
    assertSameTree(treeOf(state.path("ee")), before);
  });

  test("a site named twice counts once", async (t) => {
    const state = await withHistory(t);
    state.lose("home");
    const report = good(await state.recover("new", ["kn", "kn", "lu", "ee"]));
    assert.deepEqual([...report.sites].sort(), ["ee", "kn", "lu"]);
  });

  test("forged documents are ignored, and named", async (t) => {
    const [state, other] = [await withHistory(t), await withHistory(t)];
    const planted: string[] = [];
    for (const kind of ["annex", "statement", "wrap"]) {
      // Another State's, whole and well signed, by the wrong keys.
      const [theirs = ""] = other.objects("kn", kind);
      planted.push(`${kind}/${plant(state, "kn", kind, readFileSync(theirs))}`);
      // Ours, changed by a bit, under the name that it has then.
      const [ours = ""] = state.objects("kn", kind);
      const bent = readFileSync(ours);
      bent[bent.length >> 1] = (bent[bent.length >> 1] ?? 0) ^ 1;
      planted.push(`${kind}/${plant(state, "lu", kind, bent)}`);
      // Noise, and noise under a name that is not its own.
      planted.push(`${kind}/${plant(state, "ee", kind, randomBytes(kind, 2000))}`);
      planted.push(`${kind}/${plant(state, "kn", kind, randomBytes(kind, 100), "ab".repeat(32))}`);
      // Too large to be any document.
      planted.push(`${kind}/${plant(state, "ca", kind, new Uint8Array(2 * 1024 * 1024))}`);
    }
    planted.push(`succession/${plant(state, "kn", "succession", randomBytes("succession", 2000))}`);
    const protectedAgain = good(await state.protect());
    assert.equal(protectedAgain.sequence, 3);
    state.lose("home");
    const outcome = await state.recover("new", SITES);
    const report = good(outcome);
    assert.deepEqual(
      [report.term, report.registers.map(({ recoveryPoints }) => recoveryPoints)],
      [2, [3]],
    );
    await assertRestores(state, "out");
    const unnamed = planted.filter(
      (name) => !outcome.notices.some((notice) => notice.includes(name)),
    );
    assert.deepEqual(unnamed, []);
  });

  test("sites that hide the succession do not let the old home write, while one shows it", async (t) => {
    const state = await withHistory(t);
    cpSync(state.home, state.path("old"), { recursive: true });
    state.lose("home");
    good(await state.recover("new", SITES));
    for (const site of ["kn", "lu", "ee", "ca"]) {
      rmSync(state.path(site, "succession"), { recursive: true });
    }
    state.home = state.path("old");
    failed(await state.protect(), "untrusted");
  });
});

/** Has a State decide something at home, and tells the sites. */
async function decided(state: TestState, orders: readonly Order[]): Promise<void> {
  const home = await state.openHome();
  const grounds = { reason: "It was found out", citation: "Act 9 of 2026" };
  let carriesOut: string | undefined;
  for (const [i, order] of orders.entries()) {
    const at = new Date(Date.now() + i * 1000);
    const said = carriesOut === undefined ? grounds : { ...grounds, carriesOut };
    carriesOut = (await decide(home, order, said, at)).id;
  }
  await publish(home, await openAllSites(home));
}

describe("nothing of these keeps a State from coming back", () => {
  test("a site that puts statements into other envelopes", async (t) => {
    const state = await withHistory(t);
    for (const file of state.objects("kn", "statement")) {
      plant(state, "ca", "statement", Buffer.from(` ${readFileSync(file, "utf8")}`));
    }
    state.lose("home");
    const report = good(await state.recover("new", ["bb", "kn", "lu", "ee", "ca"]));
    assert.equal(report.registers[0]?.recoveryPoints, 2);
    await assertRestores(state, "out");
  });

  test("sites that pose as others, and have nothing", async (t) => {
    const state = await withHistory(t);
    for (const [thief, name] of [
      ["bb", "kn"],
      ["lu", "ee"],
    ] as const) {
      state.lose(thief);
      cpSync(state.path(name), state.path(thief), { recursive: true });
      for (const kind of ["shard", "statement", "wrap", "manifest", "ledger", "checkpoint"]) {
        rmSync(state.path(thief, kind), { recursive: true });
        mkdirSync(state.path(thief, kind));
      }
    }
    state.lose("home");
    good(await state.recover("new", SITES));
    await assertRestores(state, "out");
  });

  test("a register that was retired, and can still be restored", async (t) => {
    const state = await withHistory(t);
    const [register] = (await state.openHome()).charter.registers;
    const order = { kind: "retire-register", register: register?.id ?? "" } as const;
    await decided(state, [order, order]);
    assert.deepEqual((await state.openHome()).charter.registers, []);
    state.lose("home");
    good(await state.recover("new", ["kn", "lu", "ee"]));
    await assertRestores(state, "out");
    assert.match(failed(await state.protect(), "untrusted"), /was retired by decision/);
  });

  test("recovery points that a captured home claims, of a register that there is and of one that never was", async (t) => {
    const state = await withHistory(t);
    const home = await state.openHome();
    const claim = async (register: string): Promise<void> => {
      const statement = signDocument(
        {
          kind: "statement",
          format: 1,
          state: home.state,
          register,
          epoch: firstEpochOf(1),
          epochKeyId: "11".repeat(32),
          term: 1,
          sequence: 1,
          agent: home.agent.id,
          time: new Date().toISOString(),
          random: "22".repeat(16),
          root: { pack: "33".repeat(16), chunk: "44".repeat(32) },
          manifests: [],
        },
        [home.agent],
      );
      for (const site of SITES) plant(state, site, "statement", statement.bytes);
      await home.withLedger((log) => {
        log.append([{ kind: "statement", envelope: statement.id }]);
        log.sign(new Date());
      });
      await publish(home, await openAllSites(home));
    };
    await claim("ab".repeat(16));
    for (const site of SITES) {
      cpSync(state.path(site), state.path(`${site}.copy`), { recursive: true });
    }
    const copies = SITES.map((site) => `${site}.copy`);
    good(await state.recover("new", copies));
    await assertRestores(state, "out");

    await declareRegister(home, { name: "land" }, "confidential", new Date());
    await claim(home.config.inventory.find(({ name }) => name === "land")?.id ?? "");
    const refused = await state.recover("newer", SITES);
    assert.match(failed(refused, "not-enough-shards"), /1 of 2 registers .*--accept-stale/);
    good(await state.recover("newer", SITES, "--accept-stale"));
    await assertRestores(state, "out-again");
  });

  test("a register of which everything is set aside", async (t) => {
    const state = await withHistory(t);
    const [agent] = (await state.openHome()).charter.agents;
    const suspectFrom = momentOf(new Date(Date.now() - 86_400_000));
    await decided(state, [{ kind: "revoke-agent", signing: agent?.signing ?? "", suspectFrom }]);
    state.lose("home");
    assert.deepEqual(good(await state.recover("new", ["kn", "lu", "ee"])).registers, []);
  });
});

test("a recovery that is refused leaves no key behind", async (t) => {
  const state = await withHistory(t);
  state.lose("home");
  failed(await state.recover("new", ["bb", "kn"]), "site-unavailable");
  assert.deepEqual(
    readdirSync(state.folder).filter((name) => name.startsWith(".")),
    [],
  );
});

test("of two homes that came of one loss, the one that does not count writes no more", async (t) => {
  const state = await withHistory(t);
  state.lose("home");
  const some = ["bb", "kn", "lu"];
  for (const site of some) {
    cpSync(state.path(site), state.path(`${site}.before`), { recursive: true });
  }
  good(await state.recover("first", some));
  const first = state.home;
  const before = some.map((site) => `${site}.before`);
  good(await state.recover("second", [...before, "ee", "ca"]));
  for (const site of some) {
    cpSync(state.path("ee"), state.path(site), { recursive: true, force: false });
  }
  state.home = first;
  assert.match(failed(await state.protect(), "untrusted"), /has been superseded/);
});

/** What is passed on to a port of this machine, until it is cut: then nobody answers there any more. */
async function cuttable(t: TestContext, port: number) {
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(port, "127.0.0.1");
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => sockets.delete(socket));
    }
    near.pipe(far).pipe(near);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const cut = (): void => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  t.after(cut);
  const { port: own } = server.address() as AddressInfo;
  return { url: `https://127.0.0.1:${own}`, cut };
}

test("a site that answers the first time and not the second is named, and the others bring the home back", async (t) => {
  const s = await (await plainState()).copy(folder());
  const daemon = await startDaemon(t, { embassy: s, now: () => new Date() });
  const place = { name: "pt", country: "PT", operator: "pt", hazardZone: "PT" };
  const signing = toBase64(daemon.key.bytes);
  await s.decide({ kind: "admit-site", site: { ...place, signing } }, 2);
  await s.enact(3);
  await s.publish();
  const { url, cut } = await cuttable(t, daemon.running.port);
  const notices: string[] = [];
  const seed = s.recovery.seed;
  const report = await recover({
    home: join(s.folder, "next"),
    key: {
      state: s.home.state,
      opened: [],
      // Asked for when the sites were read, and before they are opened again.
      secretFor: () => {
        cut();
        return Uint8Array.from(seed);
      },
    },
    sites: [url, ...PLACES.map((name) => s.site(name))],
    acceptStale: false,
    now: s.day(10),
    onNotice: (notice) => notices.push(notice),
  });
  assert.deepEqual(report.sites.toSorted(), [...PLACES, "pt"].toSorted());
  await s.restores(report.home);
  const said = notices.filter((notice) => notice.startsWith("site pt at https://127.0.0.1:"));
  assert.match(said.join("\n"), /^site pt at .* answered, and does not any more: .*/);
  assert.ok(notices.some((notice) => notice.startsWith("pt did not take the succession: ")));
});
