/**
 * How much one process of a site's daemon takes and gives: shards from loopback, with TLS, signatures and every byte
 * verified and durable; then small ranges of them. The client runs beside it and takes its share of the machine.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { type TLSSocket, connect as tlsConnect } from "node:tls";
import { toBase64 } from "../src/crypto/bytes.ts";
import { signRequest } from "../src/crypto/http-signature.ts";
import type { SigningKey } from "../src/crypto/signing.ts";
import { found } from "../src/governance/found.ts";
import { openAllSites, publish } from "../src/governance/ledger-at-sites.ts";
import { addRegister } from "../src/governance/registers.ts";
import { addSite } from "../src/governance/sites.ts";
import { newGrant, writeGrant } from "../src/site-daemon/grant.ts";
import { initSite, openSiteFiles } from "../src/site-daemon/site-files.ts";
import { openRemoteSite } from "../src/sites/remote.ts";
import { objectPath } from "../src/sites/wire.ts";
import { firstEpochOf } from "../src/vault/documents.ts";
import type { Home } from "../src/vault/home.ts";
import { BLOCK_BYTES, blocksPerPiece } from "../src/vault/shard.ts";
import { type MadeShard, shardsOf } from "../test/support/shards.ts";

const BIN = join(import.meta.dirname, "../bin/exclave");
const MIB = 1024 * 1024;
const PACK_BYTES = 8 * MIB;
const [K, N] = [3, 5];
const PUTS_AT_ONCE = 16;
const READS_AT_ONCE = 32;
const READ_BYTES = BLOCK_BYTES;
const READ_SECONDS = 10;
/** What is asked of a site a second when it is not asked all that it can give. */
const READS_PER_SECOND = 3000;
/** A site serves for months: what V8 compiles in its first seconds is no part of what is measured. */
const WARM_BYTES = 512 * MIB;
const WARM_SECONDS = 2;
const READ_BUFFER_BYTES = 64 * 1024;
const HEAD_END = "\r\n\r\n";
/** A second, as Linux counts processor time. */
const CLOCK_TICKS = 100;
const IDENTITY = { name: "kn", country: "KN", operator: "kn", hazardZone: "KN" };

export interface SiteDaemonResult {
  readonly putBytes: number;
  readonly putBytesPerSecond: number;
  readonly readsPerSecond: number;
  /** With as many requests as it can give. */
  readonly readMillisecondsMedian: number;
  readonly readMillisecondsP99: number;
  /** With `READS_PER_SECOND`, from when each was due: that one waits for another is in it. */
  readonly pacedMillisecondsMedian: number;
  readonly pacedMillisecondsP99: number;
  /** By seconds of processor time that the daemon itself took, on all cores: the client took the rest. */
  readonly putBytesPerCpuSecond: number;
  readonly readsPerCpuSecond: number;
  /** What the process holds in memory before it is asked anything, and the most that it held. */
  readonly idleBytes: number;
  readonly peakBytes: number;
}

/** Works in a temporary directory on the disk of `parent`. */
export async function benchSiteDaemon(
  parent = tmpdir(),
  bytes = 1024 * MIB,
  flags: readonly string[] = [],
): Promise<SiteDaemonResult> {
  const folder = mkdtempSync(join(parent, "exclave-site-"));
  let server: ChildProcess | undefined;
  try {
    const home = await foundHome(folder);
    const site = join(folder, "site");
    await makeSite(site, home);
    const argv = [...flags, BIN, "site", "serve", "--folder", site, "--json"];
    const serve = (): ChildProcess => {
      // A line for every shard: written as at a site, and kept from the report.
      const log = openSync(join(folder, "site.log"), "w");
      const child = spawn(process.execPath, argv, { stdio: ["ignore", "pipe", log] });
      closeSync(log);
      return child;
    };
    // The first start of a version compiles what all later ones find in Node's cache.
    server = serve();
    await portOf(server);
    await ended(server);
    server = serve();
    const port = await portOf(server);
    const { signing } = (await openSiteFiles(site)).keys;
    await bring(home, port, signing);
    const clients = await Promise.all(
      Array.from({ length: READS_AT_ONCE }, () =>
        Client.connect(port, home.state, home.agent, signing.id),
      ),
    );
    const register = home.config.registers[0]?.id ?? "";
    const { state } = home;
    const epoch = firstEpochOf(1);
    const shards = shardsOf({ state, register, epoch, k: K, n: N, packBytes: PACK_BYTES });
    const pid = server.pid ?? 0;
    const idleBytes = memoryOf(pid, "VmRSS");
    const putters = clients.slice(0, PUTS_AT_ONCE);
    await readSome(clients, await putAll(putters, shards, WARM_BYTES), WARM_SECONDS);
    const cpu = [cpuSecondsOf(pid)];
    const began = performance.now();
    const names = await putAll(putters, shards, bytes);
    const putSeconds = (performance.now() - began) / 1000;
    cpu.push(cpuSecondsOf(pid));
    const { reads, ...read } = await readSome(clients, names, READ_SECONDS);
    cpu.push(cpuSecondsOf(pid));
    const [atFirst = 0, afterPuts = 0, atLast = 0] = cpu;
    await readSome(clients, names, WARM_SECONDS, READS_PER_SECOND);
    const paced = await readSome(clients, names, READ_SECONDS, READS_PER_SECOND);
    for (const client of clients) client.close();
    return {
      putBytes: bytes,
      putBytesPerSecond: bytes / putSeconds,
      putBytesPerCpuSecond: bytes / (afterPuts - atFirst),
      ...read,
      readsPerCpuSecond: reads / (atLast - afterPuts),
      pacedMillisecondsMedian: paced.readMillisecondsMedian,
      pacedMillisecondsP99: paced.readMillisecondsP99,
      idleBytes,
      peakBytes: memoryOf(pid, "VmHWM"),
    };
  } finally {
    if (server) await ended(server);
    rmSync(folder, { recursive: true, force: true });
  }
}

