/**
 * Orders: what a decision can decide. Each kind has its parameters, a class (how many must sign, how
 * long it waits), the charter that follows from it, and a sentence for the person who is to sign. A kind
 * that is not here is refused.
 */
import { z } from "zod";
import { toHex, utf8 } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import {
  type Charter,
  charterFields,
  moment,
  momentOf,
  ORDER_CLASSES,
  type OrderClass,
  type StoredCharter,
  type Threshold,
  writeCharter,
} from "./charter.ts";

const {
  agent,
  constitution,
  delaySeconds,
  hex,
  label,
  ledger,
  reader,
  recovery,
  register,
  shortName,
  site,
} = charterFields;

const epochs = z
  .array(z.int().min(1).max(0xffffffff))
  .min(1)
  .max(4096)
  .refine(
    (list) => list.every((epoch, i) => i === 0 || epoch > (list[i - 1] ?? 0)),
    "in order, each once",
  );

/** The form of every order. */
export const orderSchema = z.discriminatedUnion("kind", [
  /** Replaces whole sections; what is absent stays. */
  z.strictObject({
    kind: z.literal("amend"),
    name: label.optional(),
    constitution: constitution.optional(),
    recovery: recovery.optional(),
    /** `none` takes the reader key away. */
    reader: z.union([reader, z.strictObject({ none: z.literal(true) })]).optional(),
    agents: z.array(agent).min(1).max(64).optional(),
    ledger: ledger.optional(),
    retentionSeconds: z.int().min(0).optional(),
    releaseDelaySeconds: delaySeconds.optional(),
    review: moment.optional(),
    annex: hex(32).optional(),
  }),
  z.strictObject({ kind: z.literal("admit-site"), site }),
  z.strictObject({ kind: z.literal("expel-site"), site: shortName }),
  /** A new register, or other terms for one that there is. */
  z.strictObject({ kind: z.literal("define-register"), register }),
  z.strictObject({ kind: z.literal("retire-register"), register: hex(16) }),
  z.strictObject({ kind: z.literal("rotate-epoch"), register: hex(16) }),
  z.strictObject({ kind: z.literal("revoke-agent"), signing: z.string(), suspectFrom: moment }),
  z.strictObject({
    kind: z.literal("release"),
    register: hex(16),
    epochs,
    to: z.enum(["recovery", "reader"]),
  }),
  z.strictObject({ kind: z.literal("destroy"), register: hex(16), epochs }),
  /** The next term: another machine writes from then on. */
  z.strictObject({ kind: z.literal("activate"), agent }),
]);
export type Order = z.infer<typeof orderSchema>;
export type OrderKind = Order["kind"];

const CLASSES: Readonly<Record<OrderKind, OrderClass>> = {
  amend: "constitutional",
  "admit-site": "ordinary",
  "expel-site": "constitutional",
  "define-register": "ordinary",
  "retire-register": "destructive",
  "rotate-epoch": "ordinary",
  "revoke-agent": "ordinary",
  release: "release",
  destroy: "destructive",
  activate: "constitutional",
};

/** An agent's statements from further back than this are not set aside by the day's business. */
const REVOKED_BACK_SECONDS = 90 * 86_400;

/**
 * By what an order does, not by what it is called: to take a register's sites away, or to set aside the
 * statements of years, is no everyday matter.
 *
 * @param at when it is in the ledger, or now
 */
export function classOf(order: Order, charter: Charter, at: Date): OrderClass {
  if (order.kind === "define-register") {
    const before = charter.registers.find(({ id }) => id === order.register.id);
    return before && !onlyAdds(before, order.register) ? "constitutional" : "ordinary";
  }
  if (order.kind === "revoke-agent") {
    const back = at.getTime() - Date.parse(order.suspectFrom);
    return back > REVOKED_BACK_SECONDS * 1000 ? "constitutional" : "ordinary";
  }
  return CLASSES[order.kind];
}

/**
 * True when an order brings other signatories and rules, with the annex of who they are, and changes nothing
 * else: the one decision that the recovery key may sign in place of the seats, where these can no longer.
 */
export function amendsConstitutionAlone(order: Order): boolean {
  return (
    order.kind === "amend" &&
    order.constitution !== undefined &&
    Object.keys(order).every((name) => ["kind", "constitution", "annex"].includes(name))
  );
}

/** True for the orders that the recovery key may sign in place of the seats. */
export function mayBeByRecovery(order: Order): boolean {
  return order.kind === "release" || amendsConstitutionAlone(order);
}

/**
 * What a release must meet that the recovery key signed and too few seats did: none of them, a delay of its own, and
 * any one seat stops it. A quorum of key holders may be captured; that nobody objects for so long is what stands
 * against it.
 */
