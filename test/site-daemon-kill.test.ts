/** `exclave site serve`, a real process, killed at any moment: what it acknowledged is there, and all that is there is whole. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { createHash, randomInt } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { ShardVerifier } from "../src/site-daemon/verify-object.ts";
import { objectPath, statePath } from "../src/sites/wire.ts";
import { folder, plainState } from "./support/attacks.ts";
import type { Embassy } from "./support/embassy.ts";
import { type RawAnswer, type RawRequest, raw } from "./support/raw-request.ts";
import { type MadeShard, shardsOf } from "./support/shards.ts";
import { IN_ORDER, startDaemon } from "./support/site-daemon.ts";

const BIN = join(import.meta.dirname, "../bin/exclave");
const EPOCH = 65_536;
const PUTS_AT_ONCE = 8;
const ROUNDS = process.env.SLOW ? 20 : 3;
/** The State is of a test's past, so its ledger is old by a real clock. */
const grant = { viewSecondsMax: 10 * 366 * 86_400 };

type Served = { readonly child: ChildProcess; readonly port: number };

async function serve(t: TestContext, path: string): Promise<Served> {
  const child = spawn(process.execPath, [BIN, "site", "serve", "--folder", path, "--json"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  t.after(() => child.kill("SIGKILL"));
  assert.ok(child.stdout);
  for await (const line of createInterface({ input: child.stdout })) {
    return { child, port: (JSON.parse(line) as { readonly port: number }).port };
  }
  throw new Error("it did not start");
}

test("killed at any moment under load, it has whole what it acknowledged, and gives out nothing else", async (t) => {
  const s: Embassy = await (await plainState()).copy(folder());
  const now = (): Date => new Date();
  const daemon = await startDaemon(t, { embassy: s, now, grant });
  await daemon.bring("bb", IN_ORDER);
  await daemon.running.close();
  const site = daemon.key.id;
  const register = s.home.charter.registers[0]?.id ?? "";
  const many = { state: s.home.state, register, epoch: EPOCH, k: 2, n: 4 };
  const shards = [64 * 1024, 700 * 1024, 3_000_000].map((packBytes) =>
    shardsOf({ ...many, packBytes }),
  );
  const send = (port: number, changes: Partial<RawRequest>): Promise<RawAnswer> =>
    raw({ port, method: "GET", target: "", by: s.home.agent, site, at: new Date(), ...changes });
  const put = ({ port }: Served, { name, parts }: MadeShard): Promise<RawAnswer> =>
    send(port, {
      method: "PUT",
      target: objectPath(s.home.state, name),
      body: Buffer.concat(parts),
      digest: false,
    });
  const acknowledged = new Map<string, string>();

  for (let round = 0; round <= ROUNDS; round++) {
    const served = await serve(t, daemon.folder);
    await check(served);
    if (round === ROUNDS) break;
    const until = acknowledged.size + randomInt(1, 40);
    t.diagnostic(`round ${round}: killed after ${until - acknowledged.size} were acknowledged`);
    let isKilled = false;
    await Promise.all(
      Array.from({ length: PUTS_AT_ONCE }, async (_, i) => {
        while (!isKilled) {
          const source = shards[i % shards.length];
          assert.ok(source);
          const shard = source.next().value;
          const answer = await put(served, shard).catch(() => undefined);
          if (answer?.status === 201) {
            const hash = createHash("sha256");
            for (const part of shard.parts) hash.update(part);
            acknowledged.set(shard.name, hash.digest("hex"));
          } else if (!isKilled && answer) assert.fail(`${answer.status}: ${answer.error}`);
          if (acknowledged.size < until || isKilled) continue;
          isKilled = true;
          served.child.kill("SIGKILL");
        }
      }),
    );
    if (served.child.exitCode === null && served.child.signalCode === null) {
      await once(served.child, "exit");
    }
  }

  async function check(served: Served): Promise<void> {
    const list = await send(served.port, { target: `${statePath(s.home.state)}/list/shard` });
    assert.equal(list.status, 200);
    const names = new Set(list.body.toString().split("\n").filter(Boolean));
    for (const [name] of acknowledged) assert.ok(names.has(name.slice("shard/".length)), name);
    for (const rest of names) {
      const name = `shard/${rest}`;
      const { status, body } = await send(served.port, {
        target: objectPath(s.home.state, name),
      });
      assert.equal(status, 200);
      const verifier = new ShardVerifier(body, name, s.home.state);
      verifier.arrived(body.length);
      verifier.finish();
      const hash = acknowledged.get(name);
      if (hash !== undefined) assert.equal(createHash("sha256").update(body).digest("hex"), hash);
    }
    t.diagnostic(`${names.size} shards are there, ${acknowledged.size} were acknowledged`);
  }
});

test("told to stop, it finishes what is under way, and a second process does not serve the same folder", async (t) => {
  const s: Embassy = await (await plainState()).copy(folder());
  const daemon = await startDaemon(t, { embassy: s, now: () => new Date(), grant });
  await daemon.running.close();
  const served = await serve(t, daemon.folder);
  const second = spawn(
    process.execPath,
    [BIN, "site", "serve", "--folder", daemon.folder, "--json"],
    { stdio: "ignore" },
  );
  const [code] = await once(second, "exit");
  assert.notEqual(code, 0);
  served.child.kill("SIGTERM");
  const [ended] = await once(served.child, "exit");
  assert.equal(ended, 0);
});
