/** Key holders: the ceremony, the years between, and the day when they bring the State back. */
import assert from "node:assert/strict";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { momentOf } from "../src/charter/charter.ts";
import { addSignature, signPaper } from "../src/charter/decision.ts";
import { openDecision, standings } from "../src/charter/history.ts";
import type { Order } from "../src/charter/orders.ts";
import { decodeKit, openShare } from "../src/custody/kit.ts";
import { splitKit } from "../src/custody/kit-parts.ts";
import { sealedToBytes } from "../src/custody/sealed-share.ts";
import { combineShares } from "../src/custody/share-set.ts";
import { encodeShareText } from "../src/custody/share-text.ts";
import type { Given } from "../src/governance/carry-out.ts";
import { custodyStatus } from "../src/governance/custody.ts";
import { draftDecision, settle, submit } from "../src/governance/decide.ts";
import { divideKey } from "../src/governance/divide.ts";
import { foundState } from "../src/governance/found-state.ts";
import { openAllSites, publish } from "../src/governance/ledger-at-sites.ts";
import { newProposal } from "../src/governance/proposal.ts";
import { recordsOf } from "../src/governance/records.ts";
import { addRegister } from "../src/governance/registers.ts";
import { newSignatoryKey } from "../src/governance/signatory-key.ts";
import { addSite } from "../src/governance/sites.ts";
import { Home } from "../src/vault/home.ts";
import { openKey } from "../src/vault/recovery-key.ts";
import { duressOf, PLAN, type RehearsalTable, rehearsal, SEAT_KEYS } from "./support/ceremony.ts";
import { keyOf } from "./support/charter.ts";
import { failed, good, type Outcome, run } from "./support/cli.ts";
import { temporaryFolder } from "./support/places.ts";
import { TestState } from "./support/state.ts";

const SITES = ["bb", "kn", "lu", "ee", "ca"] as const;
const SIGNERS = ["pm", "justice", "abroad"] as const;
type Recovered = { readonly term: number; readonly registers: readonly unknown[] };
type Listed = { readonly holders: readonly { readonly confirmed?: string }[]; readonly k: number };

/** A State with five key holders and five seats, five sites, and a recovery point. */
class Nation {
  readonly folder: string;
  home: string;

  private constructor(folder: string) {
    this.folder = folder;
    this.home = join(folder, "home");
  }

  static async found(
    t: TestContext,
    table: RehearsalTable = rehearsal(),
    furnished = true,
  ): Promise<Nation> {
    const nation = new Nation(temporaryFolder(t));
    const now = new Date();
    const { home } = await foundState({
      home: nation.home,
      plan: PLAN,
      seatKeys: SEAT_KEYS,
      folder: nation.path("ceremony"),
      table,
      now,
    });
    nation.writePassphrases("passphrases", table);
    if (!furnished) return nation;
    for (const name of SITES) {
      const country = name.toUpperCase();
      const at = nation.path(name);
      const config = { name, country, operator: name, hazardZone: country, at };
      await nation.signAndSubmit(home, await addSite(home, config, now));
    }
    mkdirSync(nation.path("data"));
    writeFileSync(nation.path("data", "record"), "what the State knows");
    const part = { name: "docs", kind: "files", path: nation.path("data") } as const;
    const parts = [{ ...part, excludes: [], oneFileSystem: false }];
    const plan = { name: "docs", sites: [...SITES], k: 3, survive: 1, parts };
    await nation.signAndSubmit(home, (await addRegister(home, plan, now)).given);
    good(await nation.run(["protect", "docs"]));
    return nation;
  }

  async signAndSubmit(home: Home, given: Given | undefined): Promise<void> {
    assert.ok(given?.status === "proposed");
    const [first, ...others] = SIGNERS;
    let envelope = signPaper(given.decision, keyOf(first));
    for (const name of others) {
      envelope = addSignature(openDecision(envelope, home.state, home.charter), keyOf(name));
    }
    await submit(home, [envelope], new Date());
    await publish(home, await openAllSites(home));
  }

  path(...names: readonly string[]): string {
    return join(this.folder, ...names);
  }

  run<Report>(args: readonly string[]): Promise<Outcome<Report>> {
    return run<Report>(this.home, args);
  }

