import assert from "node:assert/strict";
import { test } from "node:test";
import {
  admit,
  amend,
  day,
  decisionOf,
  founding,
  HOME_AND_ABROAD,
  kem,
  publicKey,
  REGISTER,
  SEATS,
  seenOn,
  signed,
  standing,
} from "../../test/support/charter.ts";
import { toBase64 } from "../crypto/bytes.ts";
import { kemKeyPairFromSeed } from "../crypto/kem.ts";
import { isExclaveError } from "../errors.ts";
import { type StoredCharter, writeCharter } from "./charter.ts";
import { applyOrder, type Order, orderSchema } from "./orders.ts";

const otherKem = toBase64(kemKeyPairFromSeed(new Uint8Array(32).fill(1)).publicKey);
const enactment = { at: day("06-10"), decision: "88".repeat(32) };

test("orders change what they say and nothing else; the same for everybody", () => {
  const after = applyOrder(founding, admit, enactment);
  assert.equal(after.charter.version, 2);
  assert.equal(after.charter.previous, founding.id);
  assert.equal(after.charter.time, "2026-06-10T12:00:00Z");
  const names = after.charter.sites.map(({ name }) => name);
  assert.deepEqual(names, ["bb", "kn", "lu", "ee", "ca", "pt"]);
  const {
    sites: _1,
    version: _2,
    previous: _3,
    decision: _4,
    time: _5,
    random: _6,
    ...rest
  } = after.charter;
  const { sites: _7, version: _8, time: _9, random: _10, ...before } = founding.charter;
  assert.deepEqual(rest, before);
  assert.equal(applyOrder(founding, admit, enactment).id, after.id);

  const [agent] = founding.charter.agents;
  const revoke = (suspectFrom: string): Order => ({
    kind: "revoke-agent",
    signing: agent!.signing,
    suspectFrom,
  });
  const revoked = applyOrder(founding, revoke("2026-05-01T00:00:00Z"), enactment);
  const again = applyOrder(revoked, revoke("2026-06-01T00:00:00Z"), enactment);
  assert.equal(again.charter.agents[0]?.suspectFrom, "2026-05-01T00:00:00Z", "it stays suspect");

  const unfit: readonly (readonly [string, Order, StoredCharter?])[] = [
    ["a site that is there", { kind: "admit-site", site: founding.charter.sites[0]! }],
    ["a site that is not there", { kind: "expel-site", site: "xx" }],
    ["a site that a register is kept at", { kind: "expel-site", site: "bb" }],
    ["a register that there is not", { kind: "retire-register", register: "12".repeat(16) }],
    [
      "an agent that there is not",
      { ...revoke("2026-01-01T00:00:00Z"), signing: publicKey("stranger") } as Order,
    ],
    ["a revocation in time to come", revoke("2027-01-01T00:00:00Z")],
    [
      "a term that is not the next",
      { kind: "activate", agent: { ...agent!, signing: publicKey("new"), term: 3 } },
    ],
    ["a release to nobody", { kind: "release", register: REGISTER, epochs: [1], to: "reader" }],
    ["an amendment of nothing", { kind: "amend" }],
    ["a threshold that can never be met", amend({ freezeSignatures: 6 })],
    ["an agent forgotten", { kind: "amend", agents: [{ ...agent!, signing: publicKey("new") }] }],
    ["an agent whose revocation is undone", { kind: "amend", agents: [agent!] }, revoked],
    [
      "shares of an older set",
      {
        kind: "amend",
        recovery: {
          ...founding.charter.recovery,
          shares: { ...founding.charter.recovery.shares, generation: 1 },
        },
      },
      writeCharter({
        ...founding.charter,
        recovery: {
          ...founding.charter.recovery,
          shares: { ...founding.charter.recovery.shares, generation: 2 },
        },
      }),
    ],
  ];
  for (const [what, order, before = founding] of unfit) {
    const refused = (error: unknown): boolean => isExclaveError(error, "usage");
    assert.throws(() => applyOrder(before, order, enactment), refused, what);
    const decision = signed(decisionOf(order, { charter: before.id }), [...SEATS]);
    standing(seenOn(decision, "06-01", { history: [before] }), "void", /does not fit/);
  }
});

