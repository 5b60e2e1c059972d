/** Decisions as people make them: files that travel, signatures of several, delays, vetoes and freezes. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import type { Standing } from "../src/charter/assess.ts";
import type { Charter, OrderClass } from "../src/charter/charter.ts";
import { constitutionOf } from "../src/charter/presets.ts";
import { fromBase64, toBase64, utf8 } from "../src/crypto/bytes.ts";
import type { SigningKey } from "../src/crypto/signing.ts";
import {
  openAnnexes,
  peopleWhoJoin,
  personOf,
  readPeople,
  sealAnnex,
} from "../src/governance/annex.ts";
import { give } from "../src/governance/carry-out.ts";
import { enactRipe, standingOfId, submit } from "../src/governance/decide.ts";
import { openAllSites, publish } from "../src/governance/ledger-at-sites.ts";
import {
  mergeProposals,
  newProposal,
  readProposal,
  signProposal,
} from "../src/governance/proposal.ts";
import { declareRegister } from "../src/governance/registers.ts";
import {
  newSignatoryKey,
  openSignatoryKey,
  readCard,
  seatsOfCards,
} from "../src/governance/signatory-key.ts";
import { openKey, recoveryKeyFromSeed } from "../src/vault/recovery-key.ts";
import { failed, good } from "./support/cli.ts";
import { PASSPHRASE, TestState } from "./support/state.ts";

const WORK_FACTOR = 10;
const UNTIL = "2040-01-31T00:00:00Z";
const DAY_MS = 86_400_000;
const GROUNDS = ["--reason", "It is needed", "--citation", "Act 7 of 2026"];
/** Name and jurisdiction of each seat's holder, and of one deputy. */
const PEOPLE = { pm: "BZ", justice: "BZ", registrar: "BZ", ambassador: "LU", envoy: "EE" } as const;
type Person = keyof typeof PEOPLE | "deputy" | "stranger";
/** Three seats, one of them abroad. */
const ENOUGH: readonly Person[] = ["pm", "justice", "envoy"];

type Proposed = { readonly proposed: { readonly id: string; readonly file: string } };
type Submitted = { readonly decision: { readonly id: string; readonly standing: Standing } };
type View = {
  readonly sentence: string;
  readonly signed: readonly { readonly seat: string }[];
  readonly standing: Standing;
  readonly differences: readonly { readonly path: string; readonly after?: string }[];
  readonly by: string;
};
type List = {
  readonly open: readonly {
    readonly id: string;
    readonly signed: readonly string[];
    readonly vetoedBy: readonly string[];
    readonly standing: Standing;
  }[];
  readonly enacted: readonly { readonly id: string; readonly sentence: string }[];
  readonly void: readonly { readonly id: string }[];
  readonly frozenUntil?: string;
};

/** A State whose people sign: it was a trial, and five seats decide now. */
class Cabinet {
  readonly state: TestState;
  readonly keys: Readonly<Record<Person, SigningKey>>;

  private constructor(state: TestState, keys: Readonly<Record<Person, SigningKey>>) {
    this.state = state;
    this.keys = keys;
  }