  writePassphrases(file: string, { given }: RehearsalTable): void {
    const lines = [...given].map(([who, passphrase]) => `${passphrase}\t${who}\n`);
    writeFileSync(this.path(file), lines.join(""));
  }

  /** The passphrase of who is meant, in a file of its own. */
  passphraseOf(table: RehearsalTable, who: string): string {
    const [name] = [...table.given.keys()].filter((one) => one.startsWith(who));
    const file = this.path(`pw-${who.replaceAll(" ", "-")}`);
    writeFileSync(file, `${table.given.get(name ?? "") ?? ""}\n`);
    return file;
  }

  kit(number: number, folder = "ceremony", generation = 1): string {
    const name = `belize-key-holder-${number}-of-5-generation-${generation}.kit.json`;
    return this.path(folder, "kits", name);
  }

  recover<Report = Recovered>(
    home: string,
    kits: readonly string[],
    sites: readonly string[] = ["kn", "lu", "ee"],
    passphrases = "passphrases",
  ): Promise<Outcome<Report>> {
    this.home = this.path(home);
    return this.run<Report>([
      "recover",
      ...kits.flatMap((kit) => ["--kit", kit]),
      "--passphrases",
      this.path(passphrases),
      ...sites.flatMap((site) => ["--site", this.path(site)]),
    ]);
  }

  async restores(to: string): Promise<void> {
    good(await this.run(["restore", "docs", "--to", this.path(to)]));
    assert.equal(readFileSync(this.path(to, "record"), "utf8"), "what the State knows");
  }
}

test("home is lost, two sites and two key holders: three kits and three sites bring the State back", async (t) => {
  const nation = await Nation.found(t);
  cpSync(nation.home, nation.path("old"), { recursive: true });
  for (const lost of ["home", "bb", "ca"]) rmSync(nation.path(lost), { recursive: true });
  const charters = readdirSync(nation.path("lu", "charter"));
  const two = await nation.recover("new", [nation.kit(1), nation.kit(4)]);
  assert.match(failed(two, "not-enough-shards"), /2 good shares of the 3 needed/);
  assert.deepEqual(readdirSync(nation.path("lu", "charter")), charters, "nobody was deposed");
  const report = good(await nation.recover("new", [nation.kit(1), nation.kit(4), nation.kit(5)]));
  assert.deepEqual([report.term, report.registers.length], [2, 1]);
  await nation.restores("out");
  const home = await Home.open(nation.home);
  assert.equal(home.charter.ledger.generation, 2);
  assert.equal(home.charter.constitution.preset, "state", "seats stay as they were");
  assert.equal(home.seat, undefined, "home decides nothing alone");
  // Who may confirm, and who has, is known at the new home too.
  const listed = good(await nation.run<Listed>(["keyholder", "list"]));
  assert.equal(listed.holders.filter(({ confirmed }) => confirmed).length, 5);
  nation.home = nation.path("old");
  const status = good(await nation.run<{ needs: readonly string[] }>(["status"]));
  assert.match(status.needs[0] ?? "", /superseded/);
  assert.match(failed(await nation.run(["protect", "docs"]), "untrusted"), /superseded/);
});

test("a kit comes back from its scanned codes, and from its text typed in", async (t) => {
  const nation = await Nation.found(t);
  rmSync(nation.home, { recursive: true });
  const kit = readFileSync(nation.kit(2));
  writeFileSync(nation.path("codes"), splitKit(kit).toReversed().join("\n"));
  const typed = encodeShareText(sealedToBytes(decodeKit(readFileSync(nation.kit(3))).sealed));
  writeFileSync(nation.path("typed"), typed.toLowerCase());
  const passphrase = [...readFileSync(nation.path("passphrases"), "utf8").split("\n")]
    .find((line) => line.includes("key holder 3,"))
    ?.split("\t")[0];
  const more = `${passphrase}\tkey holder of ${nation.path("typed")}\n`;
  writeFileSync(nation.path("passphrases"), more, { flag: "a" });
  good(await nation.recover("new", [nation.kit(1), nation.path("codes"), nation.path("typed")]));
  await nation.restores("out");
});

