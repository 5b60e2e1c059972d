/**
 * What every change of the State goes through at home: home is current, and knows what its sites were told; the
 * change comes into the ledger, to the sites and before the witnesses; and what then can takes effect.
 */
import { type Decision, signPaper } from "../charter/decision.ts";
import { openDecision } from "../charter/history.ts";
import type { Order } from "../charter/orders.ts";
import { cosignedSeconds } from "../ledger/cosigned-time.ts";
import type { Home } from "../vault/home.ts";
import { witnessesOf } from "../vault/known-state.ts";
import type { SitePlace } from "../vault/open-sites.ts";
import { acquaint } from "./acquaint.ts";
import {
  type Decided,
  draftDecision,
  enactRipe,
  type Grounds,
  ownSeat,
  standingOf,
  submit,
} from "./decide.ts";
import { openAllSites, publish, requireCurrent, requirePublished } from "./ledger-at-sites.ts";
import { takeObjections } from "./objections.ts";

/** Decisions of which one lets the next take effect, with the witnesses asked in between. */
const ROUNDS_MAX = 16;
/** A witness's clock is believed so far ahead of home's, to let take effect what it has just seen. */
const AHEAD_SECONDS_MAX = 300;

/** An order that was decided, or the decision that is to be signed first. */
export type Given =
  | ({ readonly status: "decided" } & Decided)
  /** With home's own signature, where it has a seat that signs with others. */
  | { readonly status: "proposed"; readonly decision: Decision; readonly envelope?: Uint8Array };

/**
 * Gives an order: decided and brought to the sites where home's own seat can decide alone, and otherwise
 * the decision for people to sign. Throws as `submit`, `requireCurrent` and `requirePublished` do.
 */
export async function give(home: Home, order: Order, grounds: Grounds, now: Date): Promise<Given> {
  const seat = ownSeat(home);
  if (!seat) {
    return { status: "proposed", decision: await draftDecision(home, order, grounds, now) };
  }
  const places = await openAllSites(home);
  await acquaint(home, places);
  await requireCurrent(home, places);
  const decision = await draftDecision(home, order, grounds, now);
  const envelope = signPaper(decision, seat);
  const opened = openDecision(envelope, home.state, home.charter);
  if (standingOf(home.known, opened, now).status === "unsigned") {
    return { status: "proposed", decision, envelope };
  }
  const { id } = await submit(home, [envelope], now);
  await bringAbroad(home, places, now);
  return {
    status: "decided",
    id,
    standing: standingOf(home.known, opened, await ledgerTime(home, now)),
  };
}

/**
 * Runs `work`, which brings something into the ledger, and carries it out. Under the State's lock. Throws as
 * `requireCurrent` and `requirePublished` do.
 */
export async function carryOut<T>(home: Home, now: Date, work: () => Promise<T>): Promise<T> {
  const places = await openAllSites(home);
  await acquaint(home, places);
  await requireCurrent(home, places);
  await takeObjections(home, places, now);
  const done = await work();
  await bringAbroad(home, places, now);
  return done;
}

/** Brings home's ledger to the sites; when witnesses have made something ripe, that takes effect and follows. */
async function bringAbroad(home: Home, places: readonly SitePlace[], now: Date): Promise<void> {
  for (let round = 0; round < ROUNDS_MAX; round++) {
    requirePublished(home, await publish(home, places));
    if (home.charter.ledger.witnesses.length === 0) return;
    const before = await entriesOf(home);
    await enactRipe(home, await ledgerTime(home, now));
    // What was entered counts when the witnesses have seen that too, and not before.
    if ((await entriesOf(home)) === before) return;
  }
}

async function entriesOf(home: Home): Promise<number> {
  return home.withLedger(({ size }) => size);
}

/** Now, or when the witnesses say that they saw the newest of the ledger, where their clocks are a little ahead. */
async function ledgerTime(home: Home, now: Date): Promise<Date> {
  return home.withLedger((log) => {
    const latest = log.latest();
    const seconds =
      latest && cosignedSeconds(latest.checkpoint, log.keys, witnessesOf(home.charter));
    const ahead = (seconds ?? 0) - now.getTime() / 1000;
    return seconds !== undefined && ahead > 0 && ahead <= AHEAD_SECONDS_MAX
      ? new Date(seconds * 1000)
      : now;
  });
}