  /** @param timelocks seconds, where they are not the preset's */
  static async found(
    t: TestContext,
    timelocks: Partial<Record<OrderClass, number>> = {},
  ): Promise<Cabinet> {
    const state = await TestState.found(t, { sites: ["bb", "kn", "lu"], register: false });
    const now = new Date();
    const home = await state.openHome();
    await declareRegister(home, { name: "land" }, "confidential", now);
    const people = [...Object.entries(PEOPLE), ["deputy", "BZ"], ["stranger", "BZ"]] as const;
    const made = await Promise.all(
      people.map(async ([name, jurisdiction]) => {
        const who = { name, office: name, institution: "Government", jurisdiction, until: UNTIL };
        const seal = { passphrase: PASSPHRASE, workFactor: WORK_FACTOR };
        const { keyFile, card } = await newSignatoryKey(who, seal);
        writeFileSync(state.path(`${name}.key.age`), keyFile);
        writeFileSync(state.path(`${name}.card.json`), card);
        const key = await openSignatoryKey(keyFile, { passphrase: PASSPHRASE });
        return [name, { key, card: readCard(card) }] as const;
      }),
    );
    const of = new Map<string, (typeof made)[number][1]>(made);
    const groups = Object.keys(PEOPLE).map((name) =>
      name === "pm" ? [of.get(name)!.card, of.get("deputy")!.card] : [of.get(name)!.card],
    );
    const salt = "11".repeat(32);
    const preset = constitutionOf(
      "state",
      seatsOfCards(groups, (name) => personOf(salt, name)),
      "BZ",
    );
    const thresholds = { ...preset.thresholds };
    for (const [name, timelockSeconds] of Object.entries(timelocks)) {
      const one = name as OrderClass;
      thresholds[one] = { ...thresholds[one], timelockSeconds };
    }
    const keys = Object.fromEntries(made.map(([name, { key }]) => [name, key]));
    const cabinet = new Cabinet(state, keys as Record<Person, SigningKey>);
    const constitution = { ...preset, thresholds };
    const grounds = { reason: "It is needed", citation: "Act 7 of 2026" };
    const given = await give(home, { kind: "amend", constitution }, grounds, now);
    assert.ok(given.status === "proposed" && given.envelope);
    const [founding] = home.known.history.history.slice(-1);
    const file = cabinet.file("constitution");
    writeFileSync(file, newProposal("decision", given.decision, founding!.payload, given.envelope));
    cabinet.sign(file, ...ENOUGH);
    const { standing } = await submit(
      home,
      [mergeProposals([readProposal(readFileSync(file))])],
      now,
    );
    assert.equal(standing.status, "enacted");
    await publish(home, await openAllSites(home));
    return cabinet;
  }

  #files = 0;

  file(name: string): string {
    this.#files += 1;
    return this.state.path(`${name}-${this.#files}.json`);
  }

  /** Proposes, and gives the file. */
  async propose(...args: readonly string[]): Promise<string> {
    const file = this.file("proposal");
    const { proposed } = await this.state.good<Proposed>(
      "decide",
      "propose",
      ...args,
      ...GROUNDS,
      "--out",
      file,
    );
    assert.equal(proposed.file, file);
    return file;
  }

  /** As `decide sign` does, in this process. */
  sign(file: string, ...people: readonly Person[]): void {
    for (const name of people) {
      writeFileSync(file, signProposal(readProposal(readFileSync(file)), this.keys[name]));
    }
  }

  /** A copy of the file that this person signed. */
  signedCopy(file: string, name: Person): string {
    const copy = this.file(`by-${name}`);
    writeFileSync(copy, signProposal(readProposal(readFileSync(file)), this.keys[name]));
    return copy;
  }

  submit(...files: readonly string[]): Promise<Submitted> {
    return this.state.good<Submitted>("decide", "submit", ...files);
  }

  async refuseSubmit(...files: readonly string[]): Promise<string> {
    return failed(await this.state.run(["decide", "submit", ...files]), "usage", 2);
  }

  /** Signed by enough, and handed in. */
  async decided(...args: readonly string[]): Promise<Submitted["decision"]> {
    const file = await this.propose(...args);
    this.sign(file, ...ENOUGH);
    return (await this.submit(file)).decision;
  }

  async charter(): Promise<Charter> {
    return (await this.state.openHome()).charter;
  }

  list(): Promise<List> {
    return this.state.good("decide", "list");
  }
}

const pass = (state: TestState): readonly string[] => ["--passphrase-file", state.path("pw")];

