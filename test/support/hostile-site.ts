/** A site of tests that names, gives and answers as a test says. */
import { ExclaveError } from "../../src/errors.ts";
import type { ObjectKind, Site } from "../../src/sites/site.ts";

export type HostileSite = {
  /** Names of a kind, without the kind. */
  readonly names: (kind: ObjectKind) => Iterable<string>;
  /** The object's bytes; undefined for one that it does not give. */
  readonly give?: (name: string) => Uint8Array | undefined | Promise<Uint8Array | undefined>;
};

export function hostileSite(name: string, { names, give = () => undefined }: HostileSite) {
  const site: Site = {
    identity: { name, country: "XX", operator: name, hazardZone: name },
    put: async () => {
      throw new ExclaveError("refused", "it takes nothing");
    },
    stat: async (object) => {
      const bytes = await give(object);
      return bytes && { name: object, bytes: bytes.length };
    },
    read: async (object, offset, into) => {
      const bytes = (await give(object))?.subarray(offset, offset + into.length);
      if (!bytes) throw new ExclaveError("not-found", `no object ${object}`);
      into.set(bytes);
      return bytes.length;
    },
    async *list(kind) {
      for (const one of names(kind)) yield `${kind}/${one}`;
    },
  };
  return { name, site };
}

/** Names of documents: as many as are asked for, or so many. */
export function* namesWithoutEnd(count = Number.POSITIVE_INFINITY): Generator<string> {
  for (let i = 0; i < count; i++) yield i.toString(16).padStart(64, "0");
}
