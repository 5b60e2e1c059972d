/**
 * What a site allows, by what it knows of the State: who may store what, who is given what, and what is removed.
 * docs/site-protocol.md, sections 4, 5 and 8. Pure functions; a refusal is a sentence that says which rule it is.
 */
import { fromBase64 } from "../crypto/bytes.ts";
import { type PublicSigningKey, parseSigningPublicKey } from "../crypto/signing.ts";
import { ExclaveError } from "../errors.ts";
import type { ObjectKind } from "../sites/site.ts";
import { GOVERNANCE_KINDS } from "../sites/wire.ts";
import { type AuditedShard, isAudited } from "../vault/audited-shards.ts";
import { firstEpochOf } from "../vault/documents.ts";
import type { KnownAgent } from "../vault/known-state.ts";
import type { Grant } from "./grant.ts";
import type { KnownRequester, SiteView } from "./view.ts";
import type { EnforcedOrder } from "./view-orders.ts";

/** What of a grant the rules ask for. */
export type GrantedView = Pick<Grant, "state" | "contact" | "viewSecondsMax">;

/** Whoever signed a request; nobody, when it is not signed. */
export type Requester =
  | { readonly kind: KnownRequester["kind"]; readonly keyId: string }
  | { readonly kind: "anybody" };

export const ANYBODY: Requester = { kind: "anybody" };

/** An object that is asked for or brought. */
export type NamedObject = { readonly kind: ObjectKind; readonly name: string };

/** What the front of a shard says. */
export type ShardOf = AuditedShard & { readonly register: string; readonly epoch: number };

/** Papers that count by who signed them, whoever brings them. */
const PAPERS: readonly ObjectKind[] = ["decision", "veto", "freeze", "succession"];
/** What agents write of registers, and what is sealed. */
const WRITTEN: readonly ObjectKind[] = ["manifest", "statement", "wrap", "annex", "site-receipt"];
/** What is set aside while nobody knows who writes. The ledger never is: it is what ends that. */
const SET_ASIDE: readonly ObjectKind[] = ["shard", ...WRITTEN];

/**
 * Who a key id stands for, and the key to verify with; undefined for a key that the charter does not name. Before the
 * ledger was followed the contact alone is known.
 */
export function requesterOf(
  view: SiteView | undefined,
  grant: GrantedView,
  keyId: string,
): { readonly requester: Requester; readonly key: PublicSigningKey } | undefined {
  const known = view?.requesters.get(keyId);
  if (known) return { requester: { kind: known.kind, keyId }, key: known.key };
  if (view) return undefined;
  const key = parseSigningPublicKey(fromBase64(grant.contact));
  return key.id === keyId ? { requester: { kind: "contact", keyId }, key } : undefined;
}

/**
 * Whether an object is taken, or taken and set aside. Of a shard `mayPutShard` says more once its header is read; of a
 * paper that is not signed for, `StateView.deliver` decides by who signed it. Throws `refused`.
 */
export function mayPut(
  view: SiteView | undefined,
  grant: GrantedView,
  requester: Requester,
  { kind, name }: NamedObject,
  now: Date,
): "take" | "quarantine" {
  if (name === `charter/${grant.state}`) return "take";
  if (kind === "site") throw refused("objects of the kind site are reserved");
  if (!view) return mayPutFirst(requester, kind);
  if (requester.kind === "agent") {
    requireCurrent(view, requester.keyId, now);
  } else if (requester.kind === "recovery") {
    if (kind === "shard") throw refused("shards are taken from agents alone");
  } else if (PAPERS.includes(kind)) {
    return "take";
  } else if (requester.kind === "contact" && mayBeFollowed(kind)) {
    return "take";
  } else {
    throw refused(`a ${kind} is taken from the agent of the current term or the recovery key`);
  }
  return SET_ASIDE.includes(kind) && !isFresh(view, grant, now) ? "quarantine" : "take";
}

/** Before anybody knows the charter: what the ledger is followed from, by the one key that the grant names. */
function mayPutFirst(requester: Requester, kind: ObjectKind): "take" {
  if (requester.kind !== "contact") {
    throw refused(
      "the site has not followed this State's ledger yet, and takes from the contact alone",
    );
  }
  if (mayBeFollowed(kind)) return "take";
  throw refused(
    `the site has not followed this State's ledger yet, and takes no ${kind} before it knows the charter`,
  );
}

