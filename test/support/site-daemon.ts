/** The listener of a site's daemon in this process, over storage and rules that a test chooses. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type Logger, pino } from "pino";
import { toBase64 } from "../../src/crypto/bytes.ts";
import {
  type PublicSigningKey,
  type SigningKey,
  signingKeyFromSeed,
} from "../../src/crypto/signing.ts";
import { witnessKeyFromSeed } from "../../src/ledger/log-key.ts";
import { SqliteWitnessStore } from "../../src/ledger/witness-store.ts";
import {
  type RunningSite,
  type StartSiteOptions,
  startSite,
} from "../../src/site-daemon/daemon.ts";
import { type Grant, newGrant, writeGrant } from "../../src/site-daemon/grant.ts";
import type { Judge } from "../../src/site-daemon/judge.ts";
import { LIMITS, type Limits } from "../../src/site-daemon/limits.ts";
import { Metrics } from "../../src/site-daemon/metrics.ts";
import { makeSiteServer, type SiteServer } from "../../src/site-daemon/server.ts";
import { initSite, openSiteFiles, type SiteFiles } from "../../src/site-daemon/site-files.ts";
import { type Following, StateService } from "../../src/site-daemon/state-service.ts";
import { openDirectoryStorage, type Storage } from "../../src/site-daemon/storage.ts";
import { ObjectStore } from "../../src/site-daemon/store.ts";
import { selfSignedCertificate } from "../../src/site-daemon/tls.ts";
import { objectPlace } from "../../src/sites/directory.ts";
import { signEndorsement } from "../../src/sites/endorsement.ts";
import { openRemoteSite, type RemoteSite } from "../../src/sites/remote.ts";

import type { ObjectKind } from "../../src/sites/site.ts";
import type { Embassy } from "./embassy.ts";
import { temporaryFolder } from "./places.ts";

export const STATE = "5a".repeat(32);
export const SITE_KEY = signingKeyFromSeed(new Uint8Array(32).fill(0x61));
export const AGENT_KEY = signingKeyFromSeed(new Uint8Array(32).fill(0x62));
export const IDENTITY = { name: "kn", country: "KN", operator: "post", hazardZone: "KN" };
const DAY_MS = 86_400_000;

/** Whoever has the agent's key may do everything, and nothing is held against its name. */
export function openJudge(changes: Partial<Judge> = {}): Judge {
  return {
    requesterOf: (keyId) =>
      keyId === AGENT_KEY.id
        ? { requester: { kind: "agent", keyId }, key: AGENT_KEY.publicKey }
        : undefined,
    mayPut: () => "take",
    mayPutShard: () => undefined,
    mayRead: () => undefined,
    allowance: () => undefined,
    ground: () => undefined,
    deliver: () => true,
    expectedLedgerFile: () => undefined,
    retentionSeconds: () => 3600,
    ...changes,
  };
}

export const NOT_FOLLOWING: Following = {
  follow: () => Promise.resolve(false),
  followedAt: () => undefined,
  ledger: () => undefined,
};

export type ListenerOptions = {
  readonly folder: string;
  readonly judge?: Judge;
  readonly limits?: Partial<Limits>;
  /** Puts something around what stores. */
  readonly around?: (storage: Storage) => Storage;
  readonly now?: () => Date;
  readonly quotaBytes?: number;
  readonly log?: Logger;
};

export type TestListener = {
  readonly url: string;
  readonly port: number;
  readonly service: StateService;
  readonly store: ObjectStore;
  readonly site: SiteServer;
  readonly metrics: Metrics;
  client(signer?: SigningKey): Promise<RemoteSite>;
  close(): Promise<void>;
};

/** Starts it on a free port; it and its clients are gone after the test. */
export async function startListener(
  t: TestContext,
  options: ListenerOptions,
): Promise<TestListener> {
  const { folder, judge = openJudge(), now = () => new Date() } = options;
  const limits = { ...LIMITS, ...options.limits };
  const log = options.log ?? pino({ level: "silent" });
  mkdirSync(folder, { recursive: true });
  const plain = await openDirectoryStorage(join(folder, "objects"), STATE, IDENTITY);
  const storage = options.around?.(plain) ?? plain;
  const store = await ObjectStore.open({ folder, state: STATE, storage, now });
  const service = new StateService({
    grant: {
      state: STATE,
      name: "Belize",
      quotaBytes: options.quotaBytes ?? 2 ** 40,
      viewSecondsMax: 172_800,
      silentSecondsMax: 93_600,
    },
    store,
    judge,
    following: NOT_FOLLOWING,
    limits,
    log,
    now,
  });
  const tls = await selfSignedCertificate({ name: "kn", days: 1, now: now() });
  const endorsement = signEndorsement(SITE_KEY, tls.tlsKeyId, {
    from: new Date(now().getTime() - DAY_MS),
    until: new Date(now().getTime() + DAY_MS),
  });
  const metrics = new Metrics(() => ({
    states: [],
    bodyBytesInFlight: 0,
    bodiesWaiting: 0,
    connections: 0,
  }));
  const witnessStore = new SqliteWitnessStore(join(folder, "witness.sqlite"));
  const site = makeSiteServer({
    signing: SITE_KEY,
    tls,
    endorsementOf: (id) => (id === tls.tlsKeyId ? endorsement : undefined),
    states: () => new Map([[STATE, service]]),
    common: {
      witness: {
        key: witnessKeyFromSeed(new Uint8Array(32).fill(0x63), "site.example/witness"),
        store: witnessStore,
        logs: () => new Map(),
        now,
      },
      program: undefined,
      notices: () => [
        {
          state: undefined,
          owner: "<A State>",
          agreement: "Treaty",
          immunity: "Not to be touched",
          contact: "+1",
        },
      ],
    },
    limits,
    metrics,
    log,
    now,
  });
  await site.app.listen({ host: "127.0.0.1", port: 0 });
  const { port } = site.server.address() as AddressInfo;
  const url = `https://127.0.0.1:${port}`;
  const clients: RemoteSite[] = [];
  let isClosed = false;
  const close = async (): Promise<void> => {
    if (isClosed) return;
    isClosed = true;
    await Promise.all(clients.map((client) => client.close()));
    site.server.closeAllConnections();
    await site.app.close();
    await service.close();
    store.close();
    witnessStore.close();
  };
  t.after(close);
  return {
    url,
    port,
    service,
    store,
    site,
    metrics,
    close,
    client: async (signer = AGENT_KEY) => {
      const client = await openRemoteSite({
        url,
        identity: IDENTITY,
        state: STATE,
        site: SITE_KEY.publicKey,
        signer,
        now,
      });
      clients.push(client);
      return client;
    },
  };
}

