/**
 * `exclave site serve`: one process that serves several States, kept apart. It listens, follows each State's ledger by
 * itself, removes what a ripe decision destroys, keeps what is kept while home is silent, and raises the alarm.
 */
import { once } from "node:events";
import { watch } from "node:fs";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type Logger, pino, stdTimeFunctions } from "pino";
import { fromBase64 } from "../crypto/bytes.ts";
import { parseSigningPublicKey } from "../crypto/signing.ts";
import { SqliteWitnessStore } from "../ledger/witness-store.ts";
import { makeAdmin } from "./admin.ts";
import { Alarms, type Sender, sendersOf, silenceMessage, silenceStep } from "./alarm.ts";
import type { Grant } from "./grant.ts";
import {
  FOLLOW_OVERDUE_MS,
  LIMITS,
  type Limits,
  OPEN_FILES_MAX,
  WATCH_EVERY_MS,
} from "./limits.ts";
import { settleMemory } from "./memory.ts";
import { Metrics, type StateMeasures } from "./metrics.ts";
import { makeMirror } from "./mirror.ts";
import type { ShownNotice } from "./notice.ts";
import { OpenFiles } from "./open-files.ts";
import { openState, type ServedState } from "./open-state.ts";
import { Peers } from "./peers.ts";
import { PouchIntake } from "./pouch-intake.ts";
import { openProgram } from "./program-file.ts";
import type { CommonRoutes } from "./routes-common.ts";
import { makeSiteServer } from "./server.ts";
import { identityOfSite, type Listener } from "./settings.ts";
import { openSiteFiles, type SiteFiles } from "./site-files.ts";
import { messageOf, type StateService } from "./state-service.ts";
import type { Storage } from "./storage.ts";
import { extendReferenced, removeRipe } from "./sweep.ts";
import type { WitnessedLog } from "./witness.ts";

/** Changes in the folder of grants come in bursts. */
const RELOAD_AFTER_MS = 300;
/** Objections that are told to the other sites once more when this one starts: telling may have been cut short. */
const TOLD_AGAIN_MAX = 1000;
/** Objects are locked for a day when they come, and for long once a recovery point keeps them. */
const EXTEND_EVERY_MS = 3_600_000;
const ALARM_RAISED = "alarm raised";
const ALARM_SAID = "alarm said";

export type StartSiteOptions = {
  /** The site's: see site-files.ts. */
  readonly folder: string;
  /** By default JSON lines on standard error. */
  readonly log?: Logger;
  readonly now?: () => Date;
  readonly limits?: Partial<Limits>;
  /** How alarms are told, in place of what the settings say; for tests. */
  readonly senders?: readonly Sender[];
  /** How to wait before something is tried again; for tests. */
  readonly wait?: (ms: number, signal: AbortSignal) => Promise<unknown>;
  /** Puts something around what stores; for tests. */
  readonly around?: (storage: Storage) => Storage;
};

export type RunningSite = {
  /** Where States reach it. */
  readonly port: number;
  /** The plain listener's; undefined when there is none. */
  readonly monitorPort: number | undefined;
  readonly adminPort: number;
  /** Ids of the States that are served by now. */
  served(): readonly string[];
  /** Reads the grants again. */
  reload(): Promise<void>;
  /** What it does every minute: grants, ledgers, alarms, removals. Never rejects. */
  watch(): Promise<void>;
  /** Resolves when every alarm and every paper was told, or given up. */
  settled(): Promise<void>;
  /** Stops accepting, finishes what is under way, within a limit, and closes. */
  close(): Promise<void>;
};

/** Opens the site in a folder and serves until it is closed. Throws `usage`, `bad-key`, and what the system says. */
export async function startSite(options: StartSiteOptions): Promise<RunningSite> {
  const now = options.now ?? (() => new Date());
  const files = await openSiteFiles(options.folder, { now });
  const log =
    options.log ?? pino({ base: null, timestamp: stdTimeFunctions.isoTime }, pino.destination(2));
  const senders = options.senders ?? (await sendersOf(files.settings.alarms));
  const daemon = new Daemon(files, { ...options, now, senders }, log);
  try {
    return await daemon.start();
  } catch (error) {
    await daemon.close();
    throw error;
  }
}

type DaemonOptions = StartSiteOptions & {
  readonly now: () => Date;
  readonly senders: readonly Sender[];
};

