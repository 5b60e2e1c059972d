/** What the recovery key signs: a succession, and other signatories; and everything else that it does not. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  admit,
  amend,
  Book,
  constitution,
  day,
  decisionOf,
  expel,
  facts,
  founding,
  freeze,
  HOME_AND_ABROAD,
  kem,
  keyOf,
  person,
  publicKey,
  random,
  STATE,
  signed,
  successionOf,
  veto,
} from "../../test/support/charter.ts";
import { isExclaveError } from "../errors.ts";
import { assess, type Standing } from "./assess.ts";
import type { StoredCharter } from "./charter.ts";
import { type OpenedPaper, openPaper, signPaper } from "./decision.ts";
import { nextToEnact, standings } from "./history.ts";
import type { Order } from "./orders.ts";
import { applySuccession, type Succession } from "./succession.ts";

/** As it comes back from the envelope that the key of this name signed. */
function opened(paper: Succession, signer = "recovery"): OpenedPaper<"succession"> {
  const key = keyOf(signer);
  const trusted = new Map([[key.id, key.publicKey]]);
  return openPaper("succession", signPaper(paper, key), STATE, trusted);
}

/** Why the entries that count for nothing do not. */
const quarantined = (book: Book, on: string): readonly string[] =>
  book
    .read(on)
    .quarantined.map(({ generation, position, why }) => `${generation}/${position} ${why}`);

function statusOf(book: Book, id: string, on: string): Standing | undefined {
  const read = book.read(on);
  const logged = read.decisions.find(({ opened: one }) => one.id === id);
  return logged && assess(logged.opened, read);
}

test("the charter that follows has the next term, machine and ledger, and all else as it was", () => {
  const succession = opened(successionOf(founding, day("06-10")));
  const after = applySuccession(founding, succession);
  assert.equal(applySuccession(founding, succession).id, after.id);
  const { version, previous, decision, time, random: salt, ...rest } = after.charter;
  assert.deepEqual(
    { version, previous, decision, time },
    { version: 2, previous: founding.id, decision: succession.id, time: "2026-06-10T12:00:00Z" },
  );
  assert.notEqual(salt, founding.charter.random);
  const { version: _1, time: _2, random: _3, ...before } = founding.charter;
  const { agent, ledger } = succession.paper;
  assert.deepEqual(rest, { ...before, term: 2, agents: [...before.agents, agent], ledger });
});

test("a succession that does not fit the charter before is refused, whatever of it does not", () => {
  const fits = successionOf(founding, day("06-10"));
  const { ledger, agent, closes } = fits;
  const [old] = founding.charter.ledger.keys;
  const renamed = old?.replace(founding.charter.ledger.origin, ledger.origin) ?? "";
  const [one = "", other = ""] = ledger.keys;
  const sameOrigin = {
    ...ledger,
    origin: closes.origin,
    keys: ledger.keys.map((key) => key.replace(ledger.origin, closes.origin)),
  };
  const unfit: readonly (readonly [Partial<Succession>, RegExp])[] = [
    [{ charter: "12".repeat(32) }, /another charter/],
    [{ closes: { ...closes, origin: "exclave.example/other/1" } }, /closes another ledger/],
    [{ ledger: { ...ledger, generation: 1 } }, /next generation/],
    [{ ledger: { ...ledger, generation: 3 } }, /next generation/],
    [{ ledger: sameOrigin }, /origin of the old/],
    [{ ledger: { ...ledger, keys: [renamed, other] } }, /key of the old/],
    [{ ledger: { ...ledger, keys: [one, renamed] } }, /key of the old/],
    [{ agent: { ...agent, term: 1 } }, /next term/],
    [{ agent: { ...agent, term: 3 } }, /next term/],
    [{ agent: { ...agent, signing: publicKey("agent") } }, /given twice/],
    [{ agent: { ...agent, signing: publicKey("recovery") } }, /given twice/],
    [{ time: "2025-12-31T23:59:59Z" }, /from before/],
  ];
  for (const [changes, why] of unfit) {
    assert.throws(
      () => applySuccession(founding, opened({ ...fits, ...changes })),
      (error) => isExclaveError(error, "usage") && why.test(error.message),
      String(why),
    );
  }
  // The moment of the charter itself is early enough.
  applySuccession(founding, opened({ ...fits, time: founding.charter.time }));
  const unsayable: readonly Partial<Succession>[] = [
    { closes: { ...closes, size: 0 } },
    { agent: { ...agent, suspectFrom: fits.time } as Succession["agent"] },
    { format: 2 as 1 },
  ];
  for (const changes of unsayable) {
    const refused = (error: unknown): boolean => isExclaveError(error, "usage");
    assert.throws(() => opened({ ...fits, ...changes }), refused, JSON.stringify(changes));
  }
});

