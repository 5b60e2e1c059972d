/**
 * Succession: how a State goes on whose home is lost. Enough key holders bring the recovery key together,
 * and it signs that the old ledger ends at a checkpoint and the next begins, with new keys, another machine
 * that writes, and the next term. It takes effect at once; who may sign decisions stays as it was.
 */
import { z } from "zod";
import { charterFields, moment, type StoredCharter } from "./charter.ts";
import { follow, unfit } from "./orders.ts";

const { agent, hex, ledger } = charterFields;

export const successionSchema = z.strictObject({
  kind: z.literal("succession"),
  format: z.literal(1),
  state: hex(32),
  /** The payload of the charter in force, which it follows. */
  charter: hex(32),
  /** The last checkpoint of the old ledger that is believed; what came after it counts for nothing. */
  closes: z.strictObject({
    origin: ledger.shape.origin,
    size: z.int().min(1),
    root: hex(32),
  }),
  /** The next generation. */
  ledger,
  /** The machine that writes from now on, in the next term. */
  agent: agent.omit({ suspectFrom: true }),
  time: moment,
  random: hex(16),
});
export type Succession = z.infer<typeof successionSchema>;

/**
 * The charter that follows from a succession; the same for everybody. It is for the caller to have verified
 * that the recovery key of the charter before signed it. Throws `usage` when it does not fit that charter.
 */
export function applySuccession(
  before: StoredCharter,
  { id, paper }: { readonly id: string; readonly paper: Succession },
): StoredCharter {
  const { charter } = before;
  const old = charter.ledger;
  if (paper.charter !== before.id) throw unfit("it follows another charter");
  if (paper.closes.origin !== old.origin) throw unfit("it closes another ledger");
  if (paper.ledger.generation !== old.generation + 1) {
    throw unfit("its ledger is not of the next generation");
  }
  if (paper.ledger.origin === old.origin) throw unfit("its ledger has the origin of the old one");
  const keys = old.keys.map(keyMaterial);
  if (paper.ledger.keys.some((key) => keys.includes(keyMaterial(key)))) {
    throw unfit("its ledger has a key of the old one");
  }
  if (paper.agent.term !== charter.term + 1) throw unfit("it is not for the next term");
  if (Date.parse(paper.time) < Date.parse(charter.time)) {
    throw unfit("it is from before the charter that it follows");
  }
  const changes = {
    term: paper.agent.term,
    agents: [...charter.agents, paper.agent],
    ledger: paper.ledger,
  };
  return follow(before, changes, { at: new Date(paper.time), decision: id });
}

/** A verifier key's algorithm and key, which stay when it is put under another name. */
function keyMaterial(verifierKey: string): string {
  const [, , ...material] = verifierKey.split("+");
  return material.join("+");
}
