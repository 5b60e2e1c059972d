/**
 * Decisions that a site carries out itself, held against what it saw itself. The ledger says that a decision took
 * effect; whether this site releases or removes by it also asks when this site first had it, and what objections
 * were brought here that the ledger may never have had. And what a witness must not help to hide.
 */
import { frozenUntil, inLedgerOrder, type Logged, vetoing } from "../charter/assess.ts";
import type { Charter, Seat } from "../charter/charter.ts";
import { type Course, courseOf } from "../charter/course.ts";
import type { PaperKind } from "../charter/decision.ts";
import type { History } from "../charter/history.ts";
import { envelopeId } from "../crypto/dsse.ts";
import type { Delivered } from "./sight.ts";

/**
 * An objection that was brought here must have been here for so long before a decision took effect, for a witness to
 * hold that against the ledger: a home that runs once a day hears of it in that time, and an honest one must not be
 * stopped for what it could not know.
 */
const HEARD_SECONDS = 26 * 3600;
/** Freezes one after another that put off one decision: each seat has 14 days a year, and there are 32 seats. */
const FREEZES_MAX = 64;

/** A release or a destruction that took effect by the ledger. */
export type EnforcedOrder = {
  /** The decision's. */
  readonly id: string;
  readonly kind: "release" | "destroy";
  readonly register: string;
  readonly epochs: readonly number[];
  /** Of a release: to which key. */
  readonly to?: "recovery" | "reader";
  /** Of a destruction: the announcement that it carries out; absent in the announcement. */
  readonly carriesOut?: string;
  /** From when it is ripe at this site; undefined for never. */
  readonly from: Date | undefined;
  /** Why it never is. */
  readonly stopped?: string;
};

/**
 * What the sites carry out, and from when this one does.
 *
 * @param sightOf when this site first had an object of the ledger, cosigned as the charter demands
 */
export function enforcedOrders(
  history: History,
  sightOf: (object: string) => Date | undefined,
  delivered: readonly Delivered[],
): readonly EnforcedOrder[] {
  const orders: EnforcedOrder[] = [];
  for (const [id, { decision }] of history.enacted) {
    const { order, carriesOut } = decision;
    if (order.kind !== "release" && order.kind !== "destroy") continue;
    const course = courseOf(id, history);
    const when = course ? ripeHereFrom(course, history, sightOf, delivered) : {};
    orders.push({
      id,
      kind: order.kind,
      register: order.register,
      epochs: order.epochs,
      ...(order.kind === "release" ? { to: order.to } : {}),
      ...(carriesOut === undefined ? {} : { carriesOut }),
      from: undefined,
      ...when,
    });
  }
  return orders;
}

/** Its delay runs from when this site had all the signatures; a freeze that was known here by then puts it off. */
function ripeHereFrom(
  course: Course,
  history: History,
  sightOf: (object: string) => Date | undefined,
  delivered: readonly Delivered[],
): Pick<EnforcedOrder, "from" | "stopped"> {
  const { decision, before, metAt, requirements, enactedAt } = course;
  const signed = history.decisions.filter(
    ({ opened, at }) => opened.id === decision.id && at <= metAt,
  );
  const seen = signed.map(({ opened }) => sightOf(envelopeId(opened.envelope)));
  if (seen.some((time) => time === undefined)) return { from: undefined };
  const from = latest(metAt, ...seen.flatMap((time) => (time ? [time] : [])));
  const delayed = new Date(from.getTime() + requirements.timelockSeconds * 1000);
  const vetoes = [...history.vetoes, ...asLogged("veto", delivered)];
  const current = history.history.at(-1)?.charter ?? before.charter;
  // Seats that were replaced meanwhile may have objected in time; those that replaced them may too.
  for (const charter of [before.charter, current]) {
    const against = vetoing(decision, { vetoes }, charter, charter, delayed);
    if (against.length >= requirements.vetoSignatures) {
      return {
        from: undefined,
        stopped: `${named(against)} vetoed it at this site or in the ledger`,
      };
    }
  }
  const freezes = together(history.freezes, asLogged("freeze", delivered));
  let ripe = latest(enactedAt, delayed);
  for (let i = 0; i < FREEZES_MAX; i++) {
    const until = frozenUntil({ freezes, now: ripe }, before.charter);
    if (!until) return { from: ripe };
    ripe = until;
  }
  return { from: ripe };
}

/**
 * Why a witness does not help a ledger on: it let a decision take effect against an objection that had been brought
 * here in time. Undefined when it did not.
 *
 * @param history as it is when everything in the ledger counts
 */
export function censored(history: History, delivered: readonly Delivered[]): string | undefined {
  for (const id of history.enacted.keys()) {
    const course = delivered.length > 0 ? courseOf(id, history) : undefined;
    const against = course && objectionTo(course, history, delivered);
    if (against !== undefined) {
      return `the ledger lets decision ${id} take effect, although ${against}. This site cosigns nothing that follows from it`;
    }
  }
  return undefined;
}

function objectionTo(
  { decision, before, after, ripeAt, enactedAt, requirements, canBeFrozen }: Course,
  history: History,
  delivered: readonly Delivered[],
): string | undefined {
  const heardBefore = (time: Date): readonly Delivered[] =>
    delivered.filter(({ at }) => at.getTime() + HEARD_SECONDS * 1000 <= time.getTime());
  const vetoes = [...history.vetoes, ...asLogged("veto", heardBefore(ripeAt))];
  const seats = vetoing(decision, { vetoes }, before.charter, after.charter, ripeAt);
  if (seats.length >= requirements.vetoSignatures) return `${named(seats)} vetoed it in time`;
  const heard = asLogged("freeze", heardBefore(enactedAt));
  if (!canBeFrozen || heard.length === 0) return undefined;
  const freezes = together(history.freezes, heard);
  return isFrozen(freezes, enactedAt, before.charter) ? "decisions were frozen then" : undefined;
}

function isFrozen(freezes: readonly Logged<"freeze">[], now: Date, charter: Charter): boolean {
  return frozenUntil({ freezes, now }, charter) !== undefined;
}

/** Papers that were brought here, as if the ledger had had them from then on. */
function asLogged<K extends PaperKind>(
  kind: K,
  delivered: readonly Delivered[],
): readonly Logged<K>[] {
  return delivered.flatMap((one, position) => {
    if (!isOf(one, kind)) return [];
    const { id, paper, keyIds, payload, envelope, at } = one;
    const opened = { id, paper, keyIds, payload, envelope, trusted: new Map() };
    return [{ opened, generation: Number.MAX_SAFE_INTEGER, position, at }];
  });
}

function isOf<K extends PaperKind>(one: Delivered, kind: K): one is Delivered<K> {
  return one.kind === kind;
}

/** All of them in the order in which they came to be known, which is the one that freezes count in. */
function together<K extends PaperKind>(
  logged: readonly Logged<K>[],
  brought: readonly Logged<K>[],
): readonly Logged<K>[] {
  return [...logged, ...brought]
    .toSorted((a, b) => a.at.getTime() - b.at.getTime() || inLedgerOrder(a, b))
    .map((one, position) => ({ ...one, generation: 1, position }));
}

function latest(...times: readonly Date[]): Date {
  return new Date(Math.max(...times.map((time) => time.getTime())));
}

function named(seats: readonly Seat[]): string {
  return seats.map(({ name }) => name).join(" and ");
}
