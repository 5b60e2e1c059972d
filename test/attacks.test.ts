/**
 * The table of attacks: bad input of every kind against a real State, what becomes of it, and what must still be
 * true afterwards. docs/threat-model.md names these rows.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { cpSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import {
  type Charter,
  momentOf,
  readCharter,
  type StoredCharter,
  writeCharter,
} from "../src/charter/charter.ts";
import { addSignature, paperPayload, payloadTypeOf, signPaper } from "../src/charter/decision.ts";
import { charterAfter, nextToEnact, openDecision } from "../src/charter/history.ts";
import { applyOrder, type Order } from "../src/charter/orders.ts";
import { fromBase64, fromUtf8, toBase64, toHex, utf8 } from "../src/crypto/bytes.ts";
import { signEnvelope } from "../src/crypto/dsse.ts";
import { type SigningKey, signingKeyFromSeed } from "../src/crypto/signing.ts";
import { encodeJson, parseStrictJson } from "../src/crypto/strict-json.ts";
import { sealKits } from "../src/custody/ceremony.ts";
import { combineKits, examineKit, type OpenedKit } from "../src/custody/combine-kits.ts";
import { decodeKit, encodeKit, type Kit, openShare } from "../src/custody/kit.ts";
import { splitSecret } from "../src/custody/share-set.ts";
import { type ErrorCode, isExclaveError } from "../src/errors.ts";
import { sealAnnex } from "../src/governance/annex.ts";
import { object, standingOf, submit } from "../src/governance/decide.ts";
import { newLedger } from "../src/governance/found.ts";
import { newProposal, readProposal } from "../src/governance/proposal.ts";
import { checkpointName } from "../src/ledger/at-sites.ts";
import { signCheckpoint } from "../src/ledger/checkpoint.ts";
import { formatNote, parseNote } from "../src/ledger/note.ts";
import { logKeyFromSeed } from "../src/ledger/log-key.ts";
import { decodeEntryBundle, encodeEntryBundle } from "../src/ledger/tiles.ts";
import { Catalog } from "../src/vault/catalog.ts";
import { type Annex, type EpochWrap, type Statement, signDocument } from "../src/vault/documents.ts";
import type { Home } from "../src/vault/home.ts";
import { parseId } from "../src/vault/identifiers.ts";
import { recoveryKeyFromSeed } from "../src/vault/recovery-key.ts";
import { constitution, HOME_AND_ABROAD, keyOf, person, publicKey } from "./support/charter.ts";
import { Embassy, PLACES } from "./support/embassy.ts";

/** What must become of an attack. */
type Outcome =
  /** With this code, in such words; and nothing was written anywhere. */
  | { readonly refused: ErrorCode; readonly says: RegExp }
  /** What was forged counts for nothing, and somebody is told. */
  | { readonly named: RegExp }
  /** All goes on as if nothing had been there. */
  | "ignored";

type Row<Prepared = unknown, Handed = unknown> = {
  readonly name: string;
  readonly outcome: Outcome;
  /** What the State rightly did before. */
  readonly setup?: (s: Embassy) => Promise<Prepared>;
  readonly attack: (s: Embassy, prepared: Prepared) => Promise<Handed> | Handed;
  /** What those do who have not noticed; a home that comes of it must restore, and follow the same charter. */
  readonly then: (s: Embassy, handed: Handed) => Promise<unknown>;
  /** The next charter follows all the same: the attack was to stop it. */
  readonly follows?: true;
  /** Whose clocks count: founded with three witnesses, of whom two must have seen what counts. */
  readonly witnessed?: true;
};

/** Keeps the types of one row to itself. */
const row = <Prepared, Handed>(one: Row<Prepared, Handed>): Row => one as Row;

const folders: string[] = [];
function folder(): string {
  const path = realpathSync(mkdtempSync(join(tmpdir(), "exclave-attacks-")));
  folders.push(path);
  return path;
}
after(() => {
  for (const path of folders) rmSync(path, { recursive: true, force: true });
});

let plain: Embassy;
/** Another State too, for the first one's sites. */
let witnessed: Embassy;
before(async () => {
  plain = await Embassy.found(folder());
  witnessed = await Embassy.found(folder(), 2);
});

function table(title: string, rows: readonly Row[]): void {
  describe(title, () => {
    for (const one of rows) {
      test(one.name, async () => {
        await stands(one, await (one.witnessed ? witnessed : plain).copy(folder()));
      });
    }
  });
}

async function stands(one: Row, s: Embassy): Promise<void> {
  const prepared = await one.setup?.(s);
  const { charterId } = s.home.known;
  const handed = await one.attack(s, prepared);
  const before = await s.fingerprint();
  let came: unknown;
  try {
    came = await one.then(s, handed);
    assert.ok(typeof one.outcome === "string" || "named" in one.outcome, "it was not refused");
  } catch (error) {
    if (!isExclaveError(error) || typeof one.outcome === "string" || "named" in one.outcome) {
      throw error;
    }
    assert.equal(error.code, one.outcome.refused, error.message);
    assert.match(error.message, one.outcome.says);
    assert.equal(await s.fingerprint(), before, "nothing was written");
  }
  s.home.refresh();
  const { history } = s.home.known;
  if (typeof one.outcome === "object" && "named" in one.outcome) {
    const said = [...s.notices, ...history.quarantined.map(({ why }) => why)];
    const { named } = one.outcome;
    assert.ok(
      said.some((sentence) => named.test(sentence)),
      `of ${said.length} sentences none names it: ${said.join("; ")}`,
    );
  }
  const followed = history.history.slice(history.history.findIndex(({ id }) => id === charterId));
  assert.equal(followed.length, one.follows ? 2 : 1, "the charter in force is as it should be");
  if (one.witnessed) return;
  await s.restores();
  if (!isRecovered(came)) return;
  await s.restores(came.home);
  assert.equal(came.home.charter.previous, followed.at(-1)?.id);
}

