/** Somebody has everything that home has, and orders "delete all". */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type Decision, signPaper } from "../../charter/decision.ts";
import { fromHex, utf8 } from "../../crypto/bytes.ts";
import { envelopeId } from "../../crypto/dsse.ts";
import { invariant } from "../../errors.ts";
import { draftDecision } from "../../governance/decide.ts";
import { checkpointName, fileName } from "../../ledger/at-sites.ts";
import { signCheckpoint } from "../../ledger/checkpoint.ts";
import { logKeyFromSeed } from "../../ledger/log-key.ts";
import type { TreeHead } from "../../ledger/tree-head.ts";
import { formatAddCheckpoint } from "../../ledger/witness.ts";
import { objectPath, WITNESS_PATH } from "../../sites/wire.ts";
import type { Home } from "../../vault/home.ts";
import { formatCount, formatSeconds, plural } from "../format.ts";
import { wrap } from "../page.ts";
import { type Answered, type AnyRequest, connections, send } from "./any-request.ts";
import { checkAll } from "./bare-machine.ts";
import { hosts } from "./hosts.ts";
import { asking, type DemoSite, storedAt } from "./sites.ts";
import { type Stage, showStep, timed } from "./stage.ts";

const ZEROS = 4096;
const WHY_COLUMNS = 70;
/** A hash, of which the beginning is enough. */
const LONG_HEX = /([0-9a-f]{16})[0-9a-f]{48}/g;
/** Of the statuses that HTTP has. */
const FIRST_REFUSAL = 400;

/** One kind of order, and how the sites answered. */
export type Ordered = {
  readonly order: string;
  /** Requests of this kind at all sites, and those that were refused. */
  readonly requests: number;
  readonly refused: number;
  readonly status: number;
  readonly code: string;
  readonly message: string;
};

export type Attack = {
  readonly orders: readonly Ordered[];
  readonly requests: number;
  readonly refused: number;
  /** Objects at all sites before and after, and shards that were read whole afterwards. */
  readonly objectsBefore: number;
  readonly objectsAfter: number;
  readonly shardsVerified: number;
  /** Everything was refused, and all of it is there. */
  readonly good: boolean;
};

/** Chapter 9: home's keys, in the hands of somebody who wants everything gone. */
export async function orderDeleteAll(stage: Stage, home: Home): Promise<Attack> {
  const { page } = stage;
  page.heading('9. Somebody has all of home\'s keys, and orders "delete all"');
  page.text(
    "They have root at home: the agent's key, the ledger's key, the way to every site, and software " +
      "of their own. What they sign is signed as home signs.",
  );
  page.gap();
  const sites = hosts.map(({ site }) => stage.sites.of(site));
  const stolen = await steal(home);
  const objects = async (): Promise<number> =>
    (await Promise.all(sites.map((site) => storedAt(site, home)))).reduce(
      (sum, { files }) => sum + files,
      0,
    );
  const objectsBefore = await objects();
  showStep(stage, 'ordering "delete all"');
  const { value: orders, seconds } = await timed(stage, 'orders to "delete all"', async () =>
    summedUp((await Promise.all(sites.map((site) => attackSite(site, home, stolen)))).flat()),
  );
  for (const { order, requests, refused, status, code, message } of orders) {
    page.text(
      refused === requests
        ? `${order}: ${plural(requests, "request")}, all refused.`
        : `${order}: ${requests - refused} OF ${requests} WERE NOT REFUSED.`,
    );
    const why =
      code === ""
        ? `${status}: the witness holds to the ${message} entries that it has cosigned`
        : `${status} ${code}: ${message.replace(LONG_HEX, "$1…")}`;
    page.lines(wrap(why, WHY_COLUMNS).map((line) => `    ${line}`));
  }
  page.gap();
  const checks = await checkAll(stage, home, "check every byte after that");
  const objectsAfter = await objects();
  const shardsVerified = checks
    .flatMap((check) => check.sites)
    .reduce((sum, { verified }) => sum + verified, 0);
  const [requests, refused] = [
    orders.reduce((sum, one) => sum + one.requests, 0),
    orders.reduce((sum, one) => sum + one.refused, 0),
  ];
  const good =
    refused === requests && objectsAfter === objectsBefore && checks.every((check) => check.good);
  page.text(
    good
      ? `${formatCount(requests)} requests in ${formatSeconds(seconds)}, ${formatCount(refused)} refused. Then every ` +
          `byte is read: ${formatCount(objectsAfter)} objects are there as before, and ` +
          `${formatCount(shardsVerified)} shards are what they were.`
      : "SOMETHING WAS NOT REFUSED, OR IS GONE: this demo has failed.",
  );
  return { orders, requests, refused, objectsBefore, objectsAfter, shardsVerified, good };
}

