/**
 * The listener for States: TLS 1.3 and the requests of docs/site-protocol.md. Who asks is known before a body is
 * read, and whoever may not is told so before he costs anything.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { TLSSocket } from "node:tls";
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from "fastify";
import type { Logger } from "pino";
import type { SigningKey } from "../crypto/signing.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { tlsKeyId } from "../sites/endorsement.ts";
import { OBJECT_KINDS, type ObjectKind, parseObjectName } from "../sites/site.ts";
import { objectPath, statePath } from "../sites/wire.ts";
import { notHere, problemOf, sendProblem, tooMany } from "./answers.ts";
import { authenticate } from "./authenticate.ts";
import { BodyRoom } from "./body-room.ts";
import type { Requester } from "./judge.ts";
import type { Limits } from "./limits.ts";
import { guardConnections, NO_SCHEMAS } from "./listeners.ts";
import type { Metrics, Route } from "./metrics.ts";
import { Places } from "./places.ts";
import { addressKey, Rates } from "./rates.ts";
import { type CommonRoutes, registerCommon } from "./routes-common.ts";
import {
  type Asked,
  type ObjectRoutes,
  outcomeHeaders,
  putObject,
  rangeOf,
  readable,
  sendObject,
} from "./routes-objects.ts";
import { giveReceipt, listPage, statusOfState } from "./routes-state.ts";
import { messageOf, type StateService } from "./state-service.ts";
import { requireName } from "./verify-object.ts";

export type SiteServerOptions = {
  readonly signing: SigningKey;
  readonly tls: { readonly keyPem: string; readonly certificatePem: string };
  /** The endorsement of the key that a connection shows. */
  readonly endorsementOf: (tlsKeyId: string) => Uint8Array | undefined;
  /** The States that are served, by id. */
  readonly states: () => ReadonlyMap<string, StateService>;
  readonly common: CommonRoutes;
  readonly limits: Limits;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly now: () => Date;
};

/** What is found out about a request as it is answered. */
type Found = { route: Route; beganMs: number; state?: string; requester?: Requester };

export type SiteServer = {
  readonly app: FastifyInstance;
  readonly server: Server;
  readonly room: BodyRoom;
  readonly strangersRoom: BodyRoom;
  readonly routes: ObjectRoutes;
  /** Open ones. */
  readonly connections: () => number;
};

export function makeSiteServer(options: SiteServerOptions): SiteServer {
  const { limits } = options;
  const room = new BodyRoom(
    limits.bodyBytesInFlightMax,
    limits.stateBytesInFlightMax,
    limits.roomWaitersMax,
  );
  const strangersRoom = new BodyRoom(
    limits.strangerBytesInFlightMax,
    limits.strangerBytesInFlightMax,
    limits.roomWaitersMax,
  );
  const routes: ObjectRoutes = {
    limits,
    metrics: options.metrics,
    room,
    strangersRoom,
    pieces: new Places(limits.readPiecesMax),
  };
  const { made, app, connections } = makeApp(options);
  new Gate(options, routes).register(app);
  return { app, server: made(), room, strangersRoom, routes, connections };
}

function makeApp({ tls, limits }: SiteServerOptions) {
  let server: Server | undefined;
  let connections = (): number => 0;
  const app = fastify({
    serverFactory: (handler) => {
      server = createServer(
        {
          key: tls.keyPem,
          cert: tls.certificatePem,
          minVersion: "TLSv1.3",
          handshakeTimeout: limits.handshakeMsMax,
          maxHeaderSize: limits.headerBytesMax,
          headersTimeout: limits.headerMsMax,
          // Bodies have limits of their own, which are kinder to large ones.
          requestTimeout: 0,
          keepAliveTimeout: limits.idleMsMax,
          connectionsCheckingInterval: 1000,
          noDelay: true,
        },
        handler,
      );
      server.maxHeadersCount = limits.headersMax;
      server.maxRequestsPerSocket = limits.requestsPerConnectionMax;
      connections = guardConnections(server, limits);
      return server;
    },
    exposeHeadRoutes: false,
    // Counted and told by the daemon itself.
    logger: false,
    schemaController: NO_SCHEMAS,
    bodyLimit: Number.MAX_SAFE_INTEGER,
    return503OnClosing: false,
    forceCloseConnections: "idle",
    routerOptions: { maxParamLength: 200, ignoreTrailingSlash: false, caseSensitive: true },
  });
  const made = (): Server => {
    if (!server) throw new ExclaveError("bug", "the server was not made");
    return server;
  };
  return { app, made, connections: () => connections() };
}