function isRecovered(came: unknown): came is Awaited<ReturnType<Embassy["recover"]>> {
  return typeof came === "object" && came !== null && "home" in came;
}

const LATER = 100;
const recovered = (s: Embassy): Promise<unknown> => s.recover(LATER);
const WITHOUT_ONE = PLACES.slice(1);

const flipped = (bytes: Uint8Array, at = bytes.length >> 1): Uint8Array =>
  Uint8Array.from(bytes, (byte, i) => (i === at ? byte ^ 1 : byte));
const cut = (bytes: Uint8Array): Uint8Array => bytes.subarray(0, bytes.length >> 1);
const THIEF = publicKey("thief");
const NEVER = "aa".repeat(32);

/** The charter in force, and a machine more that may write. */
function withThief(s: Embassy, before = s.home.known.history.history.at(-1)): Uint8Array {
  assert.ok(before);
  const { charter, id } = before;
  const agent = { ...charter.agents[0], signing: THIEF } as (typeof charter.agents)[number];
  return writeCharter({
    ...charter,
    version: charter.version + 1,
    previous: id,
    decision: NEVER,
    agents: [...charter.agents, agent],
  }).payload;
}

table("charters at sites", [
  row({
    name: "a founding charter with another content under its name, everywhere",
    attack: (s) =>
      s.replace("charter", (bytes, name) =>
        name === s.home.state
          ? writeCharter({ ...readCharter(bytes).charter, name: "Another name" }).payload
          : undefined,
      ),
    then: recovered,
    outcome: { refused: "foreign-state", says: /none of these sites has the founding charter/ },
  }),
  row({
    name: "a founding charter with another content under its name, at all sites but one",
    attack: (s) => s.replace("charter", (bytes) => withThief(s, readCharter(bytes)), WITHOUT_ONE),
    then: recovered,
    outcome: "ignored",
  }),
  row({
    name: "a bit changed in a later charter, everywhere",
    attack: (s) =>
      s.replace("charter", (bytes, name) => (name === s.home.state ? undefined : flipped(bytes))),
    then: recovered,
    outcome: { refused: "not-found", says: /no site has charter [0-9a-f]{64} as its name says/ },
  }),
  row({
    name: "later charters cut off, everywhere",
    attack: (s) =>
      s.replace("charter", (bytes, name) => (name === s.home.state ? undefined : cut(bytes))),
    then: recovered,
    outcome: { refused: "not-found", says: /no site has charter/ },
  }),
  row({
    name: "charters cut off at all sites but one",
    attack: (s) => s.replace("charter", cut, WITHOUT_ONE),
    then: recovered,
    outcome: "ignored",
  }),
  row({
    name: "a forged charter that lets a thief's machine write, under its own name",
    attack: (s) => s.plant("charter", withThief(s)),
    then: recovered,
    outcome: "ignored",
  }),
  row({
    name: "another State's charters",
    attack: (s) =>
      witnessed.home.known.history.history.map(({ payload }) => s.plant("charter", payload)),
    then: recovered,
    outcome: "ignored",
  }),
]);

/** A checkpoint that the ledger's stolen keys signed: so many entries more than there are, of another root. */
async function forgedCheckpoint(s: Embassy, more: number): Promise<[string, Uint8Array]> {
  const { size, origin } = await s.home.withLedger((log) => log.head());
  const head = { origin, size: size + more, root: randomBytes(32) };
  const note = signCheckpoint(logKeyFromSeed(s.secret("ledger"), origin), head, 2_000_000_000);
  return [checkpointName(head, note).replace("checkpoint/", ""), note];
}

/** The same with the signature of one key alone. */
async function halfSigned(s: Embassy, half: 0 | 1): Promise<void> {
  const origin = await s.home.withLedger((log) => log.origin);
  const [name, note] = await forgedCheckpoint(s, 1);
  const { text, signatures } = parseNote(note);
  const bytes = formatNote({ text, signatures: signatures.slice(half, half + 1) });
  const head = { origin, size: Number(name.split(".")[1]), root: new Uint8Array(32) };
  s.plant("checkpoint", bytes, {
    name: checkpointName(head, bytes).replace("checkpoint/", ""),
  });
}

const isTile = (name: string): boolean => name.includes(".tile.0.");
const isBundle = (name: string): boolean => name.includes(".entries.");
function reversed(bytes: Uint8Array, name: string): Uint8Array | undefined {
  if (!isBundle(name)) return undefined;
  const width = Number(/\.p\.(\d+)$/.exec(name)?.[1] ?? 256);
  return encodeEntryBundle([...decodeEntryBundle(bytes, width)].reverse());
}
/** The newest checkpoint's name at any site. */
const newest = (s: Embassy): string =>
  [...s.objects("bb", "checkpoint").keys()]
    .toSorted((a, b) => Number(a.split(".")[1]) - Number(b.split(".")[1]))
    .at(-1) ?? "";