test("an altered list of sites in a kit stops no recovery; an altered share is named", async (t) => {
  const nation = await Nation.found(t);
  rmSync(nation.home, { recursive: true });
  const bent = readFileSync(nation.kit(1), "utf8").replace("Bissen", "Moscow");
  writeFileSync(nation.path("bent"), bent);
  writeFileSync(nation.path("torn"), readFileSync(nation.kit(4)).subarray(0, 900));
  const kits = [nation.path("bent"), nation.path("torn"), nation.kit(2), nation.kit(3)];
  const outcome = await nation.recover("new", kits);
  good(outcome);
  assert.ok(outcome.notices.some((notice) => /torn is left out/.test(notice)));
  assert.ok(outcome.notices.some((notice) => /says other things than the others/.test(notice)));
});

test("sites that never had the ledger that a kit speaks of are stale, and are taken only when told", async (t) => {
  const nation = await Nation.found(t);
  rmSync(nation.home, { recursive: true });
  const kit = readFileSync(nation.kit(1), "utf8");
  const later = kit.replace('"size":1,', '"size":9000,');
  assert.notEqual(later, kit);
  writeFileSync(nation.path("later"), later);
  const kits = [nation.path("later"), nation.kit(2), nation.kit(3)];
  const refused = await nation.recover("new", kits);
  assert.match(
    failed(refused, "site-unavailable"),
    /when the ledger had 9000 entries.*--accept-stale/,
  );
  const given = ["kn", "lu", "ee"].flatMap((site) => ["--site", nation.path(site)]);
  const told = await nation.run<Recovered>([
    "recover",
    ...kits.flatMap((one) => ["--kit", one]),
    ...["--passphrases", nation.path("passphrases"), "--accept-stale", ...given],
  ]);
  good(told);
  assert.ok(told.notices.some((notice) => /when the ledger had 9000 entries/.test(notice)));
});

test("a holder who was absent confirms later, a request serves once, and duress shows abroad alone", async (t) => {
  const table = rehearsal({ absent: [4], duress: [2, 5] });
  const nation = await Nation.found(t, table);
  const status = good(await nation.run<{ needs: readonly string[] }>(["status"]));
  assert.ok(
    status.needs.some((need) => /4 of 5 kits confirmed; not yet: 4 \(Office 4\)/.test(need)),
  );

  const watch = ["--watch", nation.path("ceremony", "watch.age")];
  const watchPassphrase = ["--passphrase-file", nation.passphraseOf(table, "who watches abroad")];
  const ask = async (holder: number, number: number): Promise<string> => {
    const file = nation.path(`request-${holder}-${number}`);
    const which = ["--holder", `${holder}`, "--number", `${number}`, "--out", file];
    good(await nation.run(["keyholder", "request", ...watch, ...which, ...watchPassphrase]));
    return file;
  };
  const answer = async (holder: number, request: string, passphraseFile: string, out: string) =>
    nation.run([
      ...["keyholder", "open", nation.kit(holder), "--request", request],
      ...["--out", nation.path(out), "--passphrase-file", passphraseFile],
    ]);

  const request = await ask(4, 1);
  good(await answer(4, request, nation.passphraseOf(table, "key holder 4,"), "receipt-4"));
  assert.match(
    failed(await answer(3, request, nation.passphraseOf(table, "key holder 3,"), "x"), "usage", 2),
    /another kit/,
  );
  good(await nation.run(["keyholder", "confirm", nation.path("receipt-4")]));
  const again = await nation.run(["keyholder", "confirm", nation.path("receipt-4")]);
  assert.match(failed(again, "altered"), /answered before/);
  const bent = readFileSync(nation.path("receipt-4"));
  bent[bent.length >> 1] = (bent[bent.length >> 1] ?? 0) ^ 1;
  writeFileSync(nation.path("bent"), bent);
  assert.notEqual((await nation.run(["keyholder", "confirm", nation.path("bent")])).code, 0);
  assert.equal(
    (await custodyStatus(await Home.open(nation.home))).holders[3]?.confirmed !== undefined,
    true,
  );

  // Under duress: in the room, nothing differs.
  writeFileSync(nation.path("duress"), `${duressOf(2)}\n`);
  const usual = await answer(
    2,
    await ask(2, 2),
    nation.passphraseOf(table, "key holder 2,"),
    "usual",
  );
  const forced = await answer(2, await ask(2, 3), nation.path("duress"), "forced");
  assert.deepEqual(Object.keys(good(usual) as object), Object.keys(good(forced) as object));
  for (const receipt of ["usual", "forced"]) {
    good(await nation.run(["keyholder", "check", nation.path(receipt)]));
  }
  type Seen = { readonly seen: readonly { readonly mark: string; readonly number: number }[] };
  const look = (...args: readonly string[]) =>
    nation.run<Seen>(["keyholder", "watch", ...args, ...watch, ...watchPassphrase]);
  assert.deepEqual(good(await look(nation.path("usual"))).seen[0]?.mark, "usual");
  const seen = await look(nation.path("forced"));
  assert.equal(seen.code, 4);
  assert.deepEqual(seen.report.seen[0], { ...seen.report.seen[0], number: 2, mark: "duress" });

  // Nothing at home, and no site, tells them apart: it is in the opening, sealed to who watches.
  const passphrases = readFileSync(nation.path("passphrases"), "utf8").split("\n");
  const lines = passphrases.map((line) =>
    line.includes("key holder 5,") ? `${duressOf(5)}\t${line.split("\t")[1]}` : line,
  );
  writeFileSync(nation.path("passphrases"), lines.join("\n"));
  rmSync(nation.home, { recursive: true });
  good(await nation.recover("new", [nation.kit(1), nation.kit(3), nation.kit(5)]));
  const opening = await look("--site", nation.path("lu"));
  assert.equal(opening.code, 4);
  assert.deepEqual(
    opening.report.seen.map(({ number, mark }) => `${number} ${mark}`),
    ["1 usual", "3 usual", "5 duress"],
  );
});