type StateParams = { readonly state: string };
type ObjectParams = StateParams & { readonly kind: string; readonly rest: string };

/** What is judged by the charter in force. */
const WRITTEN: readonly string[] = [
  "shard",
  "manifest",
  "statement",
  "wrap",
  "annex",
  "site-receipt",
];

class Gate {
  readonly #options: SiteServerOptions;
  readonly #routes: ObjectRoutes;
  readonly #ofAddress: Rates;
  readonly #ofStrangers: Rates;
  readonly #ofFailures: Rates;
  readonly #ofStates = new Map<string, Rates>();
  readonly #found = new WeakMap<IncomingMessage, Found>();
  #dated = { second: Number.NaN, text: "" };

  constructor(options: SiteServerOptions, routes: ObjectRoutes) {
    const { requestsPerSecond, addressesMax } = options.limits;
    this.#options = options;
    this.#routes = routes;
    this.#ofAddress = new Rates(requestsPerSecond.address, addressesMax);
    this.#ofStrangers = new Rates(requestsPerSecond.stranger, addressesMax);
    this.#ofFailures = new Rates(requestsPerSecond.failures, addressesMax);
  }

  register(app: FastifyInstance): void {
    // Bodies are read by the routes, when it is known whose they are.
    app.removeAllContentTypeParsers();
    app.addContentTypeParser("*", (_request, _payload, done) => done(null));
    app.addHook("onRequest", (request, reply, done) => {
      this.#begin(request, reply);
      done();
    });
    app.addHook("onResponse", (request, reply, done) => {
      this.#end(request, reply);
      done();
    });
    app.setErrorHandler((error, request, reply) => this.#refuse(error, request, reply));
    app.setNotFoundHandler(() => {
      throw new ExclaveError("malformed", "there is no such request");
    });
    const object = "/v1/states/:state/objects/:kind/:rest";
    app.put<{ Params: ObjectParams }>(object, (request, reply) => this.#put(request, reply));
    app.get<{ Params: ObjectParams }>(object, (request, reply) => this.#get(request, reply));
    app.head<{ Params: ObjectParams }>(object, (request, reply) => this.#head(request, reply));
    app.get<{ Params: StateParams & { readonly kind: string } }>(
      "/v1/states/:state/list/:kind",
      (request, reply) => this.#list(request, reply),
    );
    app.post<{ Params: StateParams }>("/v1/states/:state/receipts", (request, reply) =>
      this.#receipts(request, reply),
    );
    app.get<{ Params: StateParams }>("/v1/states/:state/status", (request, reply) =>
      this.#status(request, reply),
    );
    app.get("/v1/identity", (request, reply) => this.#identity(request, reply));
    registerCommon(app, this.#options.common, {
      limits: this.#options.limits,
      strangersRoom: this.#routes.strangersRoom,
      note: (request, route) => this.#note(request.raw, route),
      take: (request) => this.#takeStranger(request),
    });
  }

  #begin(request: FastifyRequest, reply: FastifyReply): void {
    this.#found.set(request.raw, { route: "other", beganMs: performance.now() });
    reply.raw.setHeader("date", this.#date());
    const wait = this.#ofAddress.take(addressKey(request.raw.socket.remoteAddress));
    if (wait > 0) throw tooMany(wait);
    if (request.raw.method === "GET" && Number(request.headers["content-length"] ?? 0) > 0) {
      throw new ExclaveError("malformed", "this request has no body");
    }
  }

  /** Of a second the same text for all. */
  #date(): string {
    const second = Math.floor(this.#options.now().getTime() / 1000);
    if (second !== this.#dated.second) {
      this.#dated = { second, text: new Date(second * 1000).toUTCString() };
    }
    return this.#dated.text;
  }

  #end(request: FastifyRequest, reply: FastifyReply): void {
    const found = this.#found.get(request.raw);
    if (!found) return;
    const seconds = (performance.now() - found.beganMs) / 1000;
    const status = reply.raw.statusCode;
    this.#options.metrics.answered(found.route, status, seconds);
    const line = {
      route: found.route,
      // Which object is in the path, and nothing that a stranger made up.
      ...(found.state === undefined ? {} : { path: request.raw.url?.slice(0, 200) }),
      by: found.requester?.kind,
      status,
      ms: Math.round(seconds * 1000),
    };
    const log = this.#serviceOf(found.state)?.log ?? this.#options.log;
    if (status >= 500) log.error(line);
    else if (status >= 400 || found.route === "put") log.info(line);
    else log.debug(line);
  }

  async #refuse(error: unknown, request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const found = this.#found.get(request.raw);
    const problem = problemOf(error);
    const log = this.#serviceOf(found?.state)?.log ?? this.#options.log;
    this.#options.metrics.refused(problem.code);
    if (problem.status >= 500) log.error({ err: messageOf(error) }, "a request failed");
    // Looking at a signature costs more than to make one up.
    if (problem.code === "untrusted") {
      this.#ofFailures.take(addressKey(request.raw.socket.remoteAddress));
    }
    reply.hijack();
    const isKnown = found?.requester !== undefined && found.requester.kind !== "anybody";
    const { limits } = this.#options;
    await sendProblem(request.raw, reply.raw, problem, limits, isKnown);
  }

  #note(request: IncomingMessage, route: Route): Found {
    const found = this.#found.get(request) ?? { route, beganMs: performance.now() };
    found.route = route;
    this.#found.set(request, found);
    return found;
  }

  #takeStranger(request: FastifyRequest): void {
    const wait = this.#ofStrangers.take(addressKey(request.raw.socket.remoteAddress));
    if (wait > 0) throw tooMany(wait);
  }