test("two generations replay to one history, and what waited in the first takes effect in the second", () => {
  const book = new Book().add("charter", founding.payload, "01-01");
  book.decide(admit, ["pm", "justice", "interior"], "03-01");
  const admitted = book.enact("03-02");
  const expelled = book.decide(expel, HOME_AND_ABROAD, "03-03");
  const succeeded = book.succeed("03-05");
  assert.deepEqual(statusOf(book, expelled, "03-06"), { status: "waiting", until: day("03-10") });
  const after = book.enact("03-10");
  const third = book.succeed("03-20");

  const { history, successions, enacted, quarantined: nothing } = book.read("03-21");
  assert.deepEqual(
    history.map(({ id }) => id),
    [founding, admitted, succeeded, after, third].map(({ id }) => id),
  );
  assert.deepEqual(
    successions.map(({ id, paper, at }) => [id, paper.ledger.generation, at]),
    [
      [succeeded.charter.decision, 2, day("03-05")],
      [third.charter.decision, 3, day("03-20")],
    ],
  );
  assert.equal(enacted.get(expelled)?.version, 4);
  assert.deepEqual(nothing, []);
  assert.equal(third.charter.term, 3);
  assert.deepEqual(
    third.charter.agents.map(({ term }) => term),
    [1, 2, 3],
  );
});

test("vetoes, freezes and signatures of the old ledger count on in the next", () => {
  const vetoed = new Book();
  const id = vetoed.decide(expel, HOME_AND_ABROAD, "03-01");
  vetoed.add("veto", veto(id, "interior").envelope, "03-02");
  vetoed.succeed("03-03");
  vetoed.add("veto", veto(id, "opposition").envelope, "03-04");
  assert.match(JSON.stringify(statusOf(vetoed, id, "03-09")), /vetoed by interior, opposition/);

  // Ten days and eight are more than the two have, and what was in the old ledger came first.
  const frozen = longBook();
  frozen.decide(expel, HOME_AND_ABROAD, "02-28");
  frozen.add("freeze", freeze(["interior", "opposition"], "03-01", "03-11").envelope, "02-28");
  frozen.succeed("03-03");
  assert.equal(nextToEnact(frozen.read("03-09")), undefined);
  frozen.add("freeze", freeze(["interior", "opposition"], "03-11", "03-19").envelope, "03-09");
  assert.ok(nextToEnact(frozen.read("03-12")));

  const gathered = longBook();
  const decision = decisionOf(expel);
  for (const name of ["pm", "justice"]) {
    gathered.add("decision", signPaper(decision, keyOf(name)), "03-01");
  }
  gathered.succeed("03-03");
  gathered.add("decision", signPaper(decision, keyOf("abroad")), "03-05");
  const [standing] = standings(gathered.read("03-06")).values();
  assert.deepEqual(standing, { status: "waiting", until: day("03-12"), decision });

  const both = longBook();
  const changes = { notBefore: "2026-03-06T00:00:00Z" };
  const first = both.decide(expel, HOME_AND_ABROAD, "03-01", changes);
  both.succeed("03-03");
  const second = both.decide(expel, HOME_AND_ABROAD, "03-04", changes);
  assert.deepEqual(
    [first, second].map((id) => statusOf(both, id, "03-14")),
    [1, 2].map(() => ({ status: "ripe", since: new Date("2026-03-13T00:00:00Z") })),
  );
  assert.equal(nextToEnact(both.read("03-14"))?.decision.id, first);
});

test("nothing in the next ledger is dated to before the succession was seen", () => {
  const book = new Book();
  const before = book.decide(expel, HOME_AND_ABROAD, "03-01");
  book.succeed("03-05");
  const after = book.decide(expel, HOME_AND_ABROAD, "02-20");
  assert.deepEqual(statusOf(book, after, "03-06"), { status: "waiting", until: day("03-12") });
  assert.deepEqual(statusOf(book, before, "03-06"), { status: "waiting", until: day("03-08") });
});