test("the name and the reader key are amended like the rest, and a reader key can go", () => {
  const named = applyOrder(founding, { kind: "amend", name: "Belize and Cayes" }, enactment);
  assert.equal(named.charter.name, "Belize and Cayes");
  assert.ok(!("reader" in named.charter));
  const reader = { kem, signing: publicKey("reader") };
  const read = applyOrder(named, { kind: "amend", reader }, enactment);
  assert.deepEqual(read.charter.reader, reader);
  assert.equal(read.charter.name, "Belize and Cayes");
  const kept = applyOrder(read, admit, enactment);
  assert.deepEqual(kept.charter.reader, reader);
  const gone = applyOrder(kept, { kind: "amend", reader: { none: true } }, enactment);
  assert.ok(!("reader" in gone.charter));
  assert.throws(
    () => applyOrder(founding, { kind: "amend", reader: { ...reader, kem: "AAAA" } }, enactment),
    (error) => isExclaveError(error, "usage") && /reader key is none/.test(error.message),
  );
  const { signing } = founding.charter.recovery;
  assert.throws(
    () => applyOrder(founding, { kind: "amend", reader: { kem, signing } }, enactment),
    (error) => isExclaveError(error, "usage") && /one key.* is given twice/.test(error.message),
  );

  const sound = (order: unknown): boolean => orderSchema.safeParse(order).success;
  assert.ok(sound({ kind: "amend", reader: { none: true } }));
  for (const key of [{}, { kem }, { none: false }, { none: true, kem }, "none"]) {
    assert.ok(!sound({ kind: "amend", reader: key }), JSON.stringify(key));
  }
  for (const name of ["", "Belize\n", "Bel\u200Bize"]) {
    assert.ok(!sound({ kind: "amend", name }), JSON.stringify(name));
  }
  // Another reader key than the author saw: a release to it would be to somebody else.
  const release: Order = { kind: "release", register: REGISTER, epochs: [1], to: "reader" };
  const other = applyOrder(
    gone,
    { kind: "amend", reader: { ...reader, kem: otherKem } },
    enactment,
  );
  const decision = signed(decisionOf(release, { charter: read.id }), [...SEATS]);
  standing(seenOn(decision, "06-09", { history: [founding, named, read] }), "waiting");
  const history = [founding, named, read, kept, gone, other];
  standing(seenOn(decision, "06-09", { history }), "void", /changed since/);
});

test("what takes from a register, or sets years aside, is no everyday matter", () => {
  const [register] = founding.charter.registers;
  const define = (changes: Partial<typeof register>): Order => ({
    kind: "define-register",
    register: { ...register!, ...changes },
  });
  const atHome = ["pm", "justice", "interior"];
  const everyday: readonly Order[] = [
    define({ id: "12".repeat(16) }),
    define({ sites: ["bb", "kn", "lu", "ee"] }),
    define({ details: "79".repeat(32) }),
    { kind: "revoke-agent", signing: publicKey("agent"), suspectFrom: "2026-05-01T00:00:00Z" },
  ];
  for (const order of everyday)
    standing(seenOn(signed(decisionOf(order), atHome), "06-09"), "ripe");
  const grave: readonly Order[] = [
    define({ sites: [] }),
    define({ sites: ["bb", "kn", "ca"] }),
    define({ k: 1 }),
    define({ survive: 0 }),
    define({ epochSeconds: 91 * 86_400 }),
    define({ sensitivity: "public" }),
    { kind: "revoke-agent", signing: publicKey("agent"), suspectFrom: "2026-01-01T00:00:00Z" },
  ];
  for (const order of grave) {
    standing(seenOn(signed(decisionOf(order), atHome), "06-09"), "unsigned", /LU or EE/);
    standing(seenOn(signed(decisionOf(order), HOME_AND_ABROAD), "06-09"), "waiting");
  }
});