test("the key is divided anew: the old kits count until the decision, and are refused as older after", async (t) => {
  const nation = await Nation.found(t);
  const home = await Home.open(nation.home);
  const order = await divide(nation, home, "reshare");
  assert.equal(home.charter.recovery.shares.generation, 1, "until it is decided");
  await enact(nation, home, order);
  assert.equal((await Home.open(nation.home)).charter.recovery.shares.generation, 2);
  good(await nation.run(["protect", "docs"]));
  rmSync(nation.home, { recursive: true });
  const old = await nation.recover(
    "new",
    [1, 2, 3].map((number) => nation.kit(number)),
  );
  assert.match(failed(old, "not-enough-shards"), /of an older set/);
  const kits = [5, 2, 4].map((number) => nation.kit(number, "second", 2));
  good(await nation.recover("new", kits, SITES, "second-passphrases"));
  await nation.restores("out");
});

test("before the decision the new kits are those of a newer set, and the old ones bring the State back", async (t) => {
  const nation = await Nation.found(t);
  await divide(nation, await Home.open(nation.home), "rotate");
  rmSync(nation.home, { recursive: true });
  const kits = [5, 2, 4].map((number) => nation.kit(number, "second", 2));
  const early = await nation.recover("new", kits, SITES, "second-passphrases");
  assert.match(failed(early, "not-enough-shards"), /of a newer set/);
  good(
    await nation.recover(
      "new",
      [1, 2, 3].map((number) => nation.kit(number)),
    ),
  );
  await nation.restores("out");
});

test("the key is replaced: what was wrapped to the old one opens with the new, and later epochs with it alone", async (t) => {
  const nation = await Nation.found(t);
  const home = await Home.open(nation.home);
  const order = await divide(nation, home, "rotate");
  await enact(nation, home, order);
  type Snapshots = { readonly snapshots: readonly { readonly epoch: number }[] };
  const before = good(await nation.run<Snapshots>(["snapshots", "docs"])).snapshots;
  const next = good(await nation.run<{ epoch: number }>(["protect", "docs"]));
  assert.ok(next.epoch > (before[0]?.epoch ?? 0), "a new epoch");
  rmSync(nation.home, { recursive: true });
  const old = await nation.recover(
    "new",
    [1, 2, 3].map((number) => nation.kit(number)),
  );
  failed(old, "not-enough-shards");
  const kits = [5, 2, 4].map((number) => nation.kit(number, "second", 2));
  const report = good(await nation.recover("new", kits, SITES, "second-passphrases"));
  assert.deepEqual(report.registers, [{ ...(report.registers[0] as object), recoveryPoints: 2 }]);
  await nation.restores("out");
  const status = await nation.run<{ charter: { lines: readonly string[] } }>(["status"]);
  assert.ok(status.report.charter.lines.some((line) => /recovery key was replaced/.test(line)));
});