export function releaseByRecovery({ releaseDelaySeconds }: Charter): Threshold {
  return { signatures: 0, groups: [], timelockSeconds: releaseDelaySeconds, vetoSignatures: 1 };
}

type Register = Charter["registers"][number];

/** True when a register is the same but for sites more, losses survived more, or other details. */
function onlyAdds(before: Register, after: Register): boolean {
  return (
    before.sites.every((site, i) => after.sites[i] === site) &&
    (before.sites.length === 0 || after.k === before.k) &&
    after.survive >= before.survive &&
    after.epochSeconds === before.epochSeconds &&
    after.sensitivity === before.sensitivity
  );
}

/**
 * What a decision must meet. Whoever loosens a rule must meet that rule: else the shortest way around
 * every threshold would be to amend it first.
 */
export function requirementsOf(order: Order, before: Charter, after: Charter, at: Date): Threshold {
  const { thresholds } = before.constitution;
  const needed = new Set<OrderClass>([classOf(order, before, at)]);
  for (const name of ORDER_CLASSES) {
    if (isLooser(thresholds[name], after.constitution.thresholds[name])) needed.add(name);
  }
  if (after.constitution.freezeSignatures > before.constitution.freezeSignatures) {
    needed.add("destructive");
  }
  if (after.retentionSeconds < before.retentionSeconds) needed.add("destructive");
  if (after.releaseDelaySeconds < before.releaseDelaySeconds) needed.add("release");
  const met = [...needed].map((name) => thresholds[name]);
  return {
    signatures: Math.max(...met.map(({ signatures }) => signatures)),
    groups: met.flatMap(({ groups }) => groups),
    timelockSeconds: Math.max(...met.map(({ timelockSeconds }) => timelockSeconds)),
    vetoSignatures: Math.min(...met.map(({ vetoSignatures }) => vetoSignatures)),
  };
}

function isLooser(before: Threshold, after: Threshold): boolean {
  return (
    after.signatures < before.signatures ||
    after.timelockSeconds < before.timelockSeconds ||
    after.vetoSignatures > before.vetoSignatures ||
    !before.groups.every((group) =>
      after.groups.some(
        ({ jurisdictions, signatures }) =>
          signatures >= group.signatures &&
          jurisdictions.every((one) => group.jurisdictions.includes(one)),
      ),
    )
  );
}

/**
 * The sections of a charter that an order replaces or relies on, as one text: when it differs between the
 * charter that the author saw and the one in force, somebody else's decision would be undone.
 */
export function sectionsOf(order: Order, charter: Charter): string {
  switch (order.kind) {
    case "amend":
      return JSON.stringify(
        Object.keys(order)
          .filter((name) => name !== "kind")
          .map((name) => charter[name as keyof Charter] ?? null),
      );
    case "define-register":
    case "retire-register":
    case "destroy": {
      const id = order.kind === "define-register" ? order.register.id : order.register;
      return JSON.stringify(charter.registers.find((one) => one.id === id) ?? null);
    }
    case "release":
      return JSON.stringify(order.to === "reader" ? charter.reader : charter.recovery);
    case "expel-site":
      return JSON.stringify(charter.sites.find(({ name }) => name === order.site) ?? null);
    case "admit-site":
    case "rotate-epoch":
    case "revoke-agent":
    case "activate":
      return "";
  }
}

/** Sections that change; only the reader key can go. */
type Changes = Omit<Partial<Charter>, "reader"> & {
  readonly reader?: Charter["reader"] | undefined;
};

/** When a charter takes effect, and by which decision or succession. */
export type Enactment = { readonly at: Date; readonly decision: string };

/**
 * The charter that follows when the order takes effect; a pure function, so that everybody has the same.
 * Throws `usage` when the order does not fit the charter (a site that there is not, a threshold that could
 * never be met): then it has no effect.
 */
export function applyOrder(
  before: StoredCharter,
  order: Order,
  enactment: Enactment,
): StoredCharter {
  return follow(before, changesOf(before.charter, order, enactment.at), enactment);
}

/** The charter that says that a decision took effect, and is the same in all else. */
export function recordDecision(before: StoredCharter, enactment: Enactment): StoredCharter {
  return follow(before, {}, enactment);
}

/**
 * The charter after the one before, with these changes; a section that is given as undefined goes. Throws
 * `usage` when it would contradict itself, or take back what no charter may.
 */