/** What a ledger is followed from. */
function mayBeFollowed(kind: ObjectKind): boolean {
  return kind === "annex" || (GOVERNANCE_KINDS.includes(kind) && kind !== "statement");
}

/** Throws `refused` unless the requester may write shards of this register and epoch. */
export function mayPutShard(
  view: SiteView,
  requester: Requester,
  shard: Pick<ShardOf, "register" | "epoch"> & { readonly state: string },
  now: Date,
): void {
  const { state, register, epoch } = shard;
  if (requester.kind !== "agent") throw refused("shards are taken from agents alone");
  const agent = requireCurrent(view, requester.keyId, now);
  if (state !== view.state) throw refused("the shard is another State's");
  if (!mayWrite(agent, register)) throw refused(`its agent may not write the register ${register}`);
  const charters = view.known.history.history;
  if (!charters.some(({ charter }) => charter.registers.some(({ id }) => id === register))) {
    throw refused(`no charter of this State has a register ${register}`);
  }
  if (epoch >= firstEpochOf(view.known.charter.term + 1)) {
    throw refused(`epoch ${epoch} is of a term that has not begun`);
  }
  if (destroyed(view, now).some((one) => one.register === register && one.epochs.includes(epoch))) {
    throw refused(`epoch ${epoch} of the register was destroyed by decision`);
  }
}

/** What an agent may store in a UTC day, by the charter. */
export function agentQuota(
  { known }: SiteView,
  keyId: string,
): { readonly bytesPerDay: number; readonly objectsPerDay: number } | undefined {
  // Agents are kept in the charter's order, by key id.
  const index = [...known.agents.keys()].indexOf(keyId);
  const agent = known.charter.agents[index];
  return agent && { bytesPerDay: agent.quotaBytesPerDay, objectsPerDay: agent.quotaObjectsPerDay };
}

/**
 * Throws `refused` unless an object may be given to the requester.
 *
 * @param object of a shard with what its front says
 */
export function mayRead(
  view: SiteView | undefined,
  grant: GrantedView,
  requester: Requester,
  object: NamedObject & { readonly quarantined: boolean; readonly shard?: ShardOf },
  now: Date,
): void {
  const { kind, quarantined, shard } = object;
  if (quarantined) requireSortedOut(view, grant, requester, now);
  if (GOVERNANCE_KINDS.includes(kind)) return;
  if (!view)
    throw refused("the site has not followed this State's ledger yet, and cannot tell who asks");
  if (requester.kind === "anybody" || requester.kind === "contact") {
    throw refused(
      `a ${kind} is given to those whom the charter names, and the request is not theirs`,
    );
  }
  if (WRITTEN.includes(kind)) return;
  if (kind !== "shard" || !shard) throw refused(`a ${kind} is given to nobody`);
  mayReadShard(view, grant, requester, shard, now);
}

/** What was set aside is for the recovery key, and for who is an agent when that is known again. */
function requireSortedOut(
  view: SiteView | undefined,
  grant: GrantedView,
  requester: Requester,
  now: Date,
): void {
  if (!view || requester.kind === "anybody") throw refused("it was set aside");
  if (requester.kind === "recovery") return;
  if (requester.kind === "agent" && isFresh(view, grant, now)) {
    requireCurrent(view, requester.keyId, now);
    return;
  }
  throw refused(
    "it was set aside when the site did not know the newest charter; the recovery key is given it, and an agent once the ledger was followed again",
  );
}

function mayReadShard(
  view: SiteView,
  grant: GrantedView,
  requester: Exclude<Requester, { readonly kind: "anybody" }>,
  shard: ShardOf,
  now: Date,
): void {
  const { kind, keyId } = requester;
  const { register, epoch } = shard;
  const writes = kind === "agent" && isWriter(view, keyId, register, now);
  const reads = kind === "recovery" || kind === "reader" || writes;
  const newest = view.openEpochs.get(register);
  if (newest === undefined || epoch >= newest) {
    if (kind === "recovery" || writes) return;
    throw refused(
      `epoch ${epoch} is open: its shards are given to the agent that writes the register and to the recovery key`,
    );
  }
  const to = kind === "reader" ? "reader" : "recovery";
  if (reads && isReleased(view, grant, { register, epoch, to }, now)) return;
  // Machines that wrote once are many in one hand: together they would be shown more than k − 1.
  const isAuditor = kind !== "agent" || isWriter(view, keyId, undefined, now);
  if (isAuditor && isAudited(keyId, shard)) return;
  throw refused(
    reads
      ? `epoch ${epoch} is closed, and no release of it is ripe at this site; an auditor with this key is shown other shards of this pack`
      : isAuditor
        ? `epoch ${epoch} is closed, and an auditor with this key is shown other shards of this pack`
        : "the machine with this key may not write any more, and is shown no shards",
  );
}

