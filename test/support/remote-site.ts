/** A remote site for tests: a server over a directory, and a client of it that waits for nothing long. */
import { join } from "node:path";
import type { TestContext } from "node:test";
import { text } from "../../src/sites/conformance.ts";
import { createDirectorySite, openDirectorySite } from "../../src/sites/directory.ts";
import { openRemoteSite, type RemoteOptions, type RemoteSite } from "../../src/sites/remote.ts";
import type { RemoteLimits } from "../../src/sites/remote-limits.ts";
import type { Site } from "../../src/sites/site.ts";
import { temporaryFolder } from "./places.ts";
import {
  CLIENT_KEY,
  SERVED_STATE,
  SERVER_KEY,
  type SiteServer,
  type SiteServerOptions,
  startSiteServer,
} from "./site-server.ts";

export const KN = { name: "kn", country: "KN", operator: "post", hazardZone: "KN" };

/** Long enough for a busy machine where something is to go well, and short where it is not. */
export const QUICK: Partial<RemoteLimits> = { firstDelayMs: 1, delayMsMax: 4, attemptsMax: 3 };

export async function emptyDirectory(t: TestContext): Promise<Site> {
  const path = join(temporaryFolder(t), "site");
  await createDirectorySite(path, text("marker"));
  return openDirectorySite(path, KN);
}

/** A client, closed after the test. */
export async function connectTo(
  t: TestContext,
  url: string,
  options: Partial<RemoteOptions> = {},
): Promise<RemoteSite> {
  const site = await openRemoteSite({
    url,
    identity: KN,
    state: SERVED_STATE,
    site: SERVER_KEY.publicKey,
    signer: CLIENT_KEY,
    limits: QUICK,
    ...options,
  });
  t.after(() => site.close());
  return site;
}

/** A server, what it stores in, and a client. */
export async function remotePair(
  t: TestContext,
  server: Partial<SiteServerOptions> = {},
  client: Partial<RemoteOptions> = {},
): Promise<{ readonly server: SiteServer; readonly bare: Site; readonly site: RemoteSite }> {
  const bare = await emptyDirectory(t);
  const started = await startSiteServer(t, { objects: bare, ...server });
  return { server: started, bare, site: await connectTo(t, started.url, client) };
}
