/** The operator's listener: metrics for Prometheus, and whether all is well. Not for the world. */
import { createServer, type Server } from "node:http";
import type { Limits } from "./limits.ts";
import { guardConnections } from "./listeners.ts";
import type { Metrics } from "./metrics.ts";
import { POUCH_PATH, type PouchIntake } from "./pouch-intake.ts";

/** A canary is written no more often. */
const CANARY_MS = 10_000;

export type AdminOptions = {
  readonly metrics: Metrics;
  readonly limits: Limits;
  /** What is wrong, a sentence each. */
  readonly troubles: () => readonly string[];
  /** Writes something everywhere and takes it away again; resolves with what went wrong. */
  readonly canary: () => Promise<readonly string[]>;
  /** Takes what a courier brought. */
  readonly pouches: PouchIntake;
};

export function makeAdmin(options: AdminOptions): Server {
  const { metrics, limits, troubles, canary, pouches } = options;
  let last: { readonly atMs: number; readonly result: Promise<readonly string[]> } | undefined;
  const written = (): Promise<readonly string[]> => {
    const atMs = performance.now();
    if (!last || atMs - last.atMs > CANARY_MS) last = { atMs, result: canary() };
    return last.result;
  };
  const answer = async (url: string | undefined) => {
    if (url === "/metrics") {
      return { status: 200, type: metrics.contentType, body: await metrics.text() };
    }
    if (url !== "/healthz") return { status: 404, type: "text/plain", body: "not found\n" };
    const wrong = [...troubles(), ...(await written())];
    const body = wrong.length === 0 ? "ok\n" : wrong.map((one) => `${one}\n`).join("");
    return { status: wrong.length === 0 ? 200 : 503, type: "text/plain; charset=utf-8", body };
  };
  const server = createServer(
    { maxHeaderSize: limits.headerBytesMax, headersTimeout: limits.headerMsMax },
    (request, response) => {
      if (request.url === POUCH_PATH || request.url?.startsWith(`${POUCH_PATH}/`)) {
        void pouches.answer(request, response);
        return;
      }
      const isRead = request.method === "GET" || request.method === "HEAD";
      answer(isRead ? request.url : undefined).then(
        ({ status, type, body }) => response.writeHead(status, { "content-type": type }).end(body),
        () => response.writeHead(500).end(),
      );
    },
  );
  guardConnections(server, limits);
  return server;
}
