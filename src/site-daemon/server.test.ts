import { temporaryFolder } from "../../test/support/places.ts";
import { startListener } from "../../test/support/site-daemon.ts";
import { testSite } from "../sites/conformance.ts";

testSite("a site's daemon, through its client", async (t) => {
  const listener = await startListener(t, { folder: temporaryFolder(t) });
  return { site: await listener.client(), reopen: () => listener.client() };
});