export function follow(
  before: StoredCharter,
  changes: Changes,
  { at, decision }: Enactment,
): StoredCharter {
  const { charter } = before;
  const { reader: key, ...after } = { ...charter, ...changes };
  for (const [what, was, is] of [
    ["share set", charter.recovery.shares.generation, after.recovery.shares.generation],
    ["ledger", charter.ledger.generation, after.ledger.generation],
    ["term", charter.term, after.term],
  ] as const) {
    if (is < was) throw unfit(`the generation of the ${what} would go back`);
  }
  for (const agent of charter.agents) {
    const next = after.agents.find(({ signing }) => signing === agent.signing);
    const was = agent.suspectFrom;
    if (!next) throw unfit("an agent that wrote would be forgotten");
    if (was !== undefined && (next.suspectFrom === undefined || next.suspectFrom > was)) {
      throw unfit("what was set aside would count again");
    }
  }
  try {
    return writeCharter({
      ...after,
      ...(key ? { reader: key } : {}),
      version: charter.version + 1,
      previous: before.id,
      decision,
      // Both follow from what is known, so that there is one next charter and not as many as home likes.
      time: momentOf(at),
      random: toHex(sha256(utf8(`exclave/v1 next charter\0${before.id}${decision}`))).slice(0, 32),
    });
  } catch (cause) {
    if (!isExclaveError(cause, "malformed")) throw cause;
    throw unfit(cause.message, cause);
  }
}

function changesOf(charter: Charter, order: Order, at: Date): Changes {
  switch (order.kind) {
    case "amend": {
      const { kind: _, reader: key, ...sections } = order;
      if (Object.keys(order).length === 1) throw unfit("it amends nothing");
      if (order.ledger) requireSameLedger(charter.ledger, order.ledger);
      const changes = sections as Partial<Charter>;
      if (key === undefined) return changes;
      return { ...changes, reader: "none" in key ? undefined : key };
    }
    case "admit-site":
      if (charter.sites.some(({ name }) => name === order.site.name)) {
        throw unfit(`there is a site ${order.site.name} already`);
      }
      return { sites: [...charter.sites, order.site] };
    case "expel-site": {
      const user = charter.registers.find(({ sites }) => sites.includes(order.site));
      if (user)
        throw unfit(`register ${user.id} is kept at ${order.site}; give it other sites first`);
      return { sites: without(charter.sites, ({ name }) => name === order.site, order.site) };
    }
    case "define-register":
      return {
        registers: [
          ...charter.registers.filter(({ id }) => id !== order.register.id),
          order.register,
        ],
      };
    case "retire-register":
      return {
        registers: without(charter.registers, ({ id }) => id === order.register, order.register),
      };
    case "revoke-agent": {
      const { signing, suspectFrom } = order;
      if (!charter.agents.some((agent) => agent.signing === signing)) {
        throw unfit("there is no such agent");
      }
      if (Date.parse(order.suspectFrom) > at.getTime()) throw unfit("it is for a time to come");
      return {
        agents: charter.agents.map((agent) =>
          agent.signing === signing
            ? { ...agent, suspectFrom: earlier(agent.suspectFrom, suspectFrom) }
            : agent,
        ),
      };
    }
    case "activate":
      if (order.agent.term !== charter.term + 1) throw unfit("it is not for the next term");
      return { term: order.agent.term, agents: [...charter.agents, order.agent] };
    case "release":
      if (order.to === "reader" && !charter.reader) throw unfit("there is no reader key");
      requireRegister(charter, order.register);
      return {};
    case "rotate-epoch":
    case "destroy":
      requireRegister(charter, order.register);
      return {};
  }
}

/** Witnesses change by decision; what signs the ledger, and where it begins anew, by succession alone. */
function requireSameLedger(before: Charter["ledger"], after: Charter["ledger"]): void {
  const identity = ({ origin, generation, keys }: Charter["ledger"]): string =>
    JSON.stringify([origin, generation, keys]);
  if (identity(before) !== identity(after)) throw unfit("only a succession begins another ledger");
}

function requireRegister(charter: Charter, id: string): void {
  if (!charter.registers.some((register) => register.id === id)) {
    throw unfit(`there is no register ${id}`);
  }
}

function earlier(one: string | undefined, other: string): string {
  return one !== undefined && one < other ? one : other;
}

function without<T>(list: readonly T[], isIt: (one: T) => boolean, name: string): T[] {
  const left = list.filter((one) => !isIt(one));
  if (left.length === list.length) throw unfit(`there is no ${name}`);
  return left;
}

/** Why an order, or a succession, cannot follow this charter. */
export function unfit(why: string, cause?: unknown): ExclaveError {
  return new ExclaveError("usage", `it does not fit the charter: ${why}`, { cause });
}