  #serviceOf(state: string | undefined): StateService | undefined {
    return state === undefined ? undefined : this.#options.states().get(state);
  }

  /** Whose request it is, and for which State. Everything that is not for the asker's eyes looks like nothing. */
  async #enter(
    request: FastifyRequest,
    route: Route,
    state: string,
  ): Promise<{ readonly service: StateService; readonly requester: Requester }> {
    const found = this.#note(request.raw, route);
    const service = this.#serviceOf(state);
    if (!service) {
      this.#takeStranger(request);
      throw notHere();
    }
    found.state = state;
    const wait = this.#ofFailures.wait(addressKey(request.raw.socket.remoteAddress));
    if (wait > 0 && request.headers.signature !== undefined) throw tooMany(wait);
    const requester = await authenticate(request.raw, {
      site: this.#options.signing.id,
      now: this.#options.now(),
      judge: service.judge,
      settled: () => service.settled(),
    });
    found.requester = requester;
    if (requester.kind === "anybody") this.#takeStranger(request);
    const asker = requester.kind === "anybody" ? "strangers" : "known";
    const waitForState = this.#ratesOf(service).take(asker);
    if (waitForState > 0) throw tooMany(waitForState);
    if (requester.kind === "agent") service.hear();
    return { service, requester };
  }

  #ratesOf({ id, grant }: StateService): Rates {
    const { state } = this.#options.limits.requestsPerSecond;
    const known = this.#ofStates.get(id);
    if (known) return known;
    const perSecond = grant.requestsPerSecondMax ?? state.perSecond;
    const rates = new Rates({ perSecond, burst: Math.max(state.burst, perSecond) }, 2);
    this.#ofStates.set(id, rates);
    return rates;
  }

  async #asked(request: FastifyRequest<{ Params: ObjectParams }>, route: Route): Promise<Asked> {
    const { state, kind, rest } = request.params;
    // What was brought a moment ago may say who may write this, and what.
    if (route === "put" && WRITTEN.includes(kind)) await this.#serviceOf(state)?.settled();
    const { service, requester } = await this.#enter(request, route, state);
    const name = `${kind}/${rest}`;
    // One object has one path: what a router makes of another spelling is nothing that was signed.
    if (request.raw.url !== objectPath(state, name)) {
      throw new ExclaveError("malformed", "no object may be called so");
    }
    const found = service.judge.ground() ? requireName(name) : parseObjectName(name)?.kind;
    if (!found) throw new ExclaveError("malformed", "no object may be called so");
    return { service, requester, kind: found, name, request: request.raw };
  }

  async #put(request: FastifyRequest<{ Params: ObjectParams }>, reply: FastifyReply) {
    const asked = await this.#asked(request, "put");
    const outcome = await putObject(this.#routes, asked);
    reply.headers(outcomeHeaders(outcome));
    return reply.code(outcome.isNew ? 201 : 200).send();
  }

  /** What was brought a moment ago may allow what is refused now. */
  async #readable(asked: Asked): Promise<ReturnType<typeof readable>> {
    try {
      return readable(asked);
    } catch (error) {
      if (!isExclaveError(error, "refused")) throw error;
      await asked.service.settled();
      return readable(asked);
    }
  }

  async #get(request: FastifyRequest<{ Params: ObjectParams }>, reply: FastifyReply) {
    const asked = await this.#asked(request, "get");
    const found = await this.#readable(asked);
    rangeOf(request.headers.range, found.row.bytes);
    const response = hijacked(reply);
    try {
      await sendObject(this.#routes, asked, found, response);
    } catch (error) {
      // From here on nobody else answers, or cuts off who takes nothing.
      await this.#refuse(error, request, reply);
    }
    return reply;
  }

  async #head(request: FastifyRequest<{ Params: ObjectParams }>, reply: FastifyReply) {
    const asked = await this.#asked(request, "head");
    const { row } = await this.#readable(asked);
    return reply
      .headers({ "content-length": row.bytes, "content-type": "application/octet-stream" })
      .send();
  }

  async #list(
    request: FastifyRequest<{ Params: StateParams & { readonly kind: string } }>,
    reply: FastifyReply,
  ) {
    const { state, kind } = request.params;
    const { service, requester } = await this.#enter(request, "list", state);
    const wanted = /^([a-z-]+)(?:\?after=([0-9a-z.-]{1,80}))?$/.exec(
      (request.raw.url ?? "").slice(`${statePath(state)}/list/`.length),
    );
    const known = wanted?.[1] === kind ? kindOf(kind) : undefined;
    if (!known) throw new ExclaveError("malformed", "there is no such list");
    return reply
      .type("text/plain; charset=utf-8")
      .send(listPage(service, requester, known, wanted?.[2]));
  }

  async #receipts(request: FastifyRequest<{ Params: StateParams }>, reply: FastifyReply) {
    const { service, requester } = await this.#enter(request, "receipts", request.params.state);
    // What was set aside is taken in by the checkpoint that came just before.
    await service.settled();
    const { signing } = this.#options;
    const receipt = await giveReceipt(this.#routes, service, requester, request.raw, signing);
    return reply.type("application/json").send(Buffer.from(receipt));
  }

  async #status(request: FastifyRequest<{ Params: StateParams }>, reply: FastifyReply) {
    const { service, requester } = await this.#enter(request, "status", request.params.state);
    return reply.type("application/json").send(JSON.stringify(statusOfState(service, requester)));
  }

  async #identity(request: FastifyRequest, reply: FastifyReply) {
    this.#note(request.raw, "identity");
    const shown = (request.raw.socket as TLSSocket).getX509Certificate();
    const endorsement = shown && this.#options.endorsementOf(tlsKeyId(shown.publicKey));
    if (!endorsement) throw new ExclaveError("site-unavailable", "the TLS key is not endorsed");
    return reply
      .type("application/json")
      .header("cache-control", "no-store")
      .send(Buffer.from(endorsement));
  }
}

function kindOf(text: string): ObjectKind | undefined {
  return OBJECT_KINDS.find((kind) => kind === text);
}

function hijacked(reply: FastifyReply): ServerResponse {
  reply.hijack();
  return reply.raw;
}