/** A first ledger with so many entries that positions in the next are lower for long. */
function longBook(): Book {
  const book = new Book().add("charter", founding.payload, "01-01");
  for (let i = 0; i < 5; i += 1) book.add("decision", new Uint8Array(), "01-01");
  return book;
}

test("what waited for a machine or a ledger that the succession replaced is void", () => {
  const book = new Book();
  const [agent] = founding.charter.agents;
  const { ledger } = founding.charter;
  assert.ok(agent);
  const activate: Order = {
    kind: "activate",
    agent: { ...agent, signing: publicKey("other"), term: 2 },
  };
  const activated = book.decide(activate, HOME_AND_ABROAD, "03-01");
  const amended = book.decide({ kind: "amend", ledger }, HOME_AND_ABROAD, "03-01");
  book.succeed("03-05");
  for (const id of [activated, amended]) {
    assert.equal(statusOf(book, id, "03-09")?.status, "void");
  }
});

test("a succession counts only where the next ledger begins, signed by the recovery key, with its charter", () => {
  const fits = successionOf(founding, day("03-05"));
  const envelope = (changes: Partial<Succession> = {}, signer = "recovery"): Uint8Array =>
    signPaper({ ...fits, ...changes }, keyOf(signer));
  const charter = applySuccession(founding, opened(fits)).payload;
  const nowhere = /only where the next ledger begins/;
  const unopened = /was not opened by a succession/;
  const wrong: readonly (readonly [string, (book: Book) => void, readonly RegExp[]])[] = [
    ["in the old ledger", (book) => book.add("succession", envelope(), "03-05"), [nowhere]],
    [
      "second in the next",
      (book) => {
        book.generation = 2;
        book.add("veto", veto("12".repeat(32), "pm").envelope, "03-05");
        book.add("succession", envelope(), "03-05").add("charter", charter, "03-05");
      },
      [unopened, nowhere, unopened],
    ],
    [
      "a generation skipped",
      (book) => {
        book.generation = 3;
        const ledger = { ...fits.ledger, generation: 3 };
        book.add("succession", envelope({ ledger }), "03-05").add("charter", charter, "03-05");
      },
      [nowhere, unopened],
    ],
    [
      "in the next ledger, of the one after it",
      (book) => {
        book.generation = 2;
        const ledger = { ...fits.ledger, generation: 3 };
        book.add("succession", envelope({ ledger }), "03-05").add("charter", charter, "03-05");
      },
      [/next generation/, unopened],
    ],
    [
      "by a seat",
      (book) => {
        book.generation = 2;
        book.add("succession", envelope({}, "pm"), "03-05").add("charter", charter, "03-05");
      },
      [/not signed by any trusted key/, unopened],
    ],
    [
      "of another State",
      (book) => {
        book.generation = 2;
        const state = "cd".repeat(32);
        book.add("succession", envelope({ state }), "03-05").add("charter", charter, "03-05");
      },
      [/another State/, unopened],
    ],
    [
      "from before the charter",
      (book) => {
        book.generation = 2;
        const time = "2025-12-31T00:00:00Z";
        book.add("succession", envelope({ time }), "03-05").add("charter", charter, "03-05");
      },
      [/from before/, unopened],
    ],
    [
      "with the charter of another",
      (book) => {
        book.generation = 2;
        book.add("succession", envelope({ random: random() }), "03-05");
        book.add("charter", charter, "03-05").add("charter", charter, "03-05");
      },
      [/not the charter that follows from its succession/, unopened],
    ],
    [
      "with its charter too late",
      (book) => {
        book.generation = 2;
        book.add("succession", envelope(), "03-05");
        book.add("veto", veto("12".repeat(32), "pm").envelope, "03-05");
        book.add("charter", charter, "03-05");
      },
      [unopened, unopened],
    ],
    [
      "with its charter in another ledger",
      (book) => {
        book.generation = 2;
        book.add("succession", envelope(), "03-05");
        book.generation = 3;
        book.add("veto", veto("12".repeat(32), "pm").envelope, "03-05");
        book.add("charter", charter, "03-05");
      },
      [unopened, unopened],
    ],
    [
      "without a charter",
      (book) => {
        book.generation = 2;
        book.add("succession", envelope(), "03-05");
      },
      [],
    ],
  ];
  for (const [what, fill, whys] of wrong) {
    const book = new Book();
    fill(book);
    const { history, successions, quarantined: refused } = book.read("03-06");
    assert.deepEqual([history, successions], [[founding], []], what);
    assert.equal(refused.length, whys.length, `${what}: ${JSON.stringify(refused)}`);
    for (const [i, why] of whys.entries()) assert.match(refused[i]?.why ?? "", why, what);
  }
});