export type DaemonOptions = {
  readonly embassy: Embassy;
  /** The site's time; it may move. */
  readonly now: () => Date;
  readonly folder?: string;
  readonly grant?: Partial<Grant>;
  readonly settings?: Readonly<Record<string, unknown>>;
} & Partial<Pick<StartSiteOptions, "limits" | "senders" | "wait" | "around" | "log">>;

export type TestDaemon = {
  readonly folder: string;
  readonly running: RunningSite;
  readonly key: PublicSigningKey;
  /** Its card's witness keys. */
  readonly files: SiteFiles;
  readonly url: string;
  /** A client of the State that is served, or of another, by default home's agent. */
  client(signer?: SigningKey, state?: string): Promise<RemoteSite>;
  /** What a directory site of the State holds, brought here as home does. */
  bring(site?: string, kinds?: readonly ObjectKind[]): Promise<void>;
  /** The object as it lies on the site's disk; undefined when it is not there. */
  stored(name: string): Uint8Array | undefined;
};

/** Kinds in the order in which home brings them: what follows from something comes after it. */
export const IN_ORDER: readonly ObjectKind[] = [
  "annex",
  "charter",
  "decision",
  "veto",
  "freeze",
  "share-set",
  "receipt",
  "opening",
  "ledger",
  "checkpoint",
];
export const DATA: readonly ObjectKind[] = ["wrap", "shard", "manifest", "statement"];

/** The whole daemon in this process, serving a State whose home is the embassy's. */
export async function startDaemon(t: TestContext, options: DaemonOptions): Promise<TestDaemon> {
  const { embassy, now, folder = join(temporaryFolder(t), "site") } = options;
  const { home } = embassy;
  if (!existsSync(folder)) {
    const free = { host: "127.0.0.1", port: 0 };
    await initSite(folder, {
      name: "bb",
      country: "BB",
      operator: "bb",
      hazardZone: "BB",
      url: "https://site.example:8443",
      listen: free,
      monitor: free,
      admin: free,
      storage: { kind: "directory" },
    });
    const settings = join(folder, "site.json");
    const changed = { ...JSON.parse(readFileSync(settings, "utf8")), ...options.settings };
    writeFileSync(settings, JSON.stringify(changed));
    const grant = newGrant({
      state: home.state,
      name: "Belize",
      contact: toBase64(home.agent.publicKey.bytes),
      quotaBytes: 2 ** 40,
    });
    await writeGrant(folder, { ...grant, ...options.grant });
  }
  const { limits, senders, wait, around, log = pino({ level: "silent" }) } = options;
  const running = await startSite({
    folder,
    now,
    log,
    ...(limits ? { limits } : {}),
    ...(senders ? { senders } : {}),
    ...(wait ? { wait } : {}),
    ...(around ? { around } : {}),
  });
  const clients: RemoteSite[] = [];
  t.after(async () => {
    await Promise.all(clients.map((one) => one.close()));
    await running.close();
  });
  const files = await openSiteFiles(folder, { now });
  const url = `https://127.0.0.1:${running.port}`;
  const client = async (
    signer: SigningKey | undefined = home.agent,
    state: string = home.state,
  ): Promise<RemoteSite> => {
    const one = await openRemoteSite({
      url,
      identity: IDENTITY,
      state,
      site: files.keys.signing.publicKey,
      signer,
      now,
    });
    clients.push(one);
    return one;
  };
  return {
    folder,
    running,
    key: files.keys.signing.publicKey,
    files,
    url,
    client,
    bring: async (site = "bb", kinds = [...IN_ORDER, ...DATA]) => {
      const to = await client();
      for (const kind of kinds) {
        const objects = [...embassy.objects(site, kind)];
        // Checkpoints in their order.
        if (kind === "checkpoint") {
          objects.sort(([a], [b]) => Number(a.split(".")[1]) - Number(b.split(".")[1]));
        }
        for (const [name, bytes] of objects) await to.put(`${kind}/${name}`, [bytes]);
        if (kind === "checkpoint") await running.watch();
      }
    },
    stored: (name) => {
      const { file } = objectPlace(join(folder, "states", home.state, "objects"), name);
      return existsSync(file) ? readFileSync(file) : undefined;
    },
  };
}
