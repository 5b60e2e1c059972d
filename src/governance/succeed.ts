/**
 * Succession: the recovery key closes the old ledger, and opens the next generation with another machine as
 * home. In a trial, whose one seat signed with a key at home, a new seat takes its place.
 */
import { randomBytes } from "node:crypto";
import { momentOf } from "../charter/charter.ts";
import { addSignature, openPaper, signPaper } from "../charter/decision.ts";
import { openDecision } from "../charter/history.ts";
import { applySuccession } from "../charter/succession.ts";
import { toBase64, toHex } from "../crypto/bytes.ts";
import { envelopeId } from "../crypto/dsse.ts";
import { signingKeyFromSeed } from "../crypto/signing.ts";
import { invariant } from "../errors.ts";
import { Log } from "../ledger/log.ts";
import { verifierKeysOf } from "../ledger/log-key.ts";
import { formatVerifierKey } from "../ledger/note.ts";
import { documentRandom } from "../vault/documents.ts";
import {
  Home,
  ledgerFile,
  type RegisterDetails,
  type SiteConfig,
  saveDocument,
} from "../vault/home.ts";
import type { RecoveryKey } from "../vault/recovery-key.ts";
import { draftDecision, submit } from "./decide.ts";
import { AGENT_QUOTA, newLedger } from "./found.ts";
import type { ReadState } from "./read-state.ts";

export type SucceedOptions = {
  readonly recovery: RecoveryKey;
  readonly sites: readonly SiteConfig[];
  readonly inventory: readonly RegisterDetails[];
  readonly now: Date;
};

/** Makes the home that succeeds, in the folders where the State was read into. No site knows of it yet. */
export async function succeed(
  path: string,
  { known, generations, keys }: ReadState,
  { recovery, sites, inventory, now }: SucceedOptions,
): Promise<Home> {
  const { charter, history } = known;
  const before = history.history.at(-1);
  const closing = generations.at(-1)?.log.latest();
  invariant(before && closing, "a State that was read has a charter and a ledger");
  const closed = generations.at(-1)?.log.head(closing.size);
  invariant(closed, "a ledger has the head that it signed");

  const [agentSeed, ledgerSeed] = [randomBytes(32), randomBytes(32)];
  const generation = charter.ledger.generation + 1;
  const next = newLedger(ledgerSeed, toHex(randomBytes(8)), generation);
  const { witnesses, quorum } = charter.ledger;
  const envelope = signPaper(
    {
      kind: "succession",
      format: 1,
      state: known.id,
      charter: before.id,
      closes: { origin: closed.origin, size: closed.size, root: toHex(closed.root) },
      ledger: { ...next.ledger, witnesses, quorum },
      agent: {
        signing: toBase64(signingKeyFromSeed(agentSeed).publicKey.bytes),
        term: charter.term + 1,
        registers: [],
        ...AGENT_QUOTA,
      },
      // Never before the charter that it follows: a home whose clock was ahead must not bar the way back.
      time: momentOf(new Date(Math.max(now.getTime(), Date.parse(charter.time)))),
      random: documentRandom(),
    },
    recovery.signing,
  );
  const trusted = new Map([[recovery.signing.id, recovery.signing.publicKey]]);
  const opened = openPaper("succession", envelope, known.id, trusted);
  const after = applySuccession(before, opened);
  await saveDocument(path, "succession", envelopeId(envelope), envelope);
  await saveDocument(path, "charter", after.id, after.payload);
  const log = Log.open(
    ledgerFile(path, generation),
    verifierKeysOf(next.ledgerKey),
    next.ledgerKey,
  );
  try {
    log.append([
      { kind: "succession", envelope: envelopeId(envelope) },
      { kind: "charter", envelope: after.id },
    ]);
    log.sign(now);
  } finally {
    log.close();
  }
  const seatSeed = charter.constitution.preset === "trial" ? randomBytes(32) : undefined;
  const home = await Home.create(path, {
    config: {
      format: 2,
      state: known.id,
      ledgers: [
        ...keys.map((one, i) => ({
          keys: one.map(formatVerifierKey),
          closedAt: generations[i]?.closedAt ?? closed.size,
        })),
        { keys: next.ledger.keys },
      ],
      inventory: [...inventory],
      sites: [...sites],
      registers: [],
    },
    agentSeed,
    ledgerSeed,
    ...(seatSeed ? { seatSeed } : {}),
  });
  if (home.seat) await reseat(home, recovery, now);
  return home;
}

/** In a trial: the one seat's key was lost with home, and the recovery key seats another one. */
async function reseat(home: Home, recovery: RecoveryKey, now: Date): Promise<void> {
  const { seat } = home;
  invariant(seat, "a trial's home has its seat's key");
  const { constitution } = home.charter;
  const key = toBase64(seat.publicKey.bytes);
  const seats = constitution.seats.map((one) => ({
    ...one,
    people: one.people.map((person) => ({ ...person, key })),
  }));
  const decision = await draftDecision(
    home,
    { kind: "amend", constitution: { ...constitution, seats } },
    { reason: "Home was lost, and its seat's key with it", citation: "exclave recover" },
    now,
  );
  const first = signPaper(decision, recovery.signing);
  const envelope = addSignature(openDecision(first, home.state, home.charter), seat);
  await submit(home, [envelope], now);
}