test("the founding charter is passed over where the first ledger begins, and nowhere else", () => {
  const book = new Book();
  for (const on of ["01-01", "01-02"]) book.add("charter", founding.payload, on);
  book.succeed("03-01");
  book.generation = 1;
  book.decide(admit, HOME_AND_ABROAD, "03-02");
  assert.deepEqual(quarantined(book, "03-03"), [
    "1/1 no decision can take effect at that moment",
    "1/2 the ledger that it is in was closed",
  ]);
  const other = applySuccession(founding, opened(successionOf(founding, day("02-01"))));
  assert.equal(quarantined(new Book().add("charter", other.payload, "01-01"), "01-02").length, 1);
  const again = new Book();
  again.generation = 2;
  assert.equal(quarantined(again.add("charter", founding.payload, "01-01"), "01-02").length, 1);
});

const NEW = ["new-1", "new-2", "new-3", "new-abroad"] as const;
const newSeats = [...NEW, "new-5"].map((name) => ({
  name,
  office: `The office of ${name}`,
  institution: "Government in exile",
  jurisdiction: name === "new-abroad" ? "LU" : "BZ",
  until: "2030-01-01T00:00:00Z",
  people: [{ person: person(name), key: publicKey(name) }],
}));
const reseat = amend({ seats: newSeats });
const NEW_THRESHOLD = ["new-1", "new-2", "new-abroad"] as const;

/** Another recovery key, put in force by a decision. */
function rotateRecovery(book: Book): StoredCharter {
  const { recovery } = founding.charter;
  const shares = { ...recovery.shares, setId: "23".repeat(16), generation: 2 };
  const next = { ...recovery, kem, signing: publicKey("recovery 2"), shares };
  book.decide({ kind: "amend", recovery: next }, HOME_AND_ABROAD, "03-01");
  return book.enact("03-08");
}

test("a deposed recovery key begins no ledger, and the one in force does", () => {
  const book = new Book();
  const rotated = rotateRecovery(book);
  book.succeed("03-09", "recovery");
  assert.equal(book.current("03-10").id, rotated.id);
  assert.deepEqual(quarantined(book, "03-10"), [
    "2/0 a document is not signed by any trusted key",
    "2/1 the ledger that it is in was not opened by a succession",
  ]);
  const right = new Book();
  rotateRecovery(right);
  const after = right.succeed("03-09", "recovery 2");
  assert.equal(right.current("03-10").id, after.id);
});