type Stolen = {
  readonly head: TreeHead;
  /** A decision to destroy, signed by the agent, and a checkpoint of another history, by the ledger's key. */
  readonly destroy: Uint8Array;
  readonly forked: Uint8Array;
  /** A file of the ledger as it is, with one bit changed. */
  readonly rewritten: { readonly name: string; readonly bytes: Uint8Array };
};

/** What somebody makes who has home's files. */
async function steal(home: Home): Promise<Stolen> {
  const [register] = home.config.registers;
  invariant(register, "there is a register");
  const order = { kind: "destroy" as const, register: register.id, epochs: [register.epoch] };
  const grounds = { reason: "Delete all", citation: "none" };
  const decision: Decision = await draftDecision(home, order, grounds, new Date());
  const { head, entries } = await home.withLedger((log) => {
    const signed = log.head(log.latest()?.size ?? 0);
    const files = [...log.files(0, signed.size)];
    return { head: signed, entries: files.find(({ path }) => path.includes("entries")) };
  });
  invariant(entries, "a ledger has entries");
  const bytes = Uint8Array.from(entries.bytes);
  bytes.set([(bytes.at(-1) ?? 0) ^ 1], bytes.length - 1);
  const file = await readFile(join(home.path, "keys", "ledger.json"), "utf8");
  const { secret } = JSON.parse(file) as { readonly secret: string };
  const key = logKeyFromSeed(fromHex(secret, 32), head.origin);
  const now = Math.floor(Date.now() / 1000);
  return {
    head,
    destroy: signPaper(decision, home.agent),
    forked: signCheckpoint(key, { ...head, root: randomBytes(32) }, now),
    rewritten: { name: fileName(head.origin, entries.path), bytes },
  };
}

/** What is ordered at a site: the words for it, and the requests. */
type Orders = ReadonlyMap<string, readonly AnyRequest[]>;

async function attackSite(
  site: DemoSite,
  home: Home,
  stolen: Stolen,
): Promise<readonly (Answered & { readonly order: string })[]> {
  const agent = connections();
  const answers: (Answered & { readonly order: string })[] = [];
  try {
    for (const [order, requests] of await ordersFor(site, home, stolen)) {
      const sent = await Promise.all(requests.map((one) => send(site, { ...one, agent })));
      answers.push(...sent.map((answer) => ({ ...answer, order })));
    }
  } finally {
    agent.destroy();
  }
  return answers;
}

async function ordersFor(site: DemoSite, home: Home, stolen: Stolen): Promise<Orders> {
  const { state, agent: signer } = home;
  const { head, destroy, forked, rewritten } = stolen;
  const { shards, statement } = await asking(site, { state, signer }, async (remote) => ({
    shards: await namesOf(remote.list("shard")),
    statement: (await namesOf(remote.list("statement"))).at(0),
  }));
  invariant(shards.length > 0 && statement, "the site holds what is to be destroyed");
  const to = (method: string, name: string, body?: Uint8Array, by = signer): AnyRequest => ({
    method,
    target: objectPath(state, name),
    signer: by,
    ...(body ? { body } : {}),
  });
  const witness = {
    method: "POST",
    target: `${WITNESS_PATH}/add-checkpoint`,
    body: formatAddCheckpoint({ oldSize: head.size, proof: [], checkpoint: forked }),
    signer,
  };
  const squatted = checkpointName({ ...head, size: head.size + 1 }, utf8("squatted"));
  const { signer: _, ...unsigned } = to("PUT", `decision/${envelopeId(destroy)}`, destroy);
  return new Map([
    ["Delete every shard", shards.map((name) => to("DELETE", name))],
    ["Write zeros over every shard", shards.map((name) => to("PUT", name, new Uint8Array(ZEROS)))],
    ["Write another statement over one that is there", [to("PUT", statement, utf8("{}"))]],
    ["Rewrite the ledger by one bit", [to("PUT", rewritten.name, rewritten.bytes)]],
    ["Squat on the name of its next checkpoint", [to("PUT", squatted, utf8("squatted"))]],
    ["Have another history cosigned, signed by the ledger's own keys", [witness]],
    ["Decide to destroy, signed by home's agent", [unsigned]],
  ]);
}

async function namesOf(list: AsyncIterable<string>): Promise<readonly string[]> {
  const names: string[] = [];
  for await (const name of list) names.push(name);
  return names;
}

/** By kind of order, over all sites; the words are the first site's. */
function summedUp(answers: readonly (Answered & { readonly order: string })[]): readonly Ordered[] {
  return [...Map.groupBy(answers, ({ order }) => order)].map(([order, all]) => {
    const [first] = all;
    invariant(first, "a group is not empty");
    const { status, code, message } = first;
    const refused = all.filter((one) => one.status >= FIRST_REFUSAL).length;
    return { order, requests: all.length, refused, status, code, message };
  });
}
