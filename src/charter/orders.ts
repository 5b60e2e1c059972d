/**
 * Orders: what a decision can decide. Each kind has its parameters, a class (how many must sign, how
 * long it waits), the charter that follows from it, and a sentence for the person who is to sign. A kind
 * that is not here is refused.
 */
import { z } from "zod";
import { ExclaveError, isExclaveError } from "../errors.ts";
import {
  type Charter,
  charterFields,
  moment,
  type OrderClass,
  type StoredCharter,
  writeCharter,
} from "./charter.ts";

const { agent, constitution, hex, ledger, recovery, register, shortName, site, delaySeconds } =
  charterFields;

const epochs = z.array(z.int().min(1).max(0xffffffff)).min(1).max(4096);

/** The form of every order. */
export const orderSchema = z.discriminatedUnion("kind", [
  /** Replaces whole sections; what is absent stays. */
  z.strictObject({
    kind: z.literal("amend"),
    constitution: constitution.optional(),
    recovery: recovery.optional(),
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
  z.strictObject({ kind: z.literal("define-register"), register, annex: hex(32) }),
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

export function classOf(order: Order): OrderClass {
  return CLASSES[order.kind];
}

/** What of a charter does not follow from the order: when it was written, and which decision it is of. */
export type Enactment = Pick<Charter, "time" | "random"> & { readonly decision: string };

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
  return follow(before, changesOf(before.charter, order), enactment);
}

/** The charter that says that a decision took effect, and is the same in all else. */
export function recordDecision(before: StoredCharter, enactment: Enactment): StoredCharter {
  return follow(before, {}, enactment);
}

function follow(
  before: StoredCharter,
  changes: Partial<Charter>,
  enactment: Enactment,
): StoredCharter {
  try {
    return writeCharter({
      ...before.charter,
      ...changes,
      ...enactment,
      version: before.charter.version + 1,
      previous: before.id,
    });
  } catch (cause) {
    if (!isExclaveError(cause, "malformed")) throw cause;
    throw unfit(cause.message, cause);
  }
}

function changesOf(charter: Charter, order: Order): Partial<Charter> {
  switch (order.kind) {
    case "amend": {
      const { kind: _, ...sections } = order;
      if (Object.keys(sections).length === 0) throw unfit("it amends nothing");
      return sections as Partial<Charter>;
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
        annex: order.annex,
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
      return {
        agents: charter.agents.map((agent) =>
          agent.signing === signing ? { ...agent, suspectFrom } : agent,
        ),
      };
    }
    case "activate":
      if (order.agent.term !== charter.term + 1) throw unfit("it is not for the next term");
      return { term: order.agent.term, agents: [...charter.agents, order.agent] };
    case "rotate-epoch":
    case "release":
    case "destroy":
      if (!charter.registers.some(({ id }) => id === order.register)) {
        throw unfit(`there is no register ${order.register}`);
      }
      return {};
  }
}

function without<T>(list: readonly T[], isIt: (one: T) => boolean, name: string): T[] {
  const left = list.filter((one) => !isIt(one));
  if (left.length === list.length) throw unfit(`there is no ${name}`);
  return left;
}

function unfit(why: string, cause?: unknown): ExclaveError {
  return new ExclaveError("usage", `the order does not fit the charter: ${why}`, { cause });
}