test("a trial becomes a State of five seats when the one seat and the new ones sign", async (t) => {
  const state = await TestState.found(t, { sites: ["bb", "kn", "lu"], threshold: 2 });
  state.write("a", "one");
  assert.equal((await state.protect()).code, 0);
  const card = (name: string): string => state.path(`${name}.card.json`);
  const made = await state.good<{ readonly id: string; readonly card: string }>(
    "signatory",
    "new",
    "--name",
    "pm",
    "--office",
    "Office of pm",
    "--institution",
    "Cabinet",
    "--jurisdiction",
    "BZ",
    "--until",
    "2040-01-31",
    "--out",
    state.folder,
    ...pass(state),
  );
  assert.equal(made.card, card("pm"));
  type Card = { readonly fingerprint: string; readonly until: string };
  const shown = await state.good<Card>("signatory", "show", card("pm"));
  assert.deepEqual([shown.fingerprint, shown.until], [made.id, UNTIL]);
  for (const [name, jurisdiction] of Object.entries(PEOPLE).slice(1)) {
    const who = { name, office: name, institution: "Government", jurisdiction, until: UNTIL };
    const seal = { passphrase: PASSPHRASE, workFactor: WORK_FACTOR };
    const other = await newSignatoryKey(who, seal);
    writeFileSync(state.path(`${name}.key.age`), other.keyFile);
    writeFileSync(card(name), other.card);
  }
  const seats = Object.keys(PEOPLE).flatMap((name) => ["--seat", card(name)]);
  const file = state.path("to-state.json");
  const preset = ["amend", "--preset", "state", "--home-country", "BZ", ...seats];
  const { proposed } = await state.good<Proposed>(
    "decide",
    "propose",
    ...preset,
    ...GROUNDS,
    "--out",
    file,
  );
  assert.equal((await state.openHome()).charter.constitution.preset, "trial");

  // Signatories have no home: the file is all that they see.
  const elsewhere = new TestStateElsewhere(state);
  const view = await elsewhere.good<View>("decide", "show", file);
  assert.match(view.sentence, /^Amend the charter of Test State: seats, thresholds and delays/);
  assert.equal(view.by, "file");
  assert.ok(
    view.differences.some(
      ({ path, after }) =>
        path === "constitution.seats (in order)" && after?.includes("office-of-pm"),
    ),
  );
  assert.deepEqual(
    view.signed.map(({ seat }) => seat),
    ["founder"],
  );
  for (const name of ["pm", "justice"]) {
    await elsewhere.good("decide", "sign", file, "--key", state.path(`${name}.key.age`), "--yes");
  }
  const early = failed(await state.run(["decide", "submit", file]), "usage", 2);
  assert.match(early, /2 of the 3 signatures that it needs, under the charter that would follow/);
  await elsewhere.good("decide", "sign", file, "--key", state.path("envoy.key.age"), "--yes");
  const { decision } = await state.good<Submitted>("decide", "submit", file);
  assert.equal(decision.id, proposed.id);
  assert.equal(decision.standing.status, "enacted");
  assert.equal((await state.openHome()).charter.constitution.preset, "state");

  // The key at home is nobody's now.
  const { proposed: next } = await state.good<Proposed>(
    "site",
    "add",
    "ee",
    "--country",
    "EE",
    "--directory",
    state.path("ee"),
    "--out",
    state.path("ee.json"),
  );
  assert.equal(readProposal(readFileSync(next.file)).opened, undefined);
  assert.deepEqual(state.objects("ee", "charter"), [], "what is not admitted gets nothing");

  // The names of those who joined are sealed beside those who were there.
  const recovered = await state.recover("home2", ["bb", "kn", "lu"]);
  assert.equal(recovered.code, 0, recovered.stderr);
  assert.deepEqual(
    recovered.notices.filter((notice) => /annex/.test(notice)),
    [],
  );
  assert.equal((await (await state.openHome()).annexes()).length, 3);
});

/** The same folder, on a machine without a home. */
class TestStateElsewhere {
  readonly #state: TestState;

  constructor(state: TestState) {
    this.#state = state;
  }