test("the key is not replaced while a site of a register is away; that it was opened is known all the same", async (t) => {
  const nation = await Nation.found(t);
  const home = await Home.open(nation.home);
  renameSync(nation.path("lu"), nation.path("lu.away"));
  await assert.rejects(divide(nation, home, "rotate"), /site lu does not answer/);
  assert.equal(existsSync(nation.path("second")), false, "nobody sat down for it");
  assert.deepEqual(
    (await recordsOf(home, "opening")).map(
      ({ purpose, holders }) => `${purpose} ${holders.join()}`,
    ),
    ["rotate 0,1,2"],
  );
});

/** Divides the key with the kits of the first three, into kits at `second`. Returns the order that decides it. */
async function divide(nation: Nation, home: Home, purpose: "reshare" | "rotate"): Promise<Order> {
  const passphrases = readFileSync(nation.path("passphrases"), "utf8").split("\n");
  const opened = [];
  for (const number of [1, 2, 3]) {
    const line = passphrases.find((one) => one.includes(`key holder ${number},`));
    const kit = decodeKit(readFileSync(nation.kit(number)));
    opened.push(await openShare(kit, line?.split("\t")[0] ?? ""));
  }
  const table = rehearsal();
  const shares = opened.map(({ share }) => share);
  const places = await openAllSites(home);
  const { order } = await divideKey({
    home,
    places,
    purpose,
    secret: combineShares(shares, home.charter.recovery.shares, home.state).secret,
    opened,
    threshold: 3,
    holders: PLAN.keyHolders.holders,
    plan: {},
    folder: nation.path("second"),
    table,
    now: new Date(),
  });
  await publish(home, places);
  nation.writePassphrases("second-passphrases", table);
  return order;
}

/** Has the order signed, and lets its timelock pass. */
async function enact(nation: Nation, home: Home, order: Order): Promise<void> {
  const grounds = { reason: "The key was divided anew", citation: "Act 7 of 2026" };
  const decision = await draftDecision(home, order, grounds, new Date());
  await nation.signAndSubmit(home, { status: "proposed", decision });
  await settle(home, new Date(Date.now() + 8 * 86_400_000));
  await publish(home, await openAllSites(home));
}

test("where signatories are gone, the key holders seat others, who wait and can be vetoed", async (t) => {
  const nation = await Nation.found(t);
  const now = new Date();
  const names = ["pm", "justice", "abroad"] as const;
  const passphrase = "Saltfish-Hummingbird-47";
  writeFileSync(nation.path("new-pw"), `${passphrase}\n`);
  for (const name of names) {
    const made = await newSignatoryKey(
      {
        name: `Successor of ${name}`,
        office: `The office of ${name}`,
        institution: "Government in exile",
        jurisdiction: name === "abroad" ? "LU" : "BZ",
        until: momentOf(new Date(now.getTime() + 900 * 86_400_000)),
      },
      { passphrase, workFactor: 10 },
    );
    writeFileSync(nation.path(`${name}.age`), made.keyFile);
    writeFileSync(nation.path(`${name}.card`), made.card);
  }
  const file = nation.path("seats.json");
  good(
    await nation.run([
      ...["decide", "propose", "amend", "--out", file],
      ...names.flatMap((name) => ["--replace", `${name}=${nation.path(`${name}.card`)}`]),
      ...["--reason", "Three seats are empty", "--citation", "Constitution, article 1"],
    ]),
  );
  const sign = (...flags: readonly string[]) =>
    nation.run(["decide", "sign", file, ...flags, "--yes"]);
  for (const name of names) {
    good(
      await sign("--key", nation.path(`${name}.age`), "--passphrase-file", nation.path("new-pw")),
    );
  }
  const alone = await nation.run(["decide", "submit", file]);
  assert.match(failed(alone, "untrusted"), /no seat of the charter in force has signed/);
  const kits = [1, 3, 5].flatMap((number) => ["--kit", nation.kit(number)]);
  good(await sign(...kits, "--passphrases", nation.path("passphrases")));
  type Submitted = { readonly standing: { readonly status: string } };
  good(await nation.run<Submitted>(["decide", "submit", file]));
  const home = await Home.open(nation.home);
  const [open] = [...standings({ ...home.known.history, now: new Date() }).values()].filter(
    ({ decision }) => decision.order.kind === "amend",
  );
  assert.equal(open?.status, "waiting");
  await settle(home, new Date(now.getTime() + 8 * 86_400_000));
  assert.equal(home.charter.constitution.seats[0]?.institution, "Government in exile");
});

