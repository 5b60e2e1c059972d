/**
 * A real Ceph on this machine, for one test file: a monitor, OSDs that keep their objects in memory, and
 * radosgw, which speaks S3. Everything listens on 127.0.0.1 and dies with the process that started it.
 */
import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { accessSync, constants, openSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { freePort } from "./ports.ts";

/** `setpriv` (util-linux) has the kernel end a daemon when the test that started it is killed. */
const PROGRAMS = [
  "radosgw",
  "radosgw-admin",
  "ceph",
  "ceph-mon",
  "ceph-osd",
  "ceph-authtool",
  "monmaptool",
  "setpriv",
];
const START_SECONDS_MAX = 120;
const POLL_MS = 100;
const OSD_BYTES = 2 * 1024 ** 3;

export type Ceph = {
  /** http://127.0.0.1:PORT */
  readonly endpoint: string;
  /** Buckets answer to this name as well, as `BUCKET.localhost`. */
  readonly domain: "localhost";
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Ends an OSD as a power cut would. Resolves when it is gone. */
  killOsd(index: number): Promise<void>;
  /** Ends and starts the gateway alone; what is stored stays. */
  stopGateway(): Promise<void>;
  startGateway(): Promise<void>;
  stop(): Promise<void>;
};

/** Why no Ceph can be started here, or undefined when one can. */
export function cephMissing(): string | undefined {
  const missing = PROGRAMS.filter((name) => !isOnPath(name));
  if (missing.length === 0) return undefined;
  return `${missing.join(", ")} not installed (Debian: ceph-mon ceph-osd radosgw)`;
}

/** With three OSDs every object has three copies, of which two must be written. */
export async function startCeph({ osds = 1 }: { readonly osds?: number } = {}): Promise<Ceph> {
  const directory = await mkdtemp(join(tmpdir(), "exclave-ceph-"));
  const [monitorPort, gatewayPort] = await Promise.all([freePort(), freePort()]);
  const secretAccessKey = randomBytes(16).toString("hex");
  const running = new Map<string, ChildProcess>();
  const run = runner(directory);
  const startDaemon = (name: string, command: readonly string[]): void => {
    const log = openSync(join(directory, `${name}.out`), "a");
    running.set(
      name,
      spawn("setpriv", ["--pdeathsig", "KILL", ...command], {
        stdio: ["ignore", log, log],
        env: environment(directory),
      }),
    );
  };
  const end = async (name: string, signal: NodeJS.Signals): Promise<void> => {
    const child = running.get(name);
    running.delete(name);
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill(signal);
    await gone;
  };
  const stop = async (): Promise<void> => {
    // Nothing of it is needed again, so nobody waits for a clean end.
    await Promise.all([...running.keys()].map((name) => end(name, "SIGKILL")));
    await rm(directory, { recursive: true, force: true });
  };
  const startGateway = async (): Promise<void> => {
    startDaemon("gateway", ["radosgw", "-f", "-n", "client.rgw"]);
    await until("radosgw", async () => (await fetch(`http://127.0.0.1:${gatewayPort}/`)).ok);
  };

  try {
    await makeMonitor(directory, { monitorPort, gatewayPort, osds }, run);
    startDaemon("mon", ["ceph-mon", "-f", "-i", "a"]);
    await until("the monitor", async () => {
      await run("ceph", "--connect-timeout", "5", "mon", "stat");
      return true;
    });
    for (let i = 0; i < osds; i++) {
      const uuid = randomUUID();
      await mkdir(join(directory, `osd.${i}`));
      await run("ceph", "osd", "new", uuid, `${i}`);
      await run("ceph-osd", "--mkfs", "-i", `${i}`, "--osd-uuid", uuid);
      await run("ceph", "osd", "crush", "add", `osd.${i}`, "1.0", "host=localhost", "root=default");
      startDaemon(`osd.${i}`, ["ceph-osd", "-f", "-i", `${i}`]);
    }
    await until("the OSDs", async () =>
      (await run("ceph", "osd", "stat")).includes(`: ${osds} up`),
    );
    await startGateway();
    const user = ["--uid=test", "--display-name=test", "--access-key=exclave"];
    await run("radosgw-admin", "user", "create", ...user, `--secret-key=${secretAccessKey}`);
  } catch (error) {
    const logs = await Promise.all(
      ["mon", "osd.0", "gateway"].map((name) =>
        readFile(join(directory, `${name}.out`), "utf8").catch(() => ""),
      ),
    );
    await stop();
    throw new Error(`Ceph did not start. ${logs.join("\n").slice(-2000)}`, { cause: error });
  }
  return {
    endpoint: `http://127.0.0.1:${gatewayPort}`,
    domain: "localhost",
    accessKeyId: "exclave",
    secretAccessKey,
    killOsd: (index) => end(`osd.${index}`, "SIGKILL"),
    // Asked to end, it says goodbye to the OSDs; killed, they would make the next one wait for it.
    stopGateway: () => end("gateway", "SIGTERM"),
    startGateway,
    stop,
  };
}

type Run = (...command: readonly string[]) => Promise<string>;

function environment(directory: string): NodeJS.ProcessEnv {
  return { ...process.env, CEPH_CONF: join(directory, "ceph.conf"), PYTHONWARNINGS: "ignore" };
}

function runner(directory: string): Run {
  const execute = promisify(execFile);
  return async (program = "", ...rest) =>
    (await execute(program, rest, { env: environment(directory), timeout: 60_000 })).stdout;
}

async function makeMonitor(
  directory: string,
  sizes: { readonly monitorPort: number; readonly gatewayPort: number; readonly osds: number },
  run: Run,
): Promise<void> {
  const fsid = randomUUID();
  await writeFile(join(directory, "ceph.conf"), settings(directory, fsid, sizes));
  await mkdir(join(directory, "mon.a"));
  await mkdir(join(directory, "rgw"));
  const keyring = join(directory, "keyring");
  await run("ceph-authtool", "--create-keyring", keyring);
  const key = (name: string, ...caps: readonly string[]): Promise<string> =>
    run("ceph-authtool", keyring, "--gen-key", "-n", name, ...caps);
  await key("mon.", "--cap", "mon", "allow *");
  await key("client.admin", "--cap", "mon", "allow *", "--cap", "osd", "allow *");
  await key("client.rgw", "--cap", "mon", "allow rw", "--cap", "osd", "allow rwx");
  for (let i = 0; i < sizes.osds; i++) {
    await key(`osd.${i}`, "--cap", "mon", "profile osd", "--cap", "osd", "allow *");
  }
  const map = join(directory, "monmap");
  const address = `[v2:127.0.0.1:${sizes.monitorPort}]`;
  await run("monmaptool", "--create", "--addv", "a", address, "--fsid", fsid, map);
  await run("ceph-mon", "--mkfs", "-i", "a", "--monmap", map, "--keyring", keyring);
}

function settings(
  directory: string,
  fsid: string,
  sizes: { readonly monitorPort: number; readonly gatewayPort: number; readonly osds: number },
): string {
  const { monitorPort, gatewayPort, osds } = sizes;
  return `[global]
fsid = ${fsid}
mon host = [v2:127.0.0.1:${monitorPort}]
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
ms bind msgr1 = false
keyring = ${directory}/keyring
auth allow insecure global id reclaim = false
run dir = ${directory}
admin socket =
log file = ${directory}/$name.log
crash dir = ${directory}
osd pool default size = ${Math.min(osds, 3)}
osd pool default min size = ${osds < 3 ? 1 : 2}
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon max pg per osd = 1000
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail warn = 1
mon data avail crit = 0
setuser match path =
[mon]
mon data = ${directory}/mon.$id
mon cluster log file = ${directory}/cluster.log
[osd]
osd data = ${directory}/osd.$id
osd objectstore = memstore
osd class update on start = false
memstore device bytes = ${OSD_BYTES}
osd heartbeat grace = 6
osd heartbeat interval = 2
mon osd min down reporters = 1
[client]
rgw data = ${directory}/rgw
rgw frontends = beast endpoint=127.0.0.1:${gatewayPort} tcp_nodelay=1
rgw dns name = localhost
rgw thread pool size = 32
rgw rados pool pg num min = 8
`;
}

/** Asks until it holds; what it throws before that counts as "not yet". */
async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + START_SECONDS_MAX * 1000;
  while (!(await holds().catch(() => false))) {
    assert.ok(Date.now() < end, `${what} did not come up in ${START_SECONDS_MAX} s`);
    await delay(POLL_MS);
  }
}

function isOnPath(program: string): boolean {
  return (process.env.PATH ?? "").split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
