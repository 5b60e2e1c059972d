/**
 * The plain listener: whoever watches ledgers reads them here as C2SP's tlog-tiles has it, and asks the witness; and
 * whoever stands at the door with a warrant reads whose this is. Nothing here is secret, and all of it is signed.
 */
import { createServer, type Server } from "node:http";
import { type FastifyInstance, type FastifyRequest, fastify } from "fastify";
import type { Logger } from "pino";
import { toHex, utf8 } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { fileName, readCheckpoint } from "../ledger/at-sites.ts";
import { bareCheckpoint, joinCosignatures } from "../ledger/checkpoint.ts";
import type { LedgerVerifierKeys } from "../ledger/log-key.ts";
import type { VerifierKey } from "../ledger/note.ts";
import { parseTilePath } from "../ledger/tiles.ts";
import { notHere, problemOf, sendProblem, tooMany } from "./answers.ts";
import { BodyRoom } from "./body-room.ts";
import type { Limits } from "./limits.ts";
import { guardConnections, NO_SCHEMAS } from "./listeners.ts";
import type { Metrics, Route } from "./metrics.ts";
import { addressKey, Rates } from "./rates.ts";
import { type CommonRoutes, registerCommon } from "./routes-common.ts";
import { messageOf, type StateService } from "./state-service.ts";

/** Notes of one checkpoint that are joined; as readers of a site do. */
const NOTES_MAX = 16;

/** A ledger that is mirrored, as far as it was followed. */
export type MirroredLog = {
  readonly origin: string;
  readonly size: number;
  readonly keys: LedgerVerifierKeys;
  /** Of the witnesses whose cosignatures are handed on. */
  readonly cosigners: readonly VerifierKey[];
  readonly service: StateService;
};

export type MirrorOptions = {
  readonly logs: () => readonly MirroredLog[];
  readonly common: CommonRoutes;
  readonly limits: Limits;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly now: () => Date;
};

/** A plain listener with what all of them have: bounds, and refusals as JSON. */
function plainApp({ limits, metrics, log, now }: MirrorOptions) {
  const rates = new Rates(limits.requestsPerSecond.monitor, limits.addressesMax);
  const found = new WeakMap<object, { route: Route; readonly beganMs: number }>();
  let server: Server | undefined;
  const app = fastify({
    serverFactory: (handler) => {
      server = createServer(
        {
          maxHeaderSize: limits.headerBytesMax,
          headersTimeout: limits.headerMsMax,
          requestTimeout: 0,
          keepAliveTimeout: limits.idleMsMax,
          connectionsCheckingInterval: 1000,
        },
        handler,
      );
      server.maxHeadersCount = limits.headersMax;
      guardConnections(server, limits);
      return server;
    },
    exposeHeadRoutes: true,
    logger: false,
    schemaController: NO_SCHEMAS,
    bodyLimit: Number.MAX_SAFE_INTEGER,
    return503OnClosing: false,
    forceCloseConnections: "idle",
    routerOptions: { maxParamLength: 200 },
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", (_request, _payload, done) => done(null));
  app.addHook("onRequest", async ({ raw }, reply) => {
    found.set(raw, { route: "other", beganMs: performance.now() });
    reply.raw.setHeader("date", now().toUTCString());
    const wait = rates.take(addressKey(raw.socket.remoteAddress));
    if (wait > 0) throw tooMany(wait);
  });
  app.addHook("onResponse", async ({ raw }, reply) => {
    const { route, beganMs } = found.get(raw) ?? { route: "other", beganMs: performance.now() };
    metrics.answered(route, reply.raw.statusCode, (performance.now() - beganMs) / 1000);
  });
  app.setNotFoundHandler(() => {
    throw notHere();
  });
  app.setErrorHandler(async (error, { raw }, reply) => {
    const problem = problemOf(error);
    metrics.refused(problem.code);
    if (problem.status >= 500) log.error({ err: messageOf(error) }, "a request failed");
    reply.hijack();
    await sendProblem(raw, reply.raw, problem, limits, false);
  });
  const note = ({ raw }: FastifyRequest, route: Route): void => {
    const one = found.get(raw);
    if (one) one.route = route;
  };
  const made = (): Server => {
    if (server) return server;
    throw new ExclaveError("bug", "the server was not made");
  };
  return { app, note, made };
}

export function makeMirror(options: MirrorOptions): {
  readonly app: FastifyInstance;
  readonly server: Server;
} {
  const { limits, common } = options;
  const { app, note, made } = plainApp(options);
  const bytes = limits.strangerBytesInFlightMax;
  registerCommon(app, common, {
    limits,
    strangersRoom: new BodyRoom(bytes, bytes, limits.roomWaitersMax),
    note,
    take: () => undefined,
  });

  const logOf = (hash: string): MirroredLog => {
    const log = options.logs().find(({ origin }) => originHash(origin) === hash);
    if (log) return log;
    throw notHere();
  };
  const checkpoints = new Map<string, Joined>();

  app.get<{ Params: { readonly hash: string } }>("/:hash/checkpoint", async (request, reply) => {
    note(request, "mirror");
    const checkpoint = await newestCheckpoint(logOf(request.params.hash), checkpoints);
    if (!checkpoint) throw notHere();
    return reply
      .headers({ "cache-control": "no-cache", "access-control-allow-origin": "*" })
      .type("text/plain; charset=utf-8")
      .send(Buffer.from(checkpoint));
  });

  app.get<{ Params: { readonly hash: string } }>("/:hash/tile/*", async (request, reply) => {
    note(request, "mirror");
    const { hash } = request.params;
    const path = (request.raw.url ?? "").slice(hash.length + 2);
    const { origin, service } = logOf(hash);
    const tile = isTile(path)
      ? service.judge.expectedLedgerFile(fileName(origin, path))
      : undefined;
    if (!tile) throw notHere();
    return reply
      .headers({
        // What a checkpoint covers never changes.
        "cache-control": "public, max-age=31536000, immutable",
        "access-control-allow-origin": "*",
      })
      .type("application/octet-stream")
      .send(Buffer.from(tile));
  });
  return { app, server: made() };
}

export function originHash(origin: string): string {
  return toHex(sha256(utf8(origin)));
}

function isTile(path: string): boolean {
  try {
    parseTilePath(path);
    return true;
  } catch (error) {
    if (isExclaveError(error, "malformed")) return false;
    throw error;
  }
}

type Joined = { readonly of: string; readonly checkpoint: Uint8Array };

/** The newest checkpoint that was followed, with the cosignatures of every note of it that is stored here. */
async function newestCheckpoint(
  { origin, size, keys, cosigners, service }: MirroredLog,
  joined: Map<string, Joined>,
): Promise<Uint8Array | undefined> {
  const { store } = service;
  const prefix = `${originHash(origin).slice(0, 8)}.${size}.`;
  const names = store.index.beginning("checkpoint", prefix, NOTES_MAX);
  const of = `${service.id} ${names.join(" ")}`;
  const known = joined.get(origin);
  if (known?.of === of) return known.checkpoint;
  const notes: Uint8Array[] = [];
  for (const rest of names) {
    try {
      notes.push((await readCheckpoint(store.storage.site, `checkpoint/${rest}`, keys)).checkpoint);
    } catch (error) {
      if (!isExclaveError(error) || error.code === "site-unavailable") throw error;
    }
  }
  const [first] = notes;
  if (!first) return undefined;
  const checkpoint = joinCosignatures(bareCheckpoint(first, keys), notes, cosigners);
  joined.set(origin, { of, checkpoint });
  return checkpoint;
}
