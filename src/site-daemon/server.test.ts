import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { temporaryFolder } from "../../test/support/places.ts";
import { startListener } from "../../test/support/site-daemon.ts";
import { testSite } from "../sites/conformance.ts";

testSite("a site's daemon, through its client", async (t) => {
  const folder = temporaryFolder(t);
  const listener = await startListener(t, { folder });
  return {
    site: await listener.client(),
    reopen: () => listener.client(),
    crash: async (_name, stored) => {
      writeFileSync(join(folder, "objects", "tmp", "c0ffee"), stored);
    },
  };
});