test("key holders release a closed epoch without any seat: the ledger has it, and it waits", async (t) => {
  const nation = await Nation.found(t);
  const file = nation.path("release.json");
  good(
    await nation.run([
      ...["decide", "propose", "release", "docs", "--epochs", "65536", "--to", "recovery"],
      ...["--reason", "Home is gone", "--citation", "Constitution, article 1", "--out", file],
    ]),
  );
  const kits = [1, 2, 4].flatMap((number) => ["--kit", nation.kit(number)]);
  type Signed = { readonly signed: { readonly terms: readonly string[]; readonly stands: string } };
  const signed = good(
    await nation.run<Signed>(
      ["decide", "sign", file, "--yes", "--passphrases", nation.path("passphrases")].concat(kits),
    ),
  );
  assert.match(signed.signed.terms.join(" "), /recovery key can sign it alone.*unless one seat/);
  assert.match(signed.signed.stands, /all the signatures that it needs/);
  type Submitted = { readonly decision: { readonly standing: { readonly status: string } } };
  const { decision } = good(await nation.run<Submitted>(["decide", "submit", file]));
  assert.equal(decision.standing.status, "waiting");
});

test("a trial that gets key holders keeps its key file until each has opened their kit", async (t) => {
  const state = await TestState.found(t);
  state.write("record", "what a trial knows");
  good(await state.protect());
  const home = await Home.open(state.home);
  const key = await openKey(
    "recovery-key",
    readFileSync(state.path("recovery.age")),
    readFileSync(state.path("pw"), "utf8").trim(),
  );
  const table = rehearsal({ absent: [2] });
  const places = await openAllSites(home);
  const { order, kits } = await divideKey({
    home,
    places,
    purpose: "reshare",
    secret: key.seed,
    opened: [],
    threshold: 3,
    holders: PLAN.keyHolders.holders,
    plan: {},
    folder: state.path("ceremony"),
    table,
    now: new Date(),
  });
  assert.equal(kits.receipts.length, 4);
  const grounds = { reason: "Key holders take over", citation: "Act 7 of 2026" };
  const decision = await draftDecision(home, order, grounds, new Date());
  const current = home.known.history.history.at(-1);
  assert.ok(current);
  writeFileSync(state.path("paper"), newProposal("decision", decision, current.payload));
  // In a trial whoever hands it in signs it.
  await state.good("decide", "submit", state.path("paper"));
  const listed = await state.good<Listed>("keyholder", "list");
  assert.deepEqual([listed.k, listed.holders.filter(({ confirmed }) => confirmed).length], [3, 4]);
});

test("a ceremony that is cut short leaves no State", async (t) => {
  const folder = temporaryFolder(t);
  const table = rehearsal();
  const broken = foundState({
    home: join(folder, "home"),
    plan: PLAN,
    seatKeys: SEAT_KEYS,
    folder: join(folder, "ceremony"),
    table: {
      ...table,
      typeAgain: async (holder) => {
        if (holder === 3) throw new Error("the power went");
        return undefined;
      },
    },
    now: new Date(),
  });
  await assert.rejects(broken, /the power went/);
  assert.deepEqual(readdirSync(folder), ["ceremony"]);
  assert.equal((await run(join(folder, "home"), ["status"])).code, 1);
});
