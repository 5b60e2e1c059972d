/** What TCP itself gets through the link, without us: round trips, and bytes by so many connections at once. */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { end, firstLine } from "./children.ts";
import type { Lab } from "./lab.ts";
import { spawnIn } from "./namespaces.ts";

const PORT = 4000;
const PIECE_BYTES = 256 * 1024;
/** The first seconds are slow start, and do not count. */
const WARM_UP_SECONDS = 3;
const SECONDS = 8;
const ROUND_TRIPS = 20;

export type PlainTcp = {
  readonly roundTripMs: number;
  /** Payload from home to a host, by the number of connections. */
  readonly bitsPerSecond: ReadonlyMap<number, number>;
};

/** Measures from home to the first host. */
export async function measurePlainTcp(lab: Lab, connections: readonly number[]): Promise<PlainTcp> {
  const [host] = lab.hosts;
  if (!host) throw new Error("the lab has no host");
  const server = spawnIn(host.namespace, [process.execPath, import.meta.filename, "serve"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  try {
    if ((await firstLine(server)) !== "ready") throw new Error("the host does not listen");
    const roundTripMs = Number(await ask(lab, "ping", host.address));
    const bitsPerSecond = new Map<number, number>();
    for (const count of connections) {
      bitsPerSecond.set(count, Number(await ask(lab, "send", host.address, String(count))));
    }
    return { roundTripMs, bitsPerSecond };
  } finally {
    await end(server);
  }
}

async function ask(lab: Lab, ...args: readonly string[]): Promise<string> {
  const argv = [process.execPath, import.meta.filename, ...args];
  const child = spawnIn(lab.home.namespace, argv, { stdio: ["pipe", "pipe", "inherit"] });
  try {
    const line = await firstLine(child);
    if (line === undefined) throw new Error("the link carried nothing");
    return line;
  } finally {
    await end(child);
  }
}

/** At the host: counts what comes and says so when asked; a single byte is sent back. */
function serve(): void {
  let received = 0;
  const server = createServer((socket) => {
    socket.setNoDelay(true);
    socket.on("error", () => socket.destroy());
    socket.on("data", (data: Buffer) => {
      if (data.length > 1) received += data.length;
      else socket.write(`${received}\n`);
    });
  });
  server.listen(PORT, () => console.log("ready"));
}

async function open(address: string): Promise<Socket> {
  const socket = connect({ host: address, port: PORT, noDelay: true });
  await once(socket, "connect");
  return socket;
}

/** What the host has counted, after one round trip. */
async function counted(control: Socket): Promise<number> {
  control.write("?");
  const [data] = (await once(control, "data")) as [Buffer];
  return Number(data.toString());
}

async function ping(address: string): Promise<number> {
  const control = await open(address);
  const times: number[] = [];
  for (let i = 0; i < ROUND_TRIPS; i++) {
    const from = performance.now();
    await counted(control);
    times.push(performance.now() - from);
  }
  control.destroy();
  return times.sort((a, b) => a - b)[ROUND_TRIPS / 2] ?? Number.NaN;
}

async function send(address: string, connections: number): Promise<number> {
  const control = await open(address);
  const sockets = await Promise.all(Array.from({ length: connections }, () => open(address)));
  const piece = Buffer.alloc(PIECE_BYTES);
  for (const socket of sockets) {
    const more = (): void => {
      while (socket.write(piece));
    };
    socket.on("drain", more);
    more();
  }
  const after = (seconds: number): Promise<void> =>
    new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  await after(WARM_UP_SECONDS);
  const [bytes, from] = [await counted(control), performance.now()];
  await after(SECONDS);
  const gained = (await counted(control)) - bytes;
  const seconds = (performance.now() - from) / 1000;
  for (const socket of [control, ...sockets]) socket.destroy();
  return (gained * 8) / seconds;
}

if (import.meta.main) {
  const [, , what, address = "", count = "1"] = process.argv;
  if (what === "serve") serve();
  else console.log(what === "ping" ? await ping(address) : await send(address, Number(count)));
}