/** Whether a release of the epoch to that key is ripe at this site. */
function isReleased(
  view: SiteView,
  grant: GrantedView,
  { register, epoch, to }: { register: string; epoch: number; to: "recovery" | "reader" },
  now: Date,
): boolean {
  return (
    isFresh(view, grant, now) &&
    view.orders.some(
      (order) =>
        order.kind === "release" &&
        order.to === to &&
        order.register === register &&
        order.epochs.includes(epoch) &&
        isRipe(view, order, now),
    )
  );
}

/** Whether a release or a destruction that took effect by the ledger is ripe at this site. */
export function ripeHere(view: SiteView, grant: GrantedView, id: string, now: Date): boolean {
  const order = view.orders.find((one) => one.id === id);
  return order !== undefined && isFresh(view, grant, now) && isRipe(view, order, now);
}

/** The epochs of a register that a decision destroys. */
export type Removable = {
  readonly register: string;
  readonly epochs: readonly number[];
  readonly decision: string;
};

/**
 * What is to be removed here: announced, carried out, and both ripe at this site. Nothing while the view is old, or the
 * charter due for review.
 */
export function removable(view: SiteView, grant: GrantedView, now: Date): readonly Removable[] {
  const at = timeIn(view, now);
  if (!isFresh(view, grant, now) || at.getTime() >= Date.parse(view.known.charter.review))
    return [];
  return destroyed(view, now);
}

/** Destructions that are ripe at this site, and their announcements too. */
function destroyed(view: SiteView, now: Date): readonly Removable[] {
  return view.orders.flatMap((order) => {
    const announced = view.orders.find(({ id }) => id === order.carriesOut);
    if (order.kind !== "destroy" || !announced) return [];
    if (!isRipe(view, announced, now) || !isRipe(view, order, now)) return [];
    return [{ register: order.register, epochs: order.epochs, decision: order.id }];
  });
}

/** Whether the ledger was followed to so short a time ago that the site knows who may write. */
export function isFresh(view: SiteView, { viewSecondsMax }: GrantedView, now: Date): boolean {
  const age = timeIn(view, now).getTime() - view.followedAt.getTime();
  return age <= viewSecondsMax * 1000;
}

function isRipe(view: SiteView, { from }: EnforcedOrder, now: Date): boolean {
  return from !== undefined && timeIn(view, now) >= from;
}

/** A clock that was set back does not count. */
function timeIn({ newest }: SiteView, now: Date): Date {
  return now < newest ? newest : now;
}

/** The agent with this key, when it may write. */
function requireCurrent({ known, newest }: SiteView, keyId: string, now: Date): KnownAgent {
  const agent = known.agents.get(keyId);
  const { term } = known.charter;
  if (!agent) throw refused("it is signed by no agent of the charter");
  if (agent.term !== term) {
    throw refused(
      `the machine with this key wrote in term ${agent.term}, and it is term ${term}: another one writes now`,
    );
  }
  const at = now < newest ? newest : now;
  if (agent.suspectFrom && at >= agent.suspectFrom) {
    throw refused(
      `the right to write was taken from the machine with this key, from ${agent.suspectFrom.toISOString()} on`,
    );
  }
  return agent;
}

/** Whether the key is of the agent that may write, this register or any. */
function isWriter(view: SiteView, keyId: string, register: string | undefined, now: Date): boolean {
  const agent = view.known.agents.get(keyId);
  if (!agent || agent.term !== view.known.charter.term) return false;
  if (agent.suspectFrom && timeIn(view, now) >= agent.suspectFrom) return false;
  return register === undefined || mayWrite(agent, register);
}

function mayWrite({ registers }: KnownAgent, register: string): boolean {
  return registers.length === 0 || registers.includes(register);
}

function refused(why: string): ExclaveError {
  return new ExclaveError("refused", why);
}
