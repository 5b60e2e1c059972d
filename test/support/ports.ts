/** Ports for servers that tests start, and start again. */
import { once } from "node:events";
import { createServer } from "node:net";

/** Below those that systems give to connections and to servers without a wish: no other process is given one. */
const FIRST = 20_000;
const COUNT = 12_000;

const given = new Set<number>();

/** A port that nobody listens at, and that this process was not given before. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST + Math.floor(Math.random() * COUNT);
    if (given.has(port) || !(await isFree(port))) continue;
    given.add(port);
    return port;
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
  } catch {
    return false;
  }
  server.close();
  await once(server, "close");
  return true;
}