async function ended(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const exit = once(server, "exit");
  server.kill("SIGTERM");
  await exit;
}

async function foundHome(folder: string): Promise<Home> {
  const now = new Date();
  const home = await found({
    home: join(folder, "home"),
    stateName: "Belize",
    passphrase: "Saltfish-Hummingbird-47",
    recoveryKeyFile: join(folder, "recovery.age"),
    now,
    workFactor: 10,
  });
  const sites = ["kn", "lu", "ee"];
  for (const name of sites) {
    const country = name.toUpperCase();
    const at = join(folder, name);
    await addSite(home, { name, country, operator: name, hazardZone: country, at }, now);
  }
  mkdirSync(join(folder, "data"));
  const part = { name: "land", kind: "files", path: join(folder, "data") } as const;
  const parts = [{ ...part, excludes: [], oneFileSystem: false }];
  await addRegister(home, { name: "land", sites, k: 2, survive: 1, parts }, now);
  await publish(home, await openAllSites(home));
  return home;
}

async function makeSite(folder: string, home: Home): Promise<void> {
  const free = { host: "127.0.0.1", port: 0 };
  const url = "https://127.0.0.1:8443";
  await initSite(folder, {
    ...IDENTITY,
    url,
    listen: free,
    admin: free,
    storage: { kind: "directory" },
  });
  await writeGrant(
    folder,
    newGrant({
      state: home.state,
      name: "Belize",
      contact: toBase64(home.agent.publicKey.bytes),
      quotaBytes: 2 ** 50,
    }),
  );
}

async function portOf(server: ChildProcess): Promise<number> {
  if (!server.stdout) throw new Error("the daemon was started without its output");
  for await (const line of createInterface({ input: server.stdout })) {
    return (JSON.parse(line) as { readonly port: number }).port;
  }
  throw new Error("the daemon did not start");
}

/** The ledger and what it names, from the directory site of the same State. */
async function bring(home: Home, port: number, signing: SigningKey): Promise<void> {
  const site = await openRemoteSite({
    url: `https://127.0.0.1:${port}`,
    identity: IDENTITY,
    state: home.state,
    site: signing.publicKey,
    signer: home.agent,
  });
  const at = home.config.sites[0]?.at ?? "";
  for (const kind of ["annex", "charter", "decision", "ledger", "checkpoint"]) {
    const files = readdirSync(join(at, kind), { recursive: true, withFileTypes: true });
    for (const file of files.filter((one) => one.isFile())) {
      await site.put(`${kind}/${file.name}`, [readFileSync(join(file.parentPath, file.name))]);
    }
  }
  await site.close();
}

/** One connection, and one request at a time: as little as signs and sends, since the measure is of the daemon. */
class Client {
  readonly #socket: TLSSocket;
  readonly #state: string;
  readonly #signer: SigningKey;
  readonly #site: string;
  #answer: Answer | undefined;

  private constructor(port: number, state: string, signer: SigningKey, site: string) {
    // Into the same memory each time: new buffers for all of it would keep the client's collector at work.
    const onread = {
      buffer: Buffer.alloc(READ_BUFFER_BYTES),
      callback: (bytes: number, buffer: Uint8Array): boolean => {
        this.#take(Buffer.from(buffer.buffer, buffer.byteOffset, bytes));
        return true;
      },
    };
    const options = { host: "127.0.0.1", port, rejectUnauthorized: false, onread };
    this.#socket = tlsConnect(options);
    this.#socket.setNoDelay(true);
    this.#socket.on("close", () => this.#answer?.reject(new Error("the daemon hung up")));
    this.#state = state;
    this.#signer = signer;
    this.#site = site;
  }