table("the ledger at sites", [
  row({
    name: "tiles with another hash, everywhere",
    attack: (s) => s.replace("ledger", (bytes, name) => (isTile(name) ? flipped(bytes) : undefined)),
    then: recovered,
    outcome: { refused: "altered", says: /does not hold the hashes of the entries/ },
  }),
  row({
    name: "tiles with another hash at all sites but one",
    attack: (s) =>
      s.replace("ledger", (bytes, name) => (isTile(name) ? flipped(bytes) : undefined), WITHOUT_ONE),
    then: recovered,
    outcome: "ignored",
  }),
  row({
    name: "bundles of entries cut off, everywhere",
    attack: (s) => s.replace("ledger", (bytes, name) => (isBundle(name) ? cut(bytes) : undefined)),
    then: recovered,
    outcome: { refused: "malformed", says: /bundle/ },
  }),
  row({
    name: "entries in another order, everywhere",
    attack: (s) => s.replace("ledger", reversed),
    then: recovered,
    outcome: { refused: "altered", says: /do not give the root/ },
  }),
  row({
    name: "an older checkpoint replayed at all sites but one",
    attack: (s) => s.hide("checkpoint", (name) => name === newest(s), ["kn", "lu", "ee"]),
    then: recovered,
    outcome: "ignored",
  }),
  row({
    name: "so few sites answer that they could all replay an older checkpoint",
    attack: () => undefined,
    then: (s) => s.recover(LATER, { sites: ["bb"] }),
    outcome: { refused: "site-unavailable", says: /something newer could be hidden/ },
  }),
  row({
    name: "a checkpoint signed by the Ed25519 key of the ledger alone",
    attack: (s) => halfSigned(s, 0),
    then: recovered,
    outcome: "ignored",
  }),
  row({
    name: "a checkpoint signed by the ML-DSA key of the ledger alone",
    attack: (s) => halfSigned(s, 1),
    then: recovered,
    outcome: "ignored",
  }),
  ...[
    ["recovery", recovered] as const,
    ["home before it writes", (s: Embassy) => s.protect(LATER)] as const,
  ].map(([who, then]) =>
    row({
      name: `another root signed by both stolen keys, at one site: a fork, found by ${who}`,
      attack: async (s) => {
        const [name, note] = await forgedCheckpoint(s, 0);
        s.plant("checkpoint", note, { name, sites: ["lu"] });
        s.hide("checkpoint", (one) => one === newest(s) && one !== name, ["lu"]);
      },
      then,
      outcome: {
        refused: "altered",
        says: /the ledger has forked: .*\d+ entries.* and .*\d+ entries/,
      },
    }),
  ),
  row({
    name: "a larger ledger of which only the checkpoint exists, signed by both stolen keys",
    attack: async (s) => {
      const [name, note] = await forgedCheckpoint(s, 1);
      s.plant("checkpoint", note, { name, sites: ["lu"] });
    },
    then: recovered,
    outcome: { refused: "not-found", says: /no object ledger/ },
  }),
]);

const admit: Order & { readonly kind: "admit-site" } = {
  kind: "admit-site",
  site: { name: "pt", country: "PT", operator: "Operator pt", hazardZone: "Zone pt" },
};
/** Constitutional: a week to see it coming, and two seats to veto it. */
const retain: Order = { kind: "amend", retentionSeconds: 365 * 86_400 };
const other: Order = { kind: "admit-site", site: { ...admit.site, name: "is" } };
const amended = (s: Embassy, changes: Partial<Charter["constitution"]>): Order => ({
  kind: "amend",
  constitution: { ...s.home.charter.constitution, ...changes },
});
/** One seat gets another holder. */
const replacing = (s: Embassy, name: string): Order =>
  amended(s, {
    seats: s.home.charter.constitution.seats.map((seat) =>
      seat.name === name
        ? { ...seat, people: [{ person: person("successor"), key: publicKey("successor") }] }
        : seat,
    ),
  });

/** Home is asked to take a decision in; and a captured home takes it in unasked, and waits. */
async function submitted(s: Embassy, envelope: Uint8Array, days = 12): Promise<unknown> {
  const unasked = await s.copy(folder());
  await unasked.force("decision", envelope, days);
  assert.equal(await unasked.enact(days), 0, "a captured home gains nothing at once");
  assert.equal(await unasked.enact(days + 8), 0, "nor after the delay");
  return submit(s.home, [envelope], s.day(days));
}

/** The signatures over what no author could have written with our code. */
const signedText = (text: string): Uint8Array =>
  signEnvelope(payloadTypeOf("decision"), utf8(text), HOME_AND_ABROAD.map(keyOf));

/** An envelope with a bit changed in its first signature: in the Ed25519 half, or in the ML-DSA half. */
function brokenSignature(envelope: Uint8Array, at: number): Uint8Array {
  const { signatures, ...rest } = JSON.parse(fromUtf8(envelope)) as {
    readonly signatures: readonly { readonly keyid: string; readonly sig: string }[];
  };
  const [first, ...others] = signatures;
  assert.ok(first);
  const sig = toBase64(flipped(fromBase64(first.sig), at));
  return encodeJson({ ...rest, signatures: [{ ...first, sig }, ...others] });
}

