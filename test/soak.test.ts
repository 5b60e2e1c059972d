/**
 * Many clients put, read and list at one real `exclave site serve`, which is stopped and killed at random moments. Each
 * remembers what was acknowledged to it, looks for some of it after every start, and for all of it at the end.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { sha256 } from "../src/crypto/hash.ts";
import { isExclaveError } from "../src/errors.ts";
import { openRemoteSite, type RemoteSite } from "../src/sites/remote.ts";
import { folder, plainState } from "./support/attacks.ts";
import { temporaryFolder } from "./support/places.ts";
import { freePort } from "./support/ports.ts";
import { randomNumbers, seedOf } from "./support/random.ts";
import { type MadeShard, shardsOf } from "./support/shards.ts";
import { IDENTITY, IN_ORDER, startDaemon } from "./support/site-daemon.ts";

const BIN = join(import.meta.dirname, "../bin/exclave");
const SECONDS = Number(process.env.SOAK_SECONDS ?? 600);
const CLIENTS = 50;
const EPOCH = 65_536;
/** What is put at most in a second, so that ten minutes fill no disk; beyond it clients read. */
const PUT_BYTES_PER_SECOND = 8e6;
const PACKS_BYTES = [32 * 1024, 256 * 1024, 2 * 1024 * 1024] as const;
/** A process lives so long: at least, and up to so much longer. */
const LIFE_MS_MIN = 2000;
const LIFE_MS_MORE = 18_000;
/** Of its ends, by SIGKILL; the others by SIGTERM. */
const KILLED_SHARE = 0.75;
/** Of each client's objects, after a start. */
const CHECKED_AFTER_START = 5;
const READ_SHARE = 0.45;
const LIST_SHARE = 0.01;
const SAMPLE_MS = 200;
const PAUSE_MS_MAX = 50;
/** Generous: what is asserted is that memory is bounded, not how small it is. */
const MEMORY_BYTES_MAX = 1e9;
const PROBLEMS_MAX = 20;
/** The State is of a test's past, so its ledger is old by a real clock. */
const grant = { viewSecondsMax: 10 * 366 * 86_400 };

type Kept = { readonly name: string; readonly bytes: number; readonly hash: string };

/** One after another, on one port. */
class Process {
  starts = 0;
  killed = 0;
  stopped = 0;
  peakBytes = 0;
  readonly #folder: string;
  readonly #log: string;
  #child: ChildProcess | undefined;

  constructor(path: string, log: string) {
    this.#folder = path;
    this.#log = log;
  }

  /** Resolves when it serves. */
  async start(): Promise<void> {
    const log = openSync(this.#log, "a");
    const args = [BIN, "site", "serve", "--folder", this.#folder, "--json"];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", log] });
    closeSync(log);
    this.#child = child;
    assert.ok(child.stdout);
    const lines = createInterface({ input: child.stdout });
    const { value } = await lines[Symbol.asyncIterator]().next();
    if (!String(value).includes('"ready":true')) {
      throw new Error(`the site does not start: ${readFileSync(this.#log, "utf8").slice(-2000)}`);
    }
    this.starts++;
  }

  async end(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill(signal);
    await ended;
    if (signal === "SIGKILL") this.killed++;
    else this.stopped++;
  }

  sample(): void {
    try {
      const status = readFileSync(`/proc/${this.#child?.pid}/status`, "latin1");
      const kib = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0);
      this.peakBytes = Math.max(this.peakBytes, kib * 1024);
    } catch {
      // It has just ended, or the system tells nothing of processes.
    }
  }
}

/** What went wrong, bounded; the run goes on to its end. */
class Problems {
  readonly shown: string[] = [];
  count = 0;

  add(what: string, error?: unknown): void {
    this.count++;
    const code = isExclaveError(error) ? `${error.code}: ` : "";
    const why = error instanceof Error ? `: ${code}${error.message}` : "";
    if (this.shown.length < PROBLEMS_MAX) this.shown.push(`${what}${why}`);
  }
}

/** Whether it may pass: while the site is away nothing else is to be expected. */
function isAway(error: unknown): boolean {
  return isExclaveError(error) && error.code === "site-unavailable";
}

class Client {
  readonly kept: Kept[] = [];
  /** Puts whose answer never came: the site may have them or not. */
  unknown = 0;
  reads = 0;
  lists = 0;
  readonly #site: RemoteSite;
  readonly #problems: Problems;
  readonly #number: () => number;

  constructor(site: RemoteSite, problems: Problems, number: () => number) {
    this.#site = site;
    this.#problems = problems;
    this.#number = number;
  }

  async put({ name, parts, bytes }: MadeShard): Promise<void> {
    try {
      await this.#site.put(name, parts);
      this.kept.push({ name, bytes, hash: Buffer.from(sha256(...parts)).toString("hex") });
    } catch (error) {
      if (isAway(error)) this.unknown++;
      else this.#problems.add(`put ${name}`, error);
    }
  }

