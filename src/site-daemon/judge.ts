/** What the daemon asks of the rules, for one State: who somebody is, and what they may. */
import { envelopeId } from "../crypto/dsse.ts";
import type { PublicSigningKey } from "../crypto/signing.ts";
import { ExclaveError } from "../errors.ts";
import type { ObjectKind } from "../sites/site.ts";
import type { Allowance } from "./book.ts";
import type { Requester } from "./policy.ts";
import * as policy from "./policy.ts";
import type { DocumentGround } from "./verify-object.ts";
import type { StateView } from "./view.ts";

export type { Requester } from "./policy.ts";

/** An object that somebody wants to read. */
export type ReadObject = policy.NamedObject & {
  readonly quarantined: boolean;
  /** Of a shard. */
  readonly shard?: policy.ShardOf;
};

export type Judge = {
  /** Undefined for a key that the State does not know. */
  requesterOf(
    keyId: string,
  ): { readonly requester: Requester; readonly key: PublicSigningKey } | undefined;
  /** Throws `refused`. */
  mayPut(
    requester: Requester,
    object: { readonly kind: ObjectKind; readonly name: string },
  ): "take" | "quarantine";
  /** Throws `refused`. */
  mayPutShard(
    requester: Requester,
    shard: { readonly register: string; readonly epoch: number; readonly state: string },
  ): void;
  /** Throws `refused`. */
  mayRead(requester: Requester, object: ReadObject): void;
  /** Of an agent's day; undefined for whom the charter gives no quota. */
  allowance(requester: Requester): Allowance | undefined;
  /** What documents are judged by now; undefined to take them as they are, which only tests do. */
  ground(): DocumentGround | undefined;
  /**
   * Takes in a paper that came directly. False when it is here already, in another envelope: there is no end of
   * these. Throws `untrusted`, `malformed`, `refused`.
   */
  deliver(kind: "veto" | "freeze" | "decision" | "succession", envelope: Uint8Array): boolean;
  /** What a file of the ledger holds, once the ledger covers it. */
  expectedLedgerFile(name: string): Uint8Array | undefined;
  /** How long the site promises to keep what it holds. */
  retentionSeconds(): number;
};

/** Whether that very envelope is the one that was taken in: storing it may have been cut short. */
function isDelivered({ current }: StateView, object: string): boolean {
  return current?.delivered.some((one) => one.object === object) ?? false;
}

/** The rules of the State's charter, as far as its ledger was followed. */
export function judgeOf(view: StateView, grant: () => policy.GrantedView, now: () => Date): Judge {
  const current = () => {
    const known = view.current;
    if (known) return known;
    throw new ExclaveError("refused", "the site has not followed this State's ledger yet");
  };
  return {
    requesterOf: (keyId) => policy.requesterOf(view.current, grant(), keyId),
    mayPut: (requester, object) => policy.mayPut(view.current, grant(), requester, object, now()),
    mayPutShard: (requester, shard) => policy.mayPutShard(current(), requester, shard, now()),
    mayRead: (requester, object) => policy.mayRead(view.current, grant(), requester, object, now()),
    allowance: (requester) => {
      if (requester.kind !== "agent" || !view.current) return undefined;
      const quota = policy.agentQuota(view.current, requester.keyId);
      return quota && { bytes: quota.bytesPerDay, objects: quota.objectsPerDay };
    },
    ground: () => ({
      state: grant().state,
      known: view.current?.known,
      logs: view.logs(),
    }),
    deliver: (kind, envelope) =>
      view.deliver(kind, envelope) || isDelivered(view, envelopeId(envelope)),
    expectedLedgerFile: (name) => {
      const expected = view.expectedLedgerFile(name);
      return typeof expected === "string" ? undefined : expected;
    },
    retentionSeconds: () => view.current?.known.charter.retentionSeconds ?? 0,
  };
}