  static async connect(
    port: number,
    state: string,
    signer: SigningKey,
    site: string,
  ): Promise<Client> {
    const client = new Client(port, state, signer, site);
    await once(client.#socket, "secureConnect");
    return client;
  }

  put({ name, parts, bytes }: MadeShard): Promise<number> {
    return this.send(this.#request("PUT", name, { "content-length": String(bytes) }), parts);
  }

  /** A request for a range, which is signed now: it counts for as long as the site's clock may differ. */
  requestFor(name: string, from: number): string {
    return this.#request("GET", name, { range: `bytes=${from}-${from + READ_BYTES - 1}` });
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Resolves with the length of what is answered; rejects when that is a refusal. */
  send(request: string, parts: readonly Uint8Array[] = []): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    this.#answer = { resolve, reject, bytes: undefined, left: 0 };
    this.#socket.write(request);
    for (const part of parts) this.#socket.write(part);
    return promise;
  }

  #take(chunk: Buffer): void {
    const answer = this.#answer;
    if (!answer) throw new Error("the daemon said something unasked");
    answer.left -= chunk.length;
    if (answer.bytes === undefined) {
      // What comes before a body comes in one piece.
      const head = chunk.toString("latin1", 0, chunk.indexOf(HEAD_END));
      answer.bytes = Number(/^content-length: ([0-9]+)$/im.exec(head)?.[1]);
      answer.left += head.length + HEAD_END.length + answer.bytes;
      if (!head.startsWith("HTTP/1.1 2") || Number.isNaN(answer.bytes)) {
        answer.reject(new Error(head));
      }
    }
    if (answer.left === 0) answer.resolve(answer.bytes);
  }

  /** The request, signed, up to its body. */
  #request(method: string, name: string, headers: Record<string, string>): string {
    const target = objectPath(this.#state, name);
    const signed = signRequest(
      {
        method,
        target,
        site: this.#site,
        range: headers.range,
        contentLength: headers["content-length"],
      },
      this.#signer,
      Math.floor(Date.now() / 1000),
    );
    const all = { host: "127.0.0.1", ...headers, ...signed, "exclave-site": this.#site };
    const lines = Object.entries(all).map(([header, value]) => `${header}: ${value}\r\n`);
    return `${method} ${target} HTTP/1.1\r\n${lines.join("")}\r\n`;
  }
}

/** Of which so many bytes were announced, and are still to come. */
type Answer = {
  readonly resolve: (bytes: number) => void;
  readonly reject: (error: Error) => void;
  bytes: number | undefined;
  left: number;
};

async function putAll(
  clients: readonly Client[],
  shards: Iterator<MadeShard>,
  bytes: number,
): Promise<readonly string[]> {
  const names: string[] = [];
  let sent = 0;
  await Promise.all(
    clients.map(async (client) => {
      while (sent < bytes) {
        const { value } = shards.next() as { readonly value: MadeShard };
        sent += value.bytes;
        await client.put(value);
        names.push(value.name);
      }
    }),
  );
  return names;
}

/**
 * @param perSecond reads that are due a second, evenly; as many as there can be when absent. Those that are due are
 *   signed before, so that the client takes less of the machine
 */
async function readSome(
  clients: readonly Client[],
  names: readonly string[],
  seconds: number,
  perSecond?: number,
) {
  const times: number[] = [];
  const blocks = blocksPerPiece(PACK_BYTES, K) - 1;
  const requestOf = (n: number): string =>
    (clients[n % clients.length] as Client).requestFor(
      names[n % names.length] ?? "",
      ((n * 7919) % blocks) * READ_BYTES,
    );
  const signed = Array.from({ length: seconds * (perSecond ?? 0) }, (_, n) => requestOf(n));
  const began = performance.now();
  const until = began + seconds * 1000;
  await Promise.all(
    clients.map(async (client, i) => {
      for (let n = i; performance.now() < until; n += clients.length) {
        if (perSecond !== undefined && n >= signed.length) return;
        const due = perSecond === undefined ? 0 : began + (n / perSecond) * 1000;
        const wait = due - performance.now();
        if (wait > 0) await delay(wait);
        const from = perSecond === undefined ? performance.now() : due;
        const got = await client.send(signed[n] ?? requestOf(n));
        if (got !== READ_BYTES) throw new Error(`${got} bytes were read`);
        times.push(performance.now() - from);
      }
    }),
  );
  times.sort((a, b) => a - b);
  return {
    reads: times.length,
    readsPerSecond: times.length / ((performance.now() - began) / 1000),
    readMillisecondsMedian: times[Math.floor(times.length * 0.5)] ?? 0,
    readMillisecondsP99: times[Math.floor(times.length * 0.99)] ?? 0,
  };
}

/** Linux alone tells of another process; 0 elsewhere. */
function memoryOf(pid: number, what: "VmRSS" | "VmHWM"): number {
  const [, kib] = new RegExp(`^${what}:\\s+(\\d+) kB$`, "m").exec(procFile(pid, "status")) ?? [];
  return Number(kib ?? 0) * 1024;
}

/** User and system time of all its threads. */
function cpuSecondsOf(pid: number): number {
  const stat = procFile(pid, "stat");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / CLOCK_TICKS;
}

function procFile(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, "utf8");
  } catch {
    return "";
  }
}

if (import.meta.main) {
  const [, , mebibytes = "1024", ...flags] = process.argv;
  console.log(await benchSiteDaemon(undefined, Number(mebibytes) * MIB, flags));
}