class Daemon {
  readonly #files: SiteFiles;
  readonly #options: DaemonOptions;
  readonly #limits: Limits;
  readonly #log: Logger;
  readonly #now: () => Date;
  readonly #states = new Map<string, ServedState>();
  /** Of the same States: every request asks for one. */
  readonly #services = new Map<string, StateService>();
  readonly #openFiles = new OpenFiles(OPEN_FILES_MAX);
  readonly #alarms: Alarms;
  readonly #peers: Peers;
  readonly #witnessStore: SqliteWitnessStore;
  /** In order of opening; closed the other way round. */
  readonly #closers: (() => Promise<void> | void)[] = [];
  /** When locks were last looked at, by State. */
  readonly #extendedMs = new Map<string, number>();
  #problems: readonly string[] = [];
  #chores: Promise<void> = Promise.resolve();
  #isClosed = false;
  #shownTls = "";

  constructor(files: SiteFiles, options: DaemonOptions, log: Logger) {
    this.#files = files;
    this.#options = options;
    this.#limits = { ...LIMITS, ...options.limits };
    this.#log = log;
    this.#now = options.now;
    this.#alarms = new Alarms(options.senders, log, options.wait);
    this.#closers.push(() => this.#alarms.close());
    this.#peers = new Peers({
      peers: files.settings.peers.map(({ name, url, signing }) => ({
        name,
        url,
        key: parseSigningPublicKey(fromBase64(signing)),
      })),
      signer: files.keys.signing,
      isSiteOf: (state, keyId) => this.#isSiteOf(state, keyId),
      log,
      now: this.#now,
      ...(options.wait ? { wait: options.wait } : {}),
    });
    this.#closers.push(() => this.#peers.close());
    this.#witnessStore = new SqliteWitnessStore(join(files.folder, "witness.sqlite"));
    this.#closers.push(() => this.#witnessStore.close());
  }

  async start(): Promise<RunningSite> {
    const { settings, keys } = this.#files;
    const limits = this.#limits;
    const tls = await this.#files.tls();
    this.#shownTls = tls.tlsKeyId;
    const metrics = new Metrics(() => measure());
    const common: CommonRoutes = {
      witness: {
        key: keys.witness,
        store: this.#witnessStore,
        logs: () => this.#witnessedLogs(),
        now: this.#now,
      },
      program: settings.program === undefined ? undefined : await openProgram(settings.program),
      notices: () => this.#notices(),
    };
    const shared = { common, limits, metrics, log: this.#log, now: this.#now };
    const states = () => this.#services;
    const site = makeSiteServer({
      ...shared,
      signing: keys.signing,
      tls,
      endorsementOf: (id) => this.#files.endorsementOf(id),
      states,
    });
    const measure = () => ({
      states: [...this.#states.values()].map((state) => this.#measureOf(state)),
      bodyBytesInFlight: site.room.bytesTaken + site.strangersRoom.bytesTaken,
      bodiesWaiting: site.room.waiting + site.strangersRoom.waiting,
      connections: site.connections(),
    });
    this.#closers.push(() => this.#closeStates());
    await this.#loadGrants();
    this.#watchGrants();

    const admin = makeAdmin({
      metrics,
      limits,
      troubles: () => this.#troubles(),
      canary: () => this.#canary(),
      pouches: new PouchIntake({
        routes: site.routes,
        signing: keys.signing,
        states,
      }),
    });
    const adminPort = await listen(admin, settings.admin);
    this.#closers.push(() => closeServer(admin));
    let monitorPort: number | undefined;
    if (settings.monitor) {
      const mirror = makeMirror({
        ...shared,
        logs: () => [...this.#states.values()].flatMap((state) => state.mirrored() ?? []),
      });
      await mirror.app.listen(settings.monitor);
      this.#closers.push(() => this.#closeApp(mirror));
      monitorPort = portOf(mirror.server);
    }
    settleMemory();
    await site.app.listen(settings.listen);
    this.#closers.push(() => this.#closeApp(site));
    const renew = async (): Promise<void> => {
      const next = await this.#files.tls();
      if (next.tlsKeyId === this.#shownTls) return;
      site.server.setSecureContext({
        key: next.keyPem,
        cert: next.certificatePem,
        minVersion: "TLSv1.3",
      });
      this.#shownTls = next.tlsKeyId;
      this.#log.info({ tls: next.tlsKeyId }, "the key of connections is a new one");
    };
    const watchAll = (): Promise<void> => this.#chore("watching", () => this.#watch(renew));
    const timer = setInterval(() => void watchAll(), WATCH_EVERY_MS);
    this.#closers.push(() => clearInterval(timer));
    const port = portOf(site.server);
    this.#log.info({ port, monitorPort, adminPort, states: this.#states.size }, "the site serves");
    return {
      port,
      monitorPort,
      adminPort,
      served: () => [...this.#states.keys()],
      reload: () => this.#chore("reading the grants", () => this.#loadGrants()),
      watch: watchAll,
      settled: async () => {
        await this.#alarms.settled();
        await this.#peers.settled();
      },
      close: () => this.close(),
    };
  }

  /** Closes everything, the last opened first; again is no error. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (let close = this.#closers.pop(); close; close = this.#closers.pop()) await close();
    await this.#chores;
    this.#log.flush();
  }

  /** One chore after another; what goes wrong with one is noted and ends nothing. */
  #chore(what: string, work: () => Promise<void>): Promise<void> {
    this.#chores = this.#chores.then(async () => {
      if (this.#isClosed) return;
      try {
        await work();
      } catch (error) {
        this.#log.error({ err: messageOf(error) }, `${what} failed`);
      }
    });
    return this.#chores;
  }

  async #watch(renew: () => Promise<void>): Promise<void> {
    await renew();
    await this.#loadGrants();
    for (const state of this.#states.values()) {
      if (this.#isClosed) return;
      try {
        await this.#watchState(state);
      } catch (error) {
        // The other States are looked after all the same.
        state.service.log.error({ err: messageOf(error) }, "a State could not be looked after");
      }
    }
  }

  async #watchState(state: ServedState): Promise<void> {
    await state.service.follow();
    this.#lookForSilence(state);
    try {
      await removeRipe(state.service, state.ripe());
    } finally {
      await this.#extendLocks(state);
    }
  }

  #lookForSilence({ service }: ServedState): void {
    const { book } = service.store;
    const { name, state, silentSecondsMax } = service.grant;
    const [heardAt, now] = [service.heardAt(), this.#now()];
    const record = { raisedAt: book.time(ALARM_RAISED), saidAt: book.time(ALARM_SAID) };
    const { next, say } = silenceStep(record, heardAt, silentSecondsMax, now);
    if (next !== record) {
      book.keepTime(ALARM_RAISED, next.raisedAt);
      book.keepTime(ALARM_SAID, next.saidAt);
    }
    if (!say) return;
    const site = this.#files.settings.name;
    this.#alarms.raise({
      kind: say,
      site,
      state,
      time: now,
      ...silenceMessage(say, name, heardAt, now),
    });
  }

  /** Whether home is silent or not: who keeps what statements reference is the site. */
  async #extendLocks(state: ServedState): Promise<void> {
    const { service, view } = state;
    const now = this.#now().getTime();
    const isDue = now - (this.#extendedMs.get(service.id) ?? 0) >= EXTEND_EVERY_MS;
    if (!view.current || !isDue) return;
    this.#extendedMs.set(service.id, now);
    const objects = await extendReferenced(service, view.current.known, state.ripe());
    if (objects > 0) service.log.info({ objects }, "locks were extended");
  }

  /** Serves whoever has a grant by now, and nobody else. */
  async #loadGrants(): Promise<void> {
    const { grants, problems } = await this.#files.grants();
    for (const problem of problems) {
      if (!this.#problems.includes(problem)) this.#log.error({}, problem);
    }
    this.#problems = problems;
    for (const [id, state] of this.#states) {
      const grant = grants.get(id);
      if (grant) state.regrant(grant);
      else {
        this.#states.delete(id);
        this.#services.delete(id);
        this.#log.warn({ state: id }, "the State is not served any more; what is stored stays");
        await state.close();
      }
    }
    for (const grant of grants.values()) {
      if (this.#states.has(grant.state) || this.#isClosed) continue;
      try {
        await this.#serve(grant);
      } catch (error) {
        // The other States are served all the same.
        this.#problems = [...this.#problems, `${grant.name} cannot be served`];
        this.#log.error({ state: grant.state, err: messageOf(error) }, "a State cannot be served");
      }
    }
  }

  async #serve(grant: Grant): Promise<void> {
    const { settings } = this.#files;
    const log = this.#log.child({ state: grant.state });
    const state = await openState({
      folder: this.#files.stateFolder(grant.state),
      grant,
      storage: settings.storage,
      identity: identityOfSite(settings),
      limits: this.#limits,
      openFiles: this.#openFiles,
      log,
      now: this.#now,
      around: this.#options.around,
      onNotice: ({ code, message }) => {
        log.warn({ code }, message);
        if (code !== "fork") return;
        this.#alarms.raise({
          kind: "fork",
          site: settings.name,
          state: grant.state,
          time: this.#now(),
          message: `The ledger of ${grant.name} has forked`,
          detail: message,
        });
      },
      onPaper: ({ name, bytes }) => this.#peers.tell({ state: grant.state, name, bytes }),
    });
    this.#states.set(grant.state, state);
    this.#services.set(grant.state, state.service);
    await state.service.follow();
    await this.#tellAgain(state);
  }

  /** What came before the last stop, and may not have been told. */
  async #tellAgain({ service }: ServedState): Promise<void> {
    if (this.#files.settings.peers.length === 0) return;
    const { store } = service;
    for (const kind of ["veto", "freeze"] as const) {
      for (const rest of store.index.page(kind, "", TOLD_AGAIN_MAX)) {
        const name = `${kind}/${rest}`;
        const bytes = new Uint8Array(store.find(name)?.bytes ?? 0);
        if ((await store.read(name, 0, bytes)) !== bytes.length) continue;
        this.#peers.tell({ state: service.id, name, bytes });
      }
    }
  }

  #watchGrants(): void {
    let timer: NodeJS.Timeout | undefined;
    try {
      const watcher = watch(join(this.#files.folder, "grants"), () => {
        clearTimeout(timer);
        timer = setTimeout(
          () => void this.#chore("reading the grants", () => this.#loadGrants()),
          RELOAD_AFTER_MS,
        );
      });
      // The minute's look finds what a watch that broke off does not tell.
      watcher.on("error", () => watcher.close());
      this.#closers.push(() => {
        clearTimeout(timer);
        watcher.close();
      });
    } catch {
      this.#log.info({}, "the folder of grants is not watched here; it is read every minute");
    }
  }

  #witnessedLogs(): ReadonlyMap<string, WitnessedLog> {
    const logs = new Map<string, WitnessedLog>();
    for (const { service, view } of this.#states.values()) {
      for (const [origin, keys] of view.logs()) {
        // Of two States that say the same origin, the one that was granted first is believed.
        if (logs.has(origin)) continue;
        logs.set(origin, {
          keys,
          mayCosign: (size) => view.mayCosign(origin, size),
          follow: () => service.follow(),
        });
      }
    }
    return logs;
  }

  #isSiteOf(state: string, keyId: string): boolean {
    const keys = this.#states.get(state)?.view.current?.siteKeys;
    return keys !== undefined && [...keys.values()].some(({ id }) => id === keyId);
  }

  #notices(): readonly ShownNotice[] {
    const { owner, agreement, immunity, contact } = this.#files.settings.notice;
    const ours = { owner, agreement, immunity, contact };
    const states = [...this.#states.values()].flatMap(({ granted }) => {
      const { name, notice } = granted();
      if (!notice) return [];
      const own = Object.fromEntries(Object.entries(notice).filter(([, words]) => words));
      return [{ ...ours, ...own, state: name }];
    });
    return [{ state: undefined, ...ours }, ...states];
  }

  #measureOf({ service }: ServedState): StateMeasures {
    const { store, grant } = service;
    const now = this.#now().getTime();
    const followedAt = service.following.followedAt()?.getTime();
    return {
      state: service.id,
      objects: store.index.totals().reduce((sum, { objects }) => sum + objects, 0),
      bytes: store.bytes,
      quotaBytes: grant.quotaBytes,
      quarantined: store.book.asideCount,
      viewAgeSeconds: followedAt === undefined ? undefined : (now - followedAt) / 1000,
      silentSeconds: (now - service.heardAt().getTime()) / 1000,
    };
  }

  #troubles(): readonly string[] {
    const following = [...this.#states.values()].flatMap(({ service }) => {
      const isLate = performance.now() - service.followedMs > FOLLOW_OVERDUE_MS;
      return isLate
        ? [`the ledger of ${service.grant.name} is not followed`]
        : (service.trouble ?? []);
    });
    return [...this.#problems, ...following];
  }

  async #canary(): Promise<readonly string[]> {
    const results = await Promise.allSettled(
      [...this.#states.values()].map(({ service }) => service.store.storage.canary()),
    );
    return results.flatMap((result) =>
      result.status === "rejected" ? [`storage takes nothing: ${brief(result.reason)}`] : [],
    );
  }

  async #closeStates(): Promise<void> {
    await this.#chores;
    for (const state of this.#states.values()) await state.close();
    this.#states.clear();
    this.#services.clear();
  }

  /** Fastify waits for what is under way; after a while it is cut off. */
  async #closeApp({
    app,
    server,
  }: {
    readonly app: { close(): Promise<unknown> };
    readonly server: Closable;
  }) {
    const timer = setTimeout(() => server.closeAllConnections(), this.#limits.closeMsMax);
    try {
      await app.close();
    } finally {
      clearTimeout(timer);
    }
  }
}

type Closable = { closeAllConnections(): void };

async function listen(server: Server, { host, port }: Listener): Promise<number> {
  server.listen(port, host);
  await once(server, "listening");
  return portOf(server);
}

function portOf(server: { address(): unknown }): number {
  return (server.address() as AddressInfo).port;
}

function closeServer(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve()));
}

function brief(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
