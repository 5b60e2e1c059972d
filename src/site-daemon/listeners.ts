/** Bounds on connections, for every listener. */
import type { Server } from "node:http";
import type { Socket } from "node:net";
import { ExclaveError } from "../errors.ts";
import type { Limits } from "./limits.ts";
import { addressKey } from "./rates.ts";

const noCompiler = () => (): never => {
  throw new ExclaveError("bug", "a route has a schema");
};

/** No route has a schema, and what compiles them is megabytes: named here, it is not loaded. */
export const NO_SCHEMAS = {
  compilersFactory: { buildValidator: noCompiler, buildSerializer: noCompiler },
};

/** Refuses connections beyond the limits before a byte of them is read. Gives how many are open. */
export function guardConnections(
  server: Pick<Server, "on" | "maxConnections">,
  limits: Limits,
): () => number {
  server.maxConnections = limits.connectionsMax;
  const open = new Map<string, number>();
  server.on("connection", (socket: Socket) => {
    const key = addressKey(socket.remoteAddress);
    const count = (open.get(key) ?? 0) + 1;
    if (count > limits.connectionsPerAddressMax) {
      socket.destroy();
      return;
    }
    open.set(key, count);
    socket.once("close", () => {
      const left = (open.get(key) ?? 1) - 1;
      if (left > 0) open.set(key, left);
      else open.delete(key);
    });
  });
  return () => [...open.values()].reduce((sum, count) => sum + count, 0);
}