  async good<Report>(...args: readonly string[]): Promise<Report> {
    const { home } = this.#state;
    this.#state.home = this.#state.path("no-home");
    try {
      const key = args.includes("--key") ? pass(this.#state) : [];
      return await this.#state.good<Report>(...args, ...key);
    } finally {
      this.#state.home = home;
    }
  }
}

test("three of five decide, from copies that come back one by one, and everybody sees it wait", async (t) => {
  const cabinet = await Cabinet.found(t);
  const { state } = cabinet;
  const file = await cabinet.propose("expel-site", "lu");
  assert.match(await cabinet.refuseSubmit(file), /nobody has signed it yet/);
  const [pm, justice] = [cabinet.signedCopy(file, "pm"), cabinet.signedCopy(file, "justice")];
  assert.match(await cabinet.refuseSubmit(pm, justice), /2 of the 3 signatures/);
  assert.match(
    await cabinet.refuseSubmit(pm, justice),
    /0 of the 1 signatures that it needs from LU or EE/,
  );
  const registrar = cabinet.signedCopy(file, "registrar");
  const atHome = await cabinet.refuseSubmit(pm, justice, registrar);
  assert.match(atHome, /0 of the 1 signatures that it needs from LU or EE/);
  assert.equal((await cabinet.list()).open.length, 0, "what was refused is not in the ledger");

  const { decision } = await cabinet.submit(pm, justice, cabinet.signedCopy(file, "envoy"));
  assert.equal(decision.standing.status, "waiting");
  const [open] = (await cabinet.list()).open;
  assert.deepEqual(open?.signed, ["pm", "justice", "envoy"]);
  const home = await state.openHome();
  const { size } = await home.withLedger((log) => log.head());
  await cabinet.submit(pm, justice);
  assert.equal(
    await (await state.openHome()).withLedger((log) => log.size),
    size,
    "nothing new came",
  );

  const view = await state.good<View>("decide", "show", decision.id.slice(0, 8));
  assert.match(view.sentence, /^Expel the site lu in Luxembourg \(LU\)/);
  assert.equal(view.standing.status, "waiting");

  const week = Date.now() + 7 * DAY_MS;
  assert.equal(await enactRipe(home, new Date(week - 60_000)), 0);
  assert.equal(await enactRipe(home, new Date(week + 60_000)), 1);
  assert.ok(!home.charter.sites.some(({ name }) => name === "lu"));
  const before = state.objects("lu", "charter").length;
  await publish(home, await openAllSites(home));
  assert.equal(state.objects("lu", "charter").length, before, "an expelled site gets nothing more");
  assert.equal(state.objects("bb", "charter").length, before + 1);
});

test("different papers are not merged", async (t) => {
  const cabinet = await Cabinet.found(t);
  const one = cabinet.signedCopy(await cabinet.propose("expel-site", "lu"), "pm");
  const other = cabinet.signedCopy(await cabinet.propose("expel-site", "lu"), "justice");
  assert.match(await cabinet.refuseSubmit(one, other), /not copies of one paper/);
});

test("a seat alone vetoes nothing, two do, and a veto after it took effect is too late", async (t) => {
  const cabinet = await Cabinet.found(t);
  const { state } = cabinet;
  const { id } = await cabinet.decided("expel-site", "lu");
  const file = cabinet.file("veto");
  const by = (name: Person) => ["--key", state.path(`${name}.key.age`), ...pass(state)];
  await state.good("decide", "veto", id, "--reason", "No", ...by("ambassador"), "--out", file);
  type Vetoed = {
    readonly veto: { readonly seats: readonly string[]; readonly standing: Standing };
  };
  const { veto: one } = await state.good<Vetoed>("decide", "submit", file);
  assert.deepEqual(one.seats, ["ambassador"]);
  assert.equal(one.standing.status, "waiting");
  assert.deepEqual((await cabinet.list()).open[0]?.vetoedBy, ["ambassador"]);

  cabinet.sign(file, "deputy");
  const { veto: two } = await state.good<Vetoed>("decide", "submit", file);
  assert.equal(two.standing.status, "void");
  const list = await cabinet.list();
  assert.equal(list.open.length, 0);
  assert.deepEqual(
    list.void.map((each) => each.id),
    [id],
  );

  const done = await cabinet.decided("rotate-epoch", "land");
  assert.equal(done.standing.status, "enacted");
  const late = cabinet.file("late");
  await state.good("decide", "veto", done.id, "--reason", "No", ...by("pm"), "--out", late);
  assert.match(await cabinet.refuseSubmit(late), /too late/);
});

test("two seats freeze all but everyday decisions, for at most 14 days", async (t) => {
  const cabinet = await Cabinet.found(t);
  const { state } = cabinet;
  const { id } = await cabinet.decided("expel-site", "lu");
  const freeze = (days: string, file: string) =>
    state.run(["decide", "freeze", "--days", days, "--reason", "Odd", "--out", file]);
  failed(await freeze("15", cabinet.file("long")), "usage", 2);
  const file = cabinet.file("freeze");
  good(await freeze("14", file));
  type Frozen = { readonly freeze: { readonly seats: readonly string[]; readonly until?: string } };
  const submit = () => state.good<Frozen>("decide", "submit", file);
  cabinet.sign(file, "registrar");
  assert.equal((await submit()).freeze.until, undefined);
  cabinet.sign(file, "ambassador");
  assert.deepEqual((await submit()).freeze.seats, ["registrar", "ambassador"]);
  assert.ok((await cabinet.list()).frozenUntil);
  const { needs } = await state.status();
  assert.ok(needs.some((need) => need.startsWith("decisions are frozen until ")));

  const home = await state.openHome();
  const on = (days: number): string | undefined =>
    standingOfId(home.known, id, new Date(Date.now() + days * DAY_MS))?.status;
  assert.equal(on(6), "waiting");
  assert.equal(on(8), "frozen");
  assert.equal(on(15), "ripe");
  assert.equal((await cabinet.decided("rotate-epoch", "land")).standing.status, "enacted");
});

test("to destroy takes two decisions, the second as announced, after it and once", async (t) => {
  const cabinet = await Cabinet.found(t, { constitutional: 0, destructive: 0 });
  const { state } = cabinet;
  const destroy = ["destroy", "land", "--epochs", "1,3-4"];
  const four: readonly Person[] = [...ENOUGH, "ambassador"];
  const give = async (...args: readonly string[]): Promise<Submitted["decision"]> => {
    const file = await cabinet.propose(...args);
    cabinet.sign(file, ...four);
    return (await cabinet.submit(file)).decision;
  };
  const file = await cabinet.propose(...destroy);
  cabinet.sign(file, ...ENOUGH);
  assert.match(await cabinet.refuseSubmit(file), /3 of the 4 signatures/);
  const early = ["decide", "propose", ...destroy, ...GROUNDS, "--carries-out"];
  cabinet.sign(file, "ambassador");
  failed(await state.run([...early, readProposal(readFileSync(file)).id]), "unknown-name", 2);

  const { decision: announced } = await cabinet.submit(file);
  assert.equal(announced.standing.status, "enacted");
  const other = ["destroy", "land", "--epochs", "1,3-5", "--carries-out", announced.id];
  const why = failed(await state.run(["decide", "propose", ...other, ...GROUNDS]), "usage", 2);
  assert.match(why, /announced something else/);
  const second = await give(...destroy, "--carries-out", announced.id.slice(0, 8));
  assert.equal(second.standing.status, "enacted");
  const view = await state.good<{ readonly terms: readonly string[] }>("decide", "show", second.id);
  assert.ok(view.terms.some((term) => term.includes(`announced by decision ${announced.id}`)));

  const third = await cabinet.propose(...destroy, "--carries-out", announced.id);
  cabinet.sign(third, ...four);
  assert.match(await cabinet.refuseSubmit(third), /has been carried out/);
});

test("a decision made under other rules, or about what changed since, has to be made anew", async (t) => {
  const cabinet = await Cabinet.found(t, { constitutional: 0, destructive: 0 });
  const { state } = cabinet;
  const old = await cabinet.propose("expel-site", "lu");
  cabinet.sign(old, ...ENOUGH);
  const same = await cabinet.propose("expel-site", "lu");
  cabinet.sign(same, ...ENOUGH);
  assert.equal((await cabinet.submit(same)).decision.standing.status, "enacted");
  assert.match(await cabinet.refuseSubmit(old), /was changed since it was made/);

  const before = await cabinet.propose("rotate-epoch", "land");
  cabinet.sign(before, ...ENOUGH);
  const replaced = await cabinet
    .decided("amend", "--replace", `registrar=${state.path("stranger.card.json")}`)
    .catch((error: unknown) => error);
  assert.ok(!(replaced instanceof Error), String(replaced));
  const seats = (await cabinet.charter()).constitution.seats;
  assert.equal(seats.find(({ name }) => name === "registrar")?.office, "stranger");
  assert.match(await cabinet.refuseSubmit(before), /seats, thresholds or delays have changed/);
});

test("a signature that would count for nothing, or twice, is refused or named", async (t) => {
  const cabinet = await Cabinet.found(t);
  const { state } = cabinet;
  const file = await cabinet.propose("expel-site", "lu");
  const sign = (name: Person, ...more: readonly string[]) =>
    state.run<{ readonly counts: boolean }>([
      "decide",
      "sign",
      file,
      "--key",
      state.path(`${name}.key.age`),
      ...pass(state),
      ...more,
    ]);
  assert.match(failed(await sign("pm"), "usage", 2), /no terminal/);
  const blank = readFileSync(file);
  assert.match(failed(await sign("stranger", "--yes"), "untrusted"), /no seat/);
  writeFileSync(state.path("wrong"), "Another-Passphrase\n");
  const wrong = ["--key", state.path("pm.key.age"), "--passphrase-file", state.path("wrong")];
  failed(await state.run(["decide", "sign", file, ...wrong, "--yes"]), "wrong-passphrase");
  assert.deepEqual(readFileSync(file), blank, "the file is as it was");

  assert.equal(good(await sign("pm", "--yes")).counts, true);
  assert.match(failed(await sign("pm", "--yes"), "usage", 2), /has signed it already/);
  const deputy = await sign("deputy", "--yes");
  assert.equal(good(deputy).counts, false);
  assert.match(deputy.notices.join(), /a seat counts once/);
  cabinet.sign(file, "justice");
  assert.match(await cabinet.refuseSubmit(file), /2 of the 3 signatures/);

  // A key in a device: age opens it, and it comes through a pipe.
  const seed = await import("../src/crypto/key-file.ts").then(({ openKeyFile }) =>
    openKeyFile(readFileSync(state.path("envoy.key.age")), PASSPHRASE),
  );
  const piped = await state.run<{ readonly counts: boolean }>(
    ["decide", "sign", file, "--key", "-", "--yes"],
    { input: seed },
  );
  assert.equal(good(piped).counts, true);
  assert.equal((await cabinet.submit(file)).decision.standing.status, "waiting");
});

test("a file that was altered on its way is refused by whoever reads it", async (t) => {
  const cabinet = await Cabinet.found(t);
  const { state } = cabinet;
  const file = await cabinet.propose("expel-site", "lu");
  cabinet.sign(file, ...ENOUGH);
  const whole = readFileSync(file, "utf8");
  const parts = JSON.parse(whole) as Record<"charter" | "payload" | "envelope", string>;
  const edited = (text: string, from: string, to: string): string => {
    const plain = Buffer.from(fromBase64(text)).toString();
    assert.ok(plain.includes(from));
    return toBase64(utf8(plain.replace(from, to)));
  };
  const other = { ...parts, payload: edited(parts.payload, '"site":"lu"', '"site":"bb"') };
  const charter = { ...parts, charter: edited(parts.charter, "Test State", "Best State") };
  const envelope = JSON.parse(Buffer.from(fromBase64(parts.envelope)).toString()) as {
    signatures: { sig: string }[];
  };
  const [first] = envelope.signatures;
  const bytes = fromBase64(first!.sig);
  // One of the two halves alone: ML-DSA begins behind the 64 bytes of Ed25519.
  bytes[100]! ^= 1;
  first!.sig = toBase64(bytes);
  const broken = { ...parts, envelope: toBase64(utf8(JSON.stringify(envelope))) };
  const rows: readonly (readonly [string, string, "altered" | "malformed"])[] = [
    ["the order exchanged under the signatures", JSON.stringify(other), "altered"],
    ["another charter than was seen", JSON.stringify(charter), "altered"],
    ["one half of one signature broken", JSON.stringify(broken), "altered"],
    ["a name twice", whole.replace("{", '{"paper":"veto",'), "malformed"],
    ["cut off", whole.slice(0, -10), "malformed"],
    ["something more", whole.replace("{", '{"more":1,'), "malformed"],
  ];
  for (const [what, text, code] of rows) {
    const hostile = cabinet.file("hostile");
    writeFileSync(hostile, text);
    for (const command of [["show"], ["submit"], ["sign", "--key", "x", "--yes"]]) {
      const [name = "", ...flags] = command;
      const outcome = await state.run(["decide", name, hostile, ...flags]);
      assert.equal(outcome.error?.code, code, `${what}: ${outcome.stdout.toString()}`);
    }
  }
  assert.equal((await cabinet.list()).open.length, 0);
});

test("--offline tells what the file tells, and home what home knows", async (t) => {
  const cabinet = await Cabinet.found(t, { constitutional: 0, destructive: 0 });
  const { state } = cabinet;
  const file = await cabinet.propose("expel-site", "lu");
  cabinet.sign(file, ...ENOUGH);
  await cabinet.submit(file);
  const offline = await state.good<View>("decide", "show", file, "--offline");
  assert.equal(offline.standing.status, "signed");
  assert.equal(offline.by, "file");
  const online = await state.good<View>("decide", "show", file);
  assert.equal(online.standing.status, "enacted");
  const again = ["--key", state.path("ambassador.key.age"), ...pass(state), "--yes"];
  failed(await state.run(["decide", "sign", file, ...again]), "usage", 2);
});

test("in a trial one person decides at once; reasons name no register, for host countries read them", async (t) => {
  const state = await TestState.found(t, { sites: ["bb", "kn"], register: false });
  await state.good("register", "declare", "land-titles");
  type Decided = { readonly decision: { readonly standing: Standing } };
  const { decision } = await state.good<Decided>(
    "decide",
    "propose",
    "rotate-epoch",
    "land-titles",
    ...GROUNDS,
  );
  assert.equal(decision.standing.status, "enacted");
  const told = ["--reason", "Somebody read land-titles.", "--citation", "Act 7"];
  const why = failed(
    await state.run(["decide", "propose", "rotate-epoch", "land-titles", ...told]),
    "usage",
    2,
  );
  assert.match(why, /every host country would read it/);
  const misfit = await state.run(["decide", "propose", "expel-site", "xx", ...GROUNDS]);
  assert.match(failed(misfit, "usage", 2), /there is no xx/);
  writeFileSync(state.path("changes.json"), '{"retentionSeconds":86400}');
  const amend = ["decide", "propose", "amend", "--changes", state.path("changes.json"), ...GROUNDS];
  await state.good(...amend, "--review", "2030-01-31");
  const { charter } = await state.openHome();
  assert.equal(charter.review, "2030-01-31T00:00:00Z");
  assert.equal(charter.retentionSeconds, 86_400);
  writeFileSync(state.path("changes.json"), '{"retentionSeconds":1,"retentionSeconds":2}');
  failed(await state.run(amend), "malformed");
});

test("what a revoked machine wrote since it is suspect is set aside, and not restored by default", async (t) => {
  const state = await TestState.found(t, { sites: ["bb", "kn", "lu"], threshold: 2 });
  state.write("a", "sound");
  good(await state.protect());
  const [first] = (await state.snapshots()).snapshots;
  assert.ok(first);
  const second = (time: string): string => `${time.slice(0, 19)}Z`;
  let newest = first;
  state.write("a", "poison");
  for (let tries = 0; tries < 20 && second(newest.time) === second(first.time); tries++) {
    good(await state.protect());
    newest = (await state.snapshots()).snapshots[0] ?? newest;
  }
  const suspect = second(newest.time);
  await state.good("decide", "propose", "revoke-agent", "--suspect-from", suspect, ...GROUNDS);
  const kept = (await state.snapshots()).snapshots;
  assert.ok(kept.some(({ id }) => id === first.id));
  assert.ok(!kept.some(({ id }) => id === newest.id));
  assert.equal((await state.restore("out")).code, 0);
  failed(await state.protect(), "untrusted");
});

test("who joined one after another is found again, wherever a site keeps which annex", async (t) => {
  const state = await TestState.found(t, { sites: ["bb"], register: false });
  const home = await state.openHome();
  const by = { agent: home.agent, time: new Date() };
  const to = { state: home.state, recovery: home.charter.recovery };
  let last = home.charter.annex;
  for (let i = 0; i < 8; i++) {
    const annex = sealAnnex(peopleWhoJoin([`Person ${i}`], last), to, by);
    await home.saveAnnex(annex);
    last = annex.digest;
  }
  const places = await openAllSites(home);
  await publish(home, places);
  const { seed } = await openKey("recovery-key", state.read("recovery.age"), PASSPHRASE);
  const { kem } = recoveryKeyFromSeed(seed);
  const notices: string[] = [];
  const { others } = await openAnnexes(home.path, places, home.known, [last], kem, (notice) =>
    notices.push(notice),
  );
  const names = others.flatMap((one) => readPeople(one)?.people.map(({ name }) => name) ?? []);
  const joined = Array.from({ length: 8 }, (_, i) => `Person ${i}`);
  assert.deepEqual(names.toSorted(), ["Founder", ...joined]);
  assert.deepEqual(notices, []);
});