const lacks = (what: string): Outcome => ({
  refused: "usage",
  says: new RegExp(`the decision has ${what}.*Nothing was changed`),
});

table("decisions", [
  row({
    name: "two signatures of the three that it needs",
    attack: async (s) => s.sign(await s.draft(admit, 10), ["pm", "justice"]),
    then: submitted,
    outcome: lacks("2 of the 3 signatures"),
  }),
  row({
    name: "a holder and a deputy of one seat, as if they were two",
    attack: async (s) => s.sign(await s.draft(admit, 10), ["pm", "justice", "deputy-justice"]),
    then: submitted,
    outcome: lacks("2 of the 3 signatures"),
  }),
  row({
    name: "three signatures, none of them from abroad",
    attack: async (s) => s.sign(await s.draft(retain, 10), ["pm", "justice", "interior"]),
    then: submitted,
    outcome: lacks("0 of the 1 signatures that it needs from LU or EE"),
  }),
  row({
    name: "signed by the machine that writes",
    attack: async (s) => signPaper(await s.draft(admit, 10), s.home.agent),
    then: submitted,
    outcome: { refused: "untrusted", says: /not signed by any trusted key/ },
  }),
  row({
    name: "two seats and the machine that writes",
    attack: async (s) =>
      signEnvelope(payloadTypeOf("decision"), paperPayload(await s.draft(admit, 10)), [
        keyOf("pm"),
        keyOf("justice"),
        s.home.agent,
      ]),
    then: submitted,
    outcome: lacks("2 of the 3 signatures"),
  }),
  row({
    name: "signed by the recovery key, which decides on signatories alone",
    attack: async (s) => signPaper(await s.draft(admit, 10), s.recovery.signing),
    then: submitted,
    outcome: { refused: "untrusted", says: /not signed by any trusted key/ },
  }),
  row({
    name: "other signatories by the recovery key, without their own signatures",
    attack: async (s) => signPaper(await s.draft(replacing(s, "pm"), 10), s.recovery.signing),
    then: submitted,
    outcome: lacks("0 of the 3 signatures that it needs, under the charter that would follow"),
  }),
  ...(
    [
      ["Ed25519", 10],
      ["ML-DSA", 1000],
    ] as const
  ).map(([half, at]) =>
    row({
      name: `the ${half} half of one signature broken`,
      attack: async (s) => brokenSignature(s.sign(await s.draft(admit, 10)), at),
      then: submitted,
      outcome: { refused: "altered", says: /does not match its signature by key/ },
    }),
  ),
  row({
    name: "one key under two signatures",
    attack: async (s) => {
      const envelope = s.sign(await s.draft(admit, 10), ["pm", "justice"]);
      const parsed = JSON.parse(fromUtf8(envelope)) as { readonly signatures: readonly object[] };
      const { signatures } = parsed;
      return encodeJson({ ...parsed, signatures: [...signatures, ...signatures] });
    },
    then: submitted,
    outcome: { refused: "malformed", says: /signed twice by one key/ },
  }),
  row({
    name: "a payload with one name twice, rightly signed",
    attack: async (s) => {
      const text = fromUtf8(paperPayload(await s.draft(admit, 10)));
      return signedText(text.replace('"reason":', '"reason":"A harmless reason","reason":'));
    },
    then: submitted,
    outcome: { refused: "malformed", says: /name/ },
  }),
  row({
    name: "an order of an unknown kind, rightly signed",
    attack: async (s) => {
      const order = { kind: "sell-register", register: "00".repeat(16) };
      return signedText(fromUtf8(encodeJson({ ...(await s.draft(admit, 10)), order })));
    },
    then: submitted,
    outcome: { refused: "malformed", says: /a decision has a form that is not known/ },
  }),
  row({
    name: "under an older charter, after the rules changed",
    setup: async (s) => {
      const old = s.sign(await s.draft(admit, 10));
      await s.decide(amended(s, { freezeSignatures: 1 }), 10);
      assert.equal(await s.enact(18), 1);
      return old;
    },
    attack: (_, old) => old,
    then: (s, old) => submitted(s, old, 19),
    outcome: { refused: "usage", says: /seats, thresholds or delays have changed since it was made/ },
  }),
  row({
    name: "under a charter that never was",
    attack: async (s) => s.sign(await s.draft(admit, 10, { charter: NEVER })),
    then: submitted,
    outcome: { refused: "usage", says: /under a charter that never was in force/ },
  }),
  row({
    name: "of a ledger that never was",
    attack: async (s) =>
      s.sign(await s.draft(admit, 10, { checkpoint: { size: 3, root: NEVER } })),
    then: submitted,
    outcome: { refused: "usage", says: /a checkpoint that this ledger never had/ },
  }),
  row({
    name: "after its time",
    attack: async (s) => s.sign(await s.draft(admit, 10, { notAfter: momentOf(s.day(11)) })),
    then: submitted,
    outcome: { refused: "usage", says: /its time is over/ },
  }),
  row({
    name: "replayed in another envelope after it took effect",
    setup: async (s) => {
      const decision = await s.draft(admit, 10);
      await submit(s.home, [s.sign(decision)], s.day(10));
      assert.ok(s.home.charter.sites.some(({ name }) => name === "pt"));
      return decision;
    },
    attack: (s, decision) => s.sign(decision, ["interior", "opposition", "abroad"]),
    then: submitted,
    outcome: "ignored",
  }),
  row({
    name: "of another State",
    attack: async (s) => {
      const { state } = witnessed.home;
      return signedText(fromUtf8(encodeJson(await s.draft(admit, 10, { state }))));
    },
    then: submitted,
    outcome: { refused: "foreign-state", says: /another State's/ },
  }),
  row({
    name: "of a signatory who is removed while it is open",
    setup: async (s) => {
      await s.decide(replacing(s, "opposition"), 9);
      const open = s.sign(await s.draft(retain, 10), ["pm", "opposition", "abroad"]);
      await submit(s.home, [open], s.day(10));
      assert.equal(await s.enact(16), 1, "the signatory is replaced");
      return open;
    },
    attack: (_, open) => open,
    then: (s, open) => submitted(s, open, 18),
    outcome: { refused: "usage", says: /seats, thresholds or delays have changed since it was made/ },
  }),
  row({
    name: "a proposal that shows one order, around signatures under another",
    attack: async (s) => {
      const current = s.home.known.history.history.at(-1);
      assert.ok(current);
      const shown = newProposal("decision", await s.draft(admit, 10), current.payload);
      const envelope = toBase64(s.sign(await s.draft(retain, 10)));
      return encodeJson({ ...(JSON.parse(fromUtf8(shown)) as object), envelope }, PROPOSAL);
    },
    then: async (_, bytes) => readProposal(bytes),
    outcome: { refused: "altered", says: /under another paper than the proposal shows/ },
  }),
]);

/** A veto of a decision. */
const veto = (s: Embassy, decision: string, key: SigningKey, days: number): Uint8Array =>
  signPaper(
    {
      kind: "veto",
      format: 1,
      state: s.home.state,
      decision,
      reason: "No",
      time: momentOf(s.day(days)),
      random: toHex(randomBytes(16)),
    },
    key,
  );
async function vetoed(s: Embassy, decision: string, names: readonly string[], days: number) {
  for (const name of names) {
    await object(s.home, "veto", veto(s, decision, keyOf(name), days), s.day(days));
  }
}
/** Fourteen days without anything that can wait. */
async function frozen(s: Embassy, names: readonly string[], from: number): Promise<void> {
  const type = payloadTypeOf("freeze");
  const payload = paperPayload({
    kind: "freeze",
    format: 1,
    state: s.home.state,
    from: momentOf(s.day(from)),
    until: momentOf(s.day(from + 14)),
    reason: "Something is wrong",
    random: toHex(randomBytes(16)),
  });
  await object(s.home, "freeze", signEnvelope(type, payload, names.map(keyOf)), s.day(from));
}
const PROPOSAL = { bytesMax: 2 * 1024 * 1024 };
/** A decision that waits from day 10 to day 17. */
const waiting = (s: Embassy): Promise<string> => s.decide(retain, 10);
/** It takes effect after its week, whatever was done against it. */
async function takesEffect(s: Embassy, days = 18): Promise<void> {
  assert.equal(await s.enact(days), 1);
}

table("vetoes and freezes", [
  row({
    name: "a veto that every site hides: nobody reads on without it",
    setup: async (s) => vetoed(s, await waiting(s), ["justice", "interior"], 12),
    attack: async (s) => {
      await s.publish();
      s.hide("veto");
    },
    then: recovered,
    outcome: { refused: "not-found", says: /no site has veto [0-9a-f]{64} as its name says/ },
  }),
  row({
    name: "a veto that all sites hide but one",
    setup: async (s) => vetoed(s, await waiting(s), ["justice", "interior"], 12),
    attack: async (s) => {
      await s.publish();
      s.hide("veto", undefined, WITHOUT_ONE);
    },
    then: async (s) => {
      assert.equal(await s.enact(18), 0, "it was vetoed");
      return s.recover(LATER);
    },
    outcome: "ignored",
  }),
  row({
    name: "a veto with a bit changed, everywhere",
    setup: async (s) => vetoed(s, await waiting(s), ["justice", "interior"], 12),
    attack: async (s) => {
      await s.publish();
      s.replace("veto", (bytes) => flipped(bytes));
    },
    then: recovered,
    outcome: { refused: "not-found", says: /no site has veto/ },
  }),
  row({
    name: "vetoes that come after the delay",
    setup: waiting,
    attack: (s, decision) => vetoed(s, decision, ["justice", "interior"], 17.5),
    then: (s) => takesEffect(s),
    follows: true,
    outcome: "ignored",
  }),
  row({
    name: "vetoes of fewer seats than it takes, by holder and deputy of one",
    setup: waiting,
    attack: (s, decision) => vetoed(s, decision, ["justice", "deputy-justice"], 12),
    then: (s) => takesEffect(s),
    follows: true,
    outcome: "ignored",
  }),
  row({
    name: "the veto of whom alone it replaces",
    setup: (s) => s.decide(replacing(s, "opposition"), 10),
    attack: (s, decision) => vetoed(s, decision, ["opposition", "interior"], 12),
    then: (s) => takesEffect(s),
    follows: true,
    outcome: "ignored",
  }),
  row({
    name: "a veto signed by the machine that writes",
    setup: waiting,
    attack: (s, decision) => veto(s, decision, s.home.agent, 12),
    then: (s, envelope) => object(s.home, "veto", envelope, s.day(12)),
    outcome: { refused: "untrusted", says: /not signed by any trusted key/ },
  }),
  row({
    name: "a veto signed by the recovery key, put into the ledger by a captured home",
    setup: waiting,
    attack: (s, decision) => s.force("veto", veto(s, decision, s.recovery.signing, 12), 12),
    then: (s) => takesEffect(s),
    follows: true,
    outcome: { named: /not signed by any trusted key/ },
  }),
  row({
    name: "a freeze by one seat of the two that it takes",
    setup: waiting,
    attack: (s) => frozen(s, ["pm"], 12),
    then: (s) => takesEffect(s),
    follows: true,
    outcome: "ignored",
  }),
  row({
    name: "a freeze that the same people renew",
    setup: waiting,
    attack: async (s) => {
      await frozen(s, ["pm", "interior"], 12);
      assert.equal(await s.enact(25), 0, "the first one counts");
      await frozen(s, ["pm", "interior"], 25.5);
    },
    then: (s) => takesEffect(s, 27),
    follows: true,
    outcome: "ignored",
  }),
]);

/** The charter that would follow from a decision, as of its ledger's time and not a moment later. */
function following(s: Embassy, envelope: Uint8Array, days: number): StoredCharter {
  const decision = openDecision(envelope, s.home.state, s.home.charter);
  return charterAfter(s.home.known.history, { decision, since: s.day(days) });
}

/** What a captured home wrote comes to the sites, and to whoever takes over. */
async function published(s: Embassy): Promise<unknown> {
  await s.publish();
  const report = await s.recover(LATER);
  assert.ok(s.notices.some((notice) => /counts for nothing/.test(notice)), "recovery names it");
  return report;
}

table("charters that a captured home wrote", [
  row({
    name: "without a decision",
    attack: (s) => s.force("charter", withThief(s), 20),
    then: published,
    outcome: { named: /no decision can take effect at that moment/ },
  }),
  row({
    name: "before the delay is over",
    attack: async (s) => {
      const envelope = s.sign(await s.draft(retain, 10));
      await s.force("decision", envelope, 10);
      return s.force("charter", following(s, envelope, 17).payload, 11);
    },
    then: published,
    outcome: { named: /no decision can take effect at that moment/ },
  }),
  row({
    name: "of one decision while another takes effect first",
    attack: async (s) => {
      const [first, second] = [s.sign(await s.draft(admit, 10)), s.sign(await s.draft(other, 10))];
      await s.force("decision", first, 10);
      await s.force("decision", second, 11);
      return s.force("charter", following(s, second, 11).payload, 12);
    },
    then: published,
    outcome: { named: /decision [0-9a-f]{64} takes effect first/ },
  }),
  row({
    name: "with more in it than was decided",
    attack: async (s) => {
      const envelope = s.sign(await s.draft(admit, 10));
      await s.force("decision", envelope, 10);
      const { charter } = following(s, envelope, 10);
      const thief = { ...charter.agents[0], signing: THIEF } as (typeof charter.agents)[number];
      const more = writeCharter({ ...charter, agents: [...charter.agents, thief] });
      return s.force("charter", more.payload, 10);
    },
    then: published,
    outcome: { named: /not the charter that follows from its decision/ },
  }),
  row({
    name: "that are none",
    attack: (s) => s.force("charter", utf8('{"kind":"charter","kind":"charter"}'), 20),
    then: published,
    outcome: { named: /name/ },
  }),
]);

/** A decision that the ledger and every witness have since day 10, and the charter that follows on day 17. */
async function seenWaiting(s: Embassy): Promise<StoredCharter> {
  const envelope = s.sign(await s.draft(retain, 10));
  await s.force("decision", envelope, 10);
  await s.witnessed(10, 10, 10);
  return following(s, envelope, 17);
}

table("clocks", [
  row({
    name: "NOT WITHSTOOD without witnesses: home's clock ahead ends a delay at once",
    attack: waiting,
    then: (s) => takesEffect(s, 20),
    follows: true,
    outcome: "ignored",
  }),
  row({
    name: "NOT WITHSTOOD without witnesses: home's clock behind begins a delay at its last checkpoint",
    attack: async (s) =>
      s.force("decision", s.sign(await s.draft(retain, 10, { notBefore: momentOf(s.day(0)) })), 1),
    then: (s) => takesEffect(s, 10),
    follows: true,
    outcome: "ignored",
  }),
  row({
    name: "with witnesses, what they have not seen counts for nothing, whatever home's clock says",
    witnessed: true,
    setup: async (s) => s.force("decision", s.sign(await s.draft(retain, 10)), 10),
    attack: () => undefined,
    then: async (s) => assert.equal(await s.enact(20), 0),
    outcome: "ignored",
  }),
  row({
    name: "with witnesses, a charter that home dates ahead is too early",
    witnessed: true,
    setup: seenWaiting,
    attack: async (s, charter) => {
      await s.force("charter", charter.payload, 20);
      await s.witnessed(11, 11, 11);
    },
    then: async () => undefined,
    outcome: { named: /no decision can take effect at that moment/ },
  }),
  row({
    name: "with witnesses, a decision that home dates back waits from when they saw it",
    witnessed: true,
    setup: async (s) => {
      const envelope = s.sign(await s.draft(retain, 10, { notBefore: momentOf(s.day(0)) }));
      await s.force("decision", envelope, 0);
      await s.witnessed(10, 10, 10);
      return following(s, envelope, 7);
    },
    attack: async (s, charter) => {
      await s.force("charter", charter.payload, 11);
      await s.witnessed(11, 11, 11);
    },
    then: async () => undefined,
    outcome: { named: /no decision can take effect at that moment/ },
  }),
  row({
    name: "one witness of two whose clock is ahead",
    witnessed: true,
    setup: seenWaiting,
    attack: async (s, charter) => {
      await s.force("charter", charter.payload, 11);
      await s.witnessed(20, 11, 11);
    },
    then: async () => undefined,
    outcome: { named: /no decision can take effect at that moment/ },
  }),
  row({
    name: "one witness alone, with any clock",
    witnessed: true,
    setup: seenWaiting,
    attack: async (s, charter) => {
      await s.force("charter", charter.payload, 18);
      await s.witnessed(18);
    },
    then: async () => undefined,
    outcome: "ignored",
  }),
  row({
    name: "with witnesses, a veto that home dates ahead is in time",
    witnessed: true,
    setup: seenWaiting,
    attack: async (s, charter) => {
      await vetoed(s, charter.charter.decision ?? "", ["justice", "interior"], 20);
      await s.witnessed(12, 12, 12);
      return charter.charter.decision;
    },
    then: async (s, id) => {
      const decision = s.home.known.history.decisions.find(({ opened }) => opened.id === id);
      assert.ok(decision);
      const standing = standingOf(s.home, decision.opened, s.day(18));
      assert.match(JSON.stringify(standing), /it was vetoed by interior, justice/);
      assert.equal(await s.enact(18), 0);
    },
    outcome: "ignored",
  }),
  row({
    name: "clocks that differ by minutes stop nothing",
    witnessed: true,
    setup: seenWaiting,
    attack: () => undefined,
    then: async (s, _) => {
      const minute = 1 / (24 * 60);
      assert.equal(await s.enact(17 + minute), 0, "the witnesses have not seen it");
      await s.witnessed(17 - minute, 17 - 3 * minute, undefined);
    },
    follows: true,
    outcome: "ignored",
  }),
]);

/** What a signed document at a site says. */
function saidIn<Said>(bytes: Uint8Array | undefined): Said {
  assert.ok(bytes);
  const { payload } = JSON.parse(fromUtf8(bytes)) as { readonly payload: string };
  return JSON.parse(fromUtf8(fromBase64(payload))) as Said;
}
const first = (s: Embassy, kind: string): Uint8Array | undefined =>
  s.objects("bb", kind).values().next().value;
const statementOf = (s: Embassy): Statement => saidIn(first(s, "statement"));
const wrapOf = (s: Embassy): EpochWrap => saidIn(first(s, "wrap"));

/** What a thief of the agent's key, and of the ledger's where it is to be in the ledger, makes of a statement. */
async function stated(
  s: Embassy,
  changes: Partial<Statement>,
  { key = s.home.agent, logged = true } = {},
): Promise<void> {
  const { id, bytes } = signDocument({ ...statementOf(s), ...changes, agent: key.id }, [key]);
  s.plant("statement", bytes);
  if (!logged) return;
  await s.home.withLedger((log) => {
    log.append([{ kind: "statement", envelope: id }]);
    log.sign(s.day(20));
  });
  await s.publish();
}

/** Takes over, and finds so many recovery points that count. */
async function counted(s: Embassy, count: number): Promise<unknown> {
  const report = await s.recover(LATER);
  assert.deepEqual(
    report.registers.map(({ recoveryPoints }) => recoveryPoints),
    [count],
  );
  return report;
}

/** A second machine of this term, that may write another register alone. */
const MACHINE = keyOf("second machine");
const withMachine = (s: Embassy): Order => ({
  kind: "amend",
  agents: [
    ...s.home.charter.agents,
    {
      signing: toBase64(MACHINE.publicKey.bytes),
      term: 1,
      registers: ["ff".repeat(16)],
      quotaBytesPerDay: 1,
      quotaObjectsPerDay: 1,
    },
  ],
});

table("statements", [
  row({
    name: "of a machine that was revoked, from when it is suspect on",
    setup: async (s) => {
      await s.protect(6);
      const [agent] = s.home.charter.agents;
      assert.ok(agent);
      const suspectFrom = momentOf(s.day(5));
      await s.decide({ kind: "revoke-agent", signing: agent.signing, suspectFrom }, 10);
    },
    attack: (s) => s.publish(),
    then: recovered,
    outcome: { named: /set aside: its agent was revoked, and is suspect from/ },
  }),
  row({
    name: "of a machine that was revoked: it writes no more",
    setup: async (s) => {
      const [agent] = s.home.charter.agents;
      assert.ok(agent);
      const suspectFrom = momentOf(s.day(5));
      await s.decide({ kind: "revoke-agent", signing: agent.signing, suspectFrom }, 10);
    },
    attack: () => undefined,
    then: (s) => s.protect(12),
    outcome: { refused: "untrusted", says: /agent was revoked.*Nothing was written/ },
  }),
  row({
    name: "that the ledger does not have",
    attack: (s) => stated(s, { sequence: 2 }, { logged: false }),
    then: (s) => counted(s, 1),
    outcome: { named: /set aside: the ledger does not have it/ },
  }),
  row({
    name: "in an old term, signed after another home took over",
    attack: async (s) => {
      const report = await s.recover(50, { as: "newer" });
      await stated(s, { sequence: 2 }, { logged: false });
      return report;
    },
    then: async (s, { home }) => {
      await s.protect(60, home);
      const snapshots = readSnapshots(home);
      assert.deepEqual(snapshots, [1, 2].map((sequence) => [sequence, sequence === 1 ? 1 : 2]));
    },
    outcome: { named: /set aside: the ledger does not have it/ },
  }),
  row({
    name: "of a register that its machine may not write",
    setup: async (s) => {
      await s.decide(withMachine(s), 10);
      assert.equal(await s.enact(17), 1);
    },
    attack: (s) => stated(s, { sequence: 2 }, { key: MACHINE }),
    then: (s) => counted(s, 1),
    outcome: { named: /a register that its agent may not write/ },
  }),
  row({
    name: "by nobody's machine",
    attack: (s) => stated(s, { sequence: 2 }, { key: keyOf("thief") }),
    then: (s) => counted(s, 1),
    outcome: { named: /not signed by any trusted key/ },
  }),
  row({
    name: "an old recovery point passed off as the newest",
    attack: (s) => stated(s, { sequence: 2, random: toHex(randomBytes(16)) }),
    then: (s) => counted(s, 1),
    outcome: { named: /the root of a snapshot and its statement differ in sequence/ },
  }),
  row({
    name: "the same statement in another envelope",
    attack: (s) => stated(s, {}),
    then: (s) => counted(s, 1),
    outcome: "ignored",
  }),
  row({
    name: "of another State",
    attack: (s) => stated(s, { state: witnessed.home.state }),
    then: (s) => counted(s, 1),
    outcome: { named: /belongs to another State/ },
  }),
]);

function readSnapshots(home: Home): readonly (readonly [number, number])[] {
  const catalog = new Catalog(home.catalogPath, home.state);
  try {
    return home.config.registers
      .flatMap(({ id }) => catalog.snapshots(parseId("RegisterId", id)))
      .map(({ sequence, term }) => [sequence, term] as const)
      .toSorted(([a], [b]) => a - b);
  } finally {
    catalog.close();
  }
}

/** Puts a wrap of the agent's making in the place of the real one, everywhere. */
function rewrapped(s: Embassy, changes: Partial<EpochWrap>): void {
  const { bytes } = signDocument({ ...wrapOf(s), ...changes }, [s.home.agent]);
  s.hide("wrap");
  s.plant("wrap", bytes);
}
const CANNOT_OPEN: Outcome = {
  refused: "not-enough-shards",
  says: /1 of 1 registers cannot be opened.*Nothing was changed, and no home was superseded/,
};
/** Taking over is refused, and what does not open was named. */
const refusedNaming = (what: RegExp) => async (s: Embassy) => {
  try {
    return await s.recover(LATER);
  } finally {
    const { id } = s.home.register("land");
    const said = s.notices.join("; ");
    assert.match(said, what);
    assert.ok(said.includes(`register ${id}`), "the register is named");
  }
};

table("wraps of epoch keys, and annexes", [
  row({
    name: "a wrap of another epoch in the place of the real one",
    attack: (s) => rewrapped(s, { epoch: wrapOf(s).epoch + 1 }),
    then: refusedNaming(/wrap\/[0-9a-f]{64} was left out/),
    outcome: CANNOT_OPEN,
  }),
  row({
    name: "a wrap that does not open, rightly signed",
    attack: (s) => rewrapped(s, { sealed: toBase64(flipped(fromBase64(wrapOf(s).sealed))) }),
    then: refusedNaming(/wrap\/[0-9a-f]{64} was left out/),
    outcome: CANNOT_OPEN,
  }),
  row({
    name: "a wrap of another key than it says",
    attack: (s) => rewrapped(s, { epochKeyId: NEVER }),
    then: refusedNaming(/another key than it says/),
    outcome: CANNOT_OPEN,
  }),
  row({
    name: "a wrap signed by nobody's machine",
    attack: (s) => {
      const { bytes } = signDocument(wrapOf(s), [keyOf("thief")]);
      s.hide("wrap");
      s.plant("wrap", bytes);
    },
    then: refusedNaming(/not signed by any trusted key/),
    outcome: CANNOT_OPEN,
  }),
  row({
    name: "a wrap that does not open, beside the real one",
    attack: (s) => {
      const sealed = toBase64(flipped(fromBase64(wrapOf(s).sealed)));
      s.plant("wrap", signDocument({ ...wrapOf(s), sealed }, [s.home.agent]).bytes);
    },
    then: recovered,
    outcome: { named: /wrap\/[0-9a-f]{64} was left out/ },
  }),
  row({
    name: "an annex replaced by one of other people that says it is the same",
    attack: (s) => {
      const { state, charter, agent } = s.home;
      const content = { kind: "people", format: 1, people: [], random: "00".repeat(16) };
      const by = { agent, time: s.day(20) };
      const sealed = saidIn<Annex>(sealAnnex(content, { state, recovery: charter.recovery }, by).bytes);
      const { bytes } = signDocument({ ...sealed, digest: charter.annex }, [agent]);
      s.hide("annex");
      s.plant("annex", bytes);
    },
    then: recovered,
    outcome: { named: /annex\/[0-9a-f]{64} was left out/ },
  }),
  row({
    name: "an annex that no site has",
    attack: (s) => s.hide("annex"),
    then: recovered,
    outcome: { named: /no site has the annex/ },
  }),
]);