  /** One that was acknowledged, by chance. */
  async readOne(): Promise<void> {
    const one = this.kept[Math.floor(this.#number() * this.kept.length)];
    if (one) await this.#verify(one);
  }

  /** Gives false when the site is away; what is lost or altered is a problem. */
  async #verify({ name, bytes, hash }: Kept): Promise<boolean> {
    try {
      // One more, to see that there is no more.
      const into = new Uint8Array(bytes + 1);
      const got = await this.#site.read(name, 0, into);
      const seen = Buffer.from(sha256(into.subarray(0, got))).toString("hex");
      if (seen !== hash) this.#problems.add(`read ${name}`, new Error("it is not what was put"));
      this.reads++;
      return true;
    } catch (error) {
      if (!isAway(error)) this.#problems.add(`read ${name}`, error);
      return !isAway(error);
    }
  }

  /** Everything that was acknowledged before the list began must be in it. */
  async list(): Promise<void> {
    const before = this.kept.map(({ name }) => name);
    const there = new Set<string>();
    try {
      for await (const name of this.#site.list("shard")) there.add(name);
    } catch (error) {
      if (!isAway(error)) this.#problems.add("list", error);
      return;
    }
    for (const name of before) if (!there.has(name)) this.#problems.add(`list lacks ${name}`);
    this.lists++;
  }

  async verifyAll(): Promise<void> {
    await this.list();
    for (const one of this.kept) {
      if (!(await this.#verify(one))) this.#problems.add(`${one.name}: the site did not answer`);
    }
  }
}

test("under load, stopped and killed for minutes, a site loses nothing that it acknowledged", {
  skip: !process.env.SLOW && "a soak takes minutes: SLOW=1 runs it, SOAK_SECONDS says how long",
  timeout: (SECONDS + 600) * 1000,
}, async (t: TestContext) => {
  const seed = seedOf("EXCLAVE_SOAK_SEED");
  t.diagnostic(`EXCLAVE_SOAK_SEED=${seed} repeats this run's kills and choices; ${SECONDS} s`);
  const number = randomNumbers(seed);
  const s = await (await plainState()).copy(folder());
  const port = await freePort();
  const listen = { listen: { host: "127.0.0.1", port } };
  const at = join(temporaryFolder(t), "site");
  const first = await startDaemon(t, {
    embassy: s,
    now: () => new Date(),
    grant,
    settings: listen,
    folder: at,
  });
  await first.bring("bb", IN_ORDER);
  await first.running.close();

  const site = new Process(at, `${at}.log`);
  t.after(() => site.end("SIGKILL"));
  await site.start();
  const register = s.home.charter.registers[0]?.id ?? "";
  const sources = PACKS_BYTES.map((packBytes) =>
    shardsOf({ state: s.home.state, register, epoch: EPOCH, k: 2, n: 4, packBytes }),
  );
  const problems = new Problems();
  const clients = await Promise.all(
    Array.from({ length: CLIENTS }, async (_, i) => {
      const remote = await openRemoteSite({
        url: `https://127.0.0.1:${port}`,
        identity: IDENTITY,
        state: s.home.state,
        site: first.key,
        signer: s.home.agent,
        // A site that is away is asked again soon, and no call goes on for long over its restarts.
        limits: { attemptsMax: 3, firstDelayMs: 50, delayMsMax: 500, retriesPerMinute: 10_000 },
      });
      t.after(() => remote.close());
      return new Client(remote, problems, randomNumbers(`${seed} client ${i}`));
    }),
  );

  const began = performance.now();
  const elapsed = (): number => performance.now() - began;
  const isOver = (): boolean => elapsed() > SECONDS * 1000;
  let putBytes = 0;
  const sampler = setInterval(() => site.sample(), SAMPLE_MS);
  t.after(() => clearInterval(sampler));

  const work = async (client: Client, choose: () => number): Promise<void> => {
    let seen = site.starts;
    while (!isOver()) {
      if (seen !== site.starts) {
        seen = site.starts;
        for (let i = 0; i < CHECKED_AFTER_START; i++) await client.readOne();
      }
      const chance = choose();
      if (chance < LIST_SHARE) await client.list();
      else if (chance < LIST_SHARE + READ_SHARE) await client.readOne();
      else if (putBytes < (PUT_BYTES_PER_SECOND * elapsed()) / 1000) {
        const source = sources[Math.floor(choose() * sources.length)];
        assert.ok(source);
        const shard = source.next().value;
        putBytes += shard.bytes;
        await client.put(shard);
      } else await delay(choose() * PAUSE_MS_MAX);
    }
  };
  const end = async (): Promise<void> => {
    while (!isOver()) {
      await delay(LIFE_MS_MIN + number() * LIFE_MS_MORE);
      await site.end(number() < KILLED_SHARE ? "SIGKILL" : "SIGTERM");
      await site.start();
    }
  };
  await Promise.all([
    end(),
    ...clients.map((client, i) => work(client, randomNumbers(`${seed} choices ${i}`))),
  ]);

  await site.end("SIGKILL");
  await site.start();
  await Promise.all(clients.map((client) => client.verifyAll()));
  const total = (of: (client: Client) => number): number =>
    clients.reduce((sum, client) => sum + of(client), 0);
  const kept = total((client) => client.kept.length);
  t.diagnostic(
    `${kept} objects were acknowledged (${(putBytes / 1e6).toFixed(0)} MB put), ${total((one) => one.unknown)} ` +
      `puts stayed without an answer; ${total((one) => one.reads)} reads, ${total((one) => one.lists)} lists; ` +
      `${site.killed} times killed, ${site.stopped} times stopped; at most ${(site.peakBytes / 1e6).toFixed(0)} MB`,
  );
  assert.deepEqual(problems.shown, [], `${problems.count} problems`);
  assert.ok(kept > 0 && site.killed > 0, "there was something to lose, and a chance to");
  assert.ok(site.peakBytes < MEMORY_BYTES_MAX, `${site.peakBytes} bytes`);
});
