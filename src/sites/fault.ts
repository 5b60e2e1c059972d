/** For tests: a site that goes wrong where a plan says so. It wraps any other and leaves the rest to it. */
import { ExclaveError } from "../errors.ts";
import type { ObjectKind, Site } from "./site.ts";

/** One call to the site. */
export type Call = {
  readonly method: "put" | "read" | "stat" | "list";
  /** The object, or for `list` the kind. */
  readonly name: string;
  /** 1 for the first call of this method, 2 for the next. */
  readonly count: number;
};

/** How a call goes wrong. */
export type Fault =
  /** It fails and has done nothing. */
  | { readonly kind: "fail-before"; readonly error?: Error }
  /** Half is done, and then it fails: half the bytes stored, read or listed. */
  | { readonly kind: "fail-during"; readonly error?: Error }
  /** It fails, and yet it took effect. */
  | { readonly kind: "fail-after"; readonly error?: Error }
  /** It begins when the promise resolves, and then goes well. */
  | { readonly kind: "hold"; readonly until: Promise<unknown> }
  /** A read gives other bytes than were stored. */
  | { readonly kind: "wrong-bytes" }
  /** A read ends early, as if the object were cut short after so many bytes of what was asked. */
  | { readonly kind: "short-read"; readonly bytes: number }
  /** The object is not there, and a list does not name it. */
  | { readonly kind: "missing" };

/** What goes wrong with a call, or undefined when all goes well. Asked once a call, as it begins. */
export type FaultPlan = (call: Call) => Fault | undefined;

export function faulty(site: Site, plan: FaultPlan): Site {
  const counts = new Map<Call["method"], number>();
  /** The fault of this call; waits where it says so. */
  const begin = async (method: Call["method"], name: string): Promise<Fault | undefined> => {
    const count = (counts.get(method) ?? 0) + 1;
    counts.set(method, count);
    const fault = plan({ method, name, count });
    if (fault?.kind === "hold") await fault.until;
    if (fault?.kind === "fail-before") throw errorOf(fault);
    return fault;
  };
  return {
    identity: site.identity,
    async put(name, parts, options) {
      const fault = await begin("put", name);
      if (fault?.kind === "fail-during") {
        const whole = Buffer.concat(parts);
        await site.put(name, [whole.subarray(0, Math.floor(whole.length / 2))], options);
        throw errorOf(fault);
      }
      await site.put(name, parts, options);
      if (fault?.kind === "fail-after") throw errorOf(fault);
    },
    async read(name, offset, into, options) {
      const fault = await begin("read", name);
      if (fault?.kind === "missing") throw new ExclaveError("not-found", `no object ${name}`);
      if (fault?.kind === "fail-during") {
        await site.read(name, offset, into.subarray(0, Math.floor(into.length / 2)), options);
        throw errorOf(fault);
      }
      if (fault?.kind === "short-read") {
        const some = into.subarray(0, Math.min(fault.bytes, into.length));
        return site.read(name, offset, some, options);
      }
      const got = await site.read(name, offset, into, options);
      if (fault?.kind === "fail-after") throw errorOf(fault);
      if (fault?.kind === "wrong-bytes") into[0] = (into[0] ?? 0) ^ 1;
      return got;
    },
    async stat(name) {
      const fault = await begin("stat", name);
      if (fault?.kind === "missing") return undefined;
      const info = await site.stat(name);
      if (fault?.kind === "fail-during" || fault?.kind === "fail-after") throw errorOf(fault);
      return info;
    },
    async *list(kind: ObjectKind) {
      const fault = await begin("list", kind);
      if (fault?.kind === "missing") return;
      if (fault?.kind !== "fail-during") {
        yield* site.list(kind);
        if (fault?.kind === "fail-after") throw errorOf(fault);
        return;
      }
      const names: string[] = [];
      for await (const name of site.list(kind)) names.push(name);
      yield* names.slice(0, Math.floor(names.length / 2));
      throw errorOf(fault);
    },
  };
}

/** A plan for the calls of one method, by turns; after the last all goes well. */
export function inTurn(method: Call["method"], faults: readonly (Fault | undefined)[]): FaultPlan {
  return (call) => (call.method === method ? faults[call.count - 1] : undefined);
}

function errorOf({ error }: { readonly error?: Error }): Error {
  return error ?? new ExclaveError("site-unavailable", "a fault that a test asked for");
}
