/** Charters and the ledger at sites that lie. */
import { randomBytes } from "node:crypto";
import { readCharter, writeCharter } from "../../src/charter/charter.ts";
import { checkpointName } from "../../src/ledger/at-sites.ts";
import { signCheckpoint } from "../../src/ledger/checkpoint.ts";
import { logKeyFromSeed } from "../../src/ledger/log-key.ts";
import { formatNote, parseNote } from "../../src/ledger/note.ts";
import { decodeEntryBundle, encodeEntryBundle } from "../../src/ledger/tiles.ts";
import {
  cut,
  flipped,
  LATER,
  recovered,
  row,
  table,
  WITHOUT_ONE,
  withThief,
  witnessedState,
} from "../support/attacks.ts";
import type { Embassy } from "../support/embassy.ts";

table("charters at sites", [
  row({
    name: "a founding charter with another content under its name, everywhere",
    attack: (s) =>
      s.replace("charter", (bytes, name) =>
        name === s.home.state
          ? writeCharter({ ...readCharter(bytes).charter, name: "Another name" }).payload
          : undefined,
      ),
    answer: recovered,
    outcome: { refused: "foreign-state", says: /none of these sites has the founding charter/ },
  }),
  row({
    name: "a founding charter with another content under its name, at all sites but one",
    attack: (s) => s.replace("charter", (bytes) => withThief(s, readCharter(bytes)), WITHOUT_ONE),
    answer: recovered,
    outcome: "ignored",
  }),
  row({
    name: "a bit changed in a later charter, everywhere",
    attack: (s) =>
      s.replace("charter", (bytes, name) => (name === s.home.state ? undefined : flipped(bytes))),
    answer: recovered,
    outcome: { refused: "not-found", says: /no site has charter [0-9a-f]{64} as its name says/ },
  }),
  row({
    name: "later charters cut off, everywhere",
    attack: (s) =>
      s.replace("charter", (bytes, name) => (name === s.home.state ? undefined : cut(bytes))),
    answer: recovered,
    outcome: { refused: "not-found", says: /no site has charter/ },
  }),
  row({
    name: "charters cut off at all sites but one",
    attack: (s) => s.replace("charter", cut, WITHOUT_ONE),
    answer: recovered,
    outcome: "ignored",
  }),
  row({
    name: "a forged charter that lets a thief's machine write, under its own name",
    attack: (s) => s.plant("charter", withThief(s)),
    answer: recovered,
    outcome: "ignored",
  }),
  row({
    name: "another State's charters",
    attack: async (s) =>
      (await witnessedState()).home.known.history.history.map(({ payload }) =>
        s.plant("charter", payload),
      ),
    answer: recovered,
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
    attack: (s) =>
      s.replace("ledger", (bytes, name) => (isTile(name) ? flipped(bytes) : undefined)),
    answer: recovered,
    outcome: { refused: "altered", says: /does not hold the hashes of the entries/ },
  }),
  row({
    name: "tiles with another hash at all sites but one",
    attack: (s) =>
      s.replace(
        "ledger",
        (bytes, name) => (isTile(name) ? flipped(bytes) : undefined),
        WITHOUT_ONE,
      ),
    answer: recovered,
    outcome: "ignored",
  }),
  row({
    name: "bundles of entries cut off, everywhere",
    attack: (s) => s.replace("ledger", (bytes, name) => (isBundle(name) ? cut(bytes) : undefined)),
    answer: recovered,
    outcome: { refused: "malformed", says: /bundle/ },
  }),
  row({
    name: "entries in another order, everywhere",
    attack: (s) => s.replace("ledger", reversed),
    answer: recovered,
    outcome: { refused: "altered", says: /do not give the root/ },
  }),
  row({
    name: "an older checkpoint replayed at all sites but one",
    attack: (s) => s.hide("checkpoint", (name) => name === newest(s), ["kn", "lu", "ee"]),
    answer: recovered,
    outcome: "ignored",
  }),
  row({
    name: "so few sites answer that they could all replay an older checkpoint",
    attack: () => undefined,
    answer: (s) => s.recover(LATER, { sites: ["bb"] }),
    outcome: { refused: "site-unavailable", says: /something newer could be hidden/ },
  }),
  row({
    name: "a checkpoint signed by the Ed25519 key of the ledger alone",
    attack: (s) => halfSigned(s, 0),
    answer: recovered,
    outcome: "ignored",
  }),
  row({
    name: "a checkpoint signed by the ML-DSA key of the ledger alone",
    attack: (s) => halfSigned(s, 1),
    answer: recovered,
    outcome: "ignored",
  }),
  ...[
    ["recovery", recovered] as const,
    ["home before it writes", (s: Embassy) => s.protect(LATER)] as const,
  ].map(([who, answer]) =>
    row({
      name: `another root signed by both stolen keys, at one site: a fork, found by ${who}`,
      attack: async (s) => {
        const [name, note] = await forgedCheckpoint(s, 0);
        s.plant("checkpoint", note, { name, sites: ["lu"] });
        s.hide("checkpoint", (one) => one === newest(s) && one !== name, ["lu"]);
      },
      answer,
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
    answer: recovered,
    outcome: { refused: "not-found", says: /no object ledger/ },
  }),
]);
