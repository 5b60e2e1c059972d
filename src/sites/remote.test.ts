import { join } from "node:path";
import { temporaryFolder } from "../../test/support/places.ts";
import {
  CLIENT_KEY,
  SERVED_STATE,
  SERVER_KEY,
  startSiteServer,
} from "../../test/support/site-server.ts";
import { testSite, text } from "./conformance.ts";
import { createDirectorySite, openDirectorySite } from "./directory.ts";
import { openRemoteSite } from "./remote.ts";

const identity = { name: "kn", country: "KN", operator: "post", hazardZone: "KN" };

testSite("a remote site", async (t) => {
  const path = join(temporaryFolder(t), "site");
  await createDirectorySite(path, text("marker"));
  const objects = await openDirectorySite(path, identity);
  const { url } = await startSiteServer(t, { objects });
  const open = async () => {
    const site = await openRemoteSite({
      url,
      identity,
      state: SERVED_STATE,
      site: SERVER_KEY.publicKey,
      signer: CLIENT_KEY,
    });
    t.after(() => site.close());
    return site;
  };
  return { site: await open(), reopen: open };
});