test("the recovery key brings other signatories, who sign too, after the timelock", () => {
  const book = new Book();
  book.succeed("03-01");
  const before = book.current("03-01");
  const alone = book.decide(reseat, ["recovery"], "03-02", { charter: before.id }, before);
  assert.match(
    JSON.stringify(statusOf(book, alone, "03-03")),
    /unsigned.*0 of the 3 signatures that it needs, under the charter that would follow/,
  );
  const same = book.decide(amend({}), ["recovery"], "03-02");
  assert.match(JSON.stringify(statusOf(book, same, "03-03")), /unsigned.*0 of the 3.*would follow/);
  const some = book.decide(reseat, ["recovery", "new-1", "new-2", "new-3"], "03-02");
  assert.match(JSON.stringify(statusOf(book, some, "03-03")), /unsigned.*LU or EE, under the/);
  const unasked = book.decide(reseat, ["pm", ...NEW_THRESHOLD], "03-02");
  assert.match(JSON.stringify(statusOf(book, unasked, "03-03")), /"1 of the 3 signatures/);

  const id = book.decide(reseat, ["recovery", ...NEW_THRESHOLD], "03-02");
  assert.deepEqual(statusOf(book, id, "03-08"), { status: "waiting", until: day("03-09") });
  assert.equal(nextToEnact(book.read("03-08")), undefined);
  const after = book.enact("03-09");
  assert.deepEqual(
    after.charter.constitution.seats.map(({ name }) => name),
    newSeats.map(({ name }) => name),
  );
  assert.deepEqual(quarantined(book, "03-10"), []);

  // Who is seated then decides, without the recovery key.
  const signers = ["new-1", "new-2", "new-3"];
  const next = book.decide(admit, signers, "03-10", { charter: after.id }, after);
  assert.equal(statusOf(book, next, "03-10")?.status, "ripe");
});

test("a constitution that loosens a rule waits as long as that rule, whoever signs", () => {
  const { destructive } = constitution.thresholds;
  const thresholds = {
    ...constitution.thresholds,
    destructive: { ...destructive, timelockSeconds: 29 * 86_400 },
  };
  const book = new Book();
  const signers = ["recovery", ...NEW_THRESHOLD];
  const id = book.decide(amend({ seats: newSeats, thresholds }), signers, "03-02");
  assert.deepEqual(statusOf(book, id, "03-08"), { status: "waiting", until: day("04-01") });
});

test("the seats in force veto what the recovery key brings, and freeze it", () => {
  const signers = ["recovery", ...NEW_THRESHOLD];
  const vetoed = new Book();
  const id = vetoed.decide(reseat, signers, "03-02");
  for (const name of ["pm", "opposition"]) vetoed.add("veto", veto(id, name).envelope, "03-05");
  assert.match(JSON.stringify(statusOf(vetoed, id, "03-09")), /void.*vetoed by opposition, pm/);

  const frozen = new Book();
  const stopped = frozen.decide(reseat, signers, "03-02");
  frozen.add("freeze", freeze(["pm", "opposition"], "03-05", "03-15").envelope, "03-05");
  assert.equal(statusOf(frozen, stopped, "03-10")?.status, "frozen");
  assert.equal(statusOf(frozen, stopped, "03-16")?.status, "ripe");
});

test("the recovery key counts for no other decision, veto or freeze", () => {
  const { retentionSeconds } = founding.charter;
  const others: readonly Order[] = [
    admit,
    expel,
    { kind: "amend", annex: "79".repeat(32) },
    { kind: "amend", constitution: { ...constitution, seats: newSeats }, retentionSeconds },
    { kind: "amend", constitution: { ...constitution, seats: newSeats }, retentionSeconds },
  ];
  for (const order of others) {
    const book = new Book();
    const id = book.decide(order, ["recovery", "pm", ...NEW_THRESHOLD], "03-02");
    const standing = statusOf(book, id, "03-02");
    assert.equal(standing?.status, "unsigned", JSON.stringify(order));
    assert.match(JSON.stringify(standing), /"1 of the 3 signatures that it needs"/);
    const [logged] = book.read("03-02").decisions;
    assert.ok(logged && !logged.opened.keyIds.includes(keyOf("recovery").id));
    // Nor where somebody opened it with more trust.
    const trusting = signed(decisionOf(order), ["recovery", "pm"]);
    assert.match(
      JSON.stringify(assess(trusting, facts())),
      /"1 of the 3 signatures that it needs"/,
    );
  }
  const book = new Book();
  book.add("decision", signPaper(decisionOf(admit), keyOf("recovery")), "03-02");
  const id = book.decide(expel, HOME_AND_ABROAD, "03-02");
  const reason = "No";
  const paper = { format: 1, state: STATE, reason, random: random() } as const;
  const [from, until, time] = ["06T00:00:00Z", "12T00:00:00Z", "03T00:00:00Z"].map(
    (text) => `2026-03-${text}`,
  ) as [string, string, string];
  const recovery = keyOf("recovery");
  book.add("veto", signPaper({ kind: "veto", ...paper, decision: id, time }, recovery), "03-03");
  book.add("freeze", signPaper({ kind: "freeze", ...paper, from, until }, recovery), "03-03");
  assert.deepEqual(
    quarantined(book, "03-04").map((one) => one.slice(0, 3)),
    ["1/0", "1/2", "1/3"],
  );
  assert.equal(statusOf(book, id, "03-09")?.status, "ripe");
});

test("a recovery key deposed while its decision waits counts no more", () => {
  const book = new Book();
  const id = book.decide(reseat, ["recovery", ...NEW_THRESHOLD], "03-02");
  const rotated = rotateRecovery(book);
  assert.equal(rotated.charter.recovery.signing, publicKey("recovery 2"));
  assert.match(JSON.stringify(statusOf(book, id, "03-09")), /unsigned.*0 of the 3/);
  const later = book.decide(reseat, ["recovery", "pm", ...NEW_THRESHOLD], "03-10");
  assert.match(JSON.stringify(statusOf(book, later, "03-18")), /unsigned.*1 of the 3/);
  const next = book.decide(reseat, ["recovery 2", ...NEW_THRESHOLD], "03-10", {}, rotated);
  assert.equal(statusOf(book, next, "03-18")?.status, "ripe");
});
