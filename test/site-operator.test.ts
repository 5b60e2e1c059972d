/** What a site's operator does, as they do it: init, card, grant, grants. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { on, once } from "node:events";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { get } from "node:https";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { connect } from "node:tls";
import { signingKeyFromSeed } from "../src/crypto/signing.ts";
import { openSiteFiles } from "../src/site-daemon/site-files.ts";
import { signGrantRequest } from "../src/sites/grant-request.ts";
import { openSiteCard } from "../src/sites/site-card.ts";
import { failed, good, run, start } from "./support/cli.ts";
import { temporaryFolder } from "./support/places.ts";

const BIN = join(import.meta.dirname, "../bin/exclave");
const SCRIPT = "/usr/bin/script";
const STATE = "ab".repeat(32);
const agent = signingKeyFromSeed(new Uint8Array(32).fill(7));
const ANSWERS = [
  ...["--name", "lu", "--country", "lu", "--operator", "Luxembourg State"],
  ...["--hazard-zone", "Moselle", "--url", "https://exclave.example.lu:7443"],
];

type Made = {
  readonly folder: string;
  readonly card: string;
  readonly unit: string;
  readonly id: string;
  readonly fingerprint: string;
};
type Granted = {
  readonly granted: { readonly state: string; readonly name: string; readonly quotaBytes: number };
  readonly replaced: boolean;
};
type Grants = {
  readonly grants: readonly Granted["granted"][];
  readonly problems: readonly string[];
};

/** A site that was made by flags, and how its commands are run. */
async function madeSite(t: TestContext, ...flags: readonly string[]) {
  const at = temporaryFolder(t);
  const folder = join(at, "site");
  const exclave = <Report>(...args: readonly string[]) =>
    run<Report>(at, ["site", ...args, "--folder", folder]);
  const made = good(await exclave<Made>("init", ...ANSWERS, ...flags));
  /** A file with a State's request. */
  const request = (name = "Belize", quotaBytes = 5e11, signer = agent): string => {
    const file = join(at, `${name}.request.json`);
    const asked = { state: STATE, name, charter: STATE, quotaBytes };
    writeFileSync(file, signGrantRequest(signer, asked, new Date("2026-11-22T10:00:00Z")));
    return file;
  };
  return { at, folder, exclave, made, request };
}

test("a site is made by flags, and its card shows the key whose fingerprint was told", async (t) => {
  const { at, folder, exclave, made } = await madeSite(t);
  assert.equal(made.card, join(folder, "lu.card.json"));
  const { card, key } = openSiteCard(readFileSync(made.card));
  assert.equal(key.id, made.id);
  assert.equal(made.fingerprint.replaceAll(" ", ""), made.id.slice(0, 32));
  assert.deepEqual(
    [card.name, card.country, card.operator, card.hazardZone, card.url, card.storage],
    ["lu", "LU", "Luxembourg State", "Moselle", "https://exclave.example.lu:7443", "directory"],
  );

  const out = join(at, "again.json");
  const shown = good(await exclave<{ fingerprint: string; card: string }>("card", "--out", out));
  assert.deepEqual([shown.fingerprint, shown.card], [made.fingerprint, out]);
  assert.equal(openSiteCard(readFileSync(out)).key.id, made.id);
  failed(await exclave("card", "--out", out), "usage", 2);
});

test("where a site listens follows from its address, or is told", async (t) => {
  const settings = (folder: string) =>
    JSON.parse(readFileSync(join(folder, "site.json"), "utf8")) as Record<string, unknown>;
  const { folder } = await madeSite(t);
  assert.deepEqual(settings(folder).listen, { host: "0.0.0.0", port: 7443 });
  assert.deepEqual(settings(folder).admin, { host: "127.0.0.1", port: 7444 });
  assert.ok(!("monitor" in settings(folder)));

  const engine = join(temporaryFolder(t), "s3.json");
  const reached = { endpoint: "https://s3.example.lu", bucket: "embassy" };
  writeFileSync(engine, JSON.stringify({ ...reached, credentialsFile: "credentials.json" }));
  const told = await madeSite(
    t,
    ...[
      "--listen",
      "[::1]:1",
      "--monitor",
      "127.0.0.1:0",
      "--admin",
      "localhost:9",
      "--s3",
      engine,
    ],
  );
  assert.deepEqual(settings(told.folder).listen, { host: "::1", port: 1 });
  assert.deepEqual(settings(told.folder).monitor, { host: "127.0.0.1", port: 0 });
  assert.deepEqual(settings(told.folder).storage, { kind: "s3", file: engine });
  for (const read of [engine, join(dirname(engine), "credentials.json")]) {
    assert.match(readFileSync(told.made.unit, "utf8"), new RegExp(`^ReadOnlyPaths=.*${read}`, "m"));
  }
  const { card } = openSiteCard(readFileSync(told.made.card));
  assert.equal(card.storage, "s3");
  const unit = readFileSync(told.made.unit, "utf8");
  assert.match(unit, /^CapabilityBoundingSet=CAP_NET_BIND_SERVICE$/m);
  assert.ok(unit.includes(`ReadOnlyPaths=${engine}\n`));
});

test("what no site can be is said, and nothing is made", async (t) => {
  const at = temporaryFolder(t);
  const folder = join(at, "site");
  const wrong: readonly (readonly string[])[] = [
    ["--url", "http://exclave.example.lu"],
    ["--url", "https://exclave.example.lu/site"],
    ["--name", "Lu x"],
    ["--country", "Luxembourg"],
    ["--listen", "7443"],
    ["--admin", "127.0.0.1:99999"],
    ["--s3", join(at, "absent.json")],
  ];
  for (const flags of wrong) {
    const args = ["site", "init", "--folder", folder, ...ANSWERS, ...flags];
    failed(await run(at, args), "usage", 2);
    assert.ok(!existsSync(folder), flags.join(" "));
  }
  const without = ["site", "init", "--folder", folder, "--name", "lu"];
  assert.match(failed(await run(at, without), "usage", 2), /no terminal/);
  assert.match(
    failed(await run(at, ["site", "card", "--folder", folder]), "usage", 2),
    /exclave site init/,
  );
});

test("a site is not made over another, nor in a folder of something else", async (t) => {
  const { at, folder, exclave, made } = await madeSite(t);
  const before = readFileSync(join(folder, "keys/signing.json"), "utf8");
  failed(await exclave("init", ...ANSWERS, "--name", "other"), "usage", 2);
  assert.equal(readFileSync(join(folder, "keys/signing.json"), "utf8"), before);
  assert.equal(good(await exclave<Made>("card")).id, made.id);

  mkdirSync(join(at, "else/Documents"), { recursive: true });
  failed(await run(at, ["site", "init", "--folder", join(at, "else"), ...ANSWERS]), "usage", 2);
});

test("a State is let in by its request, once its fingerprint was compared", async (t) => {
  const { folder, exclave, request } = await madeSite(t);
  const file = request();
  const file2 = join(folder, "grants", `${STATE}.json`);
  assert.match(failed(await exclave("grant", file), "usage", 2), /fingerprint/);
  assert.ok(!existsSync(file2));

  const { granted, replaced } = good(await exclave<Granted>("grant", file, "--yes"));
  assert.deepEqual([granted.state, granted.name, granted.quotaBytes], [STATE, "Belize", 5e11]);
  assert.equal(replaced, false);
  const { grants, problems } = good(await exclave<Grants>("grants"));
  assert.deepEqual([grants, problems], [[granted], []]);
});

test("a second grant changes quota and agent, and keeps what the operator has set", async (t) => {
  const { at, folder, exclave, request } = await madeSite(t);
  good(await exclave<Granted>("grant", request(), "--yes"));
  const file = join(folder, "grants", `${STATE}.json`);
  writeFileSync(
    file,
    JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), silentSecondsMax: 7200 }),
  );
  const other = signingKeyFromSeed(new Uint8Array(32).fill(8));
  const again = await run(
    at,
    [
      "site",
      "grant",
      request("Belize", 5e11, other),
      "--quota",
      "2TB",
      "--yes",
      "--folder",
      folder,
    ],
    { json: false },
  );
  assert.equal(again.code, 0, again.stderr);
  assert.match(again.stdout.toString(), /It had another agent: [0-9a-f ]{39}\. Ask why\./);
  assert.match(again.stdout.toString(), /2\.0 TB \(it asks for 500 GB\)/);
  const { quotaBytes, silentSecondsMax } = JSON.parse(readFileSync(file, "utf8"));
  assert.deepEqual([quotaBytes, silentSecondsMax], [2e12, 7200]);
});

test("what is no request is refused, and a damaged grant is named", async (t) => {
  const { folder, exclave, made, request } = await madeSite(t);
  failed(await exclave("grant", made.card, "--yes"), "malformed");
  failed(await exclave("grant", join(folder, "absent"), "--yes"), "usage", 2);
  failed(await exclave("grant", request(), "--quota", "much", "--yes"), "usage", 2);
  const altered = join(folder, "altered.json");
  const envelope = JSON.parse(readFileSync(request(), "utf8")) as { payload: string };
  const payload = Buffer.from(envelope.payload, "base64").toString().replace("Belize", "Belice");
  writeFileSync(
    altered,
    JSON.stringify({ ...envelope, payload: Buffer.from(payload).toString("base64") }),
  );
  failed(await exclave("grant", altered, "--yes"), "altered");
  assert.deepEqual(good(await exclave<Grants>("grants")).grants, []);

  writeFileSync(join(folder, "grants", `${STATE}.json`), "{");
  const listed = await exclave<Grants>("grants");
  assert.equal(good(listed).problems.length, 1);
  assert.match(listed.notices.join(), /cannot be used/);
});

test("five questions make a site at a terminal", {
  skip: !existsSync(SCRIPT) && "there is no script(1) to make a terminal",
}, async (t) => {
  const at = temporaryFolder(t);
  const folder = join(at, "site");
  const command = [process.execPath, BIN, "site", "init", "--folder", folder];
  const child = spawn(SCRIPT, ["-qec", command.join(" "), "/dev/null"], { env: process.env });
  const answers = [
    "lu LU",
    "Luxembourg State",
    "",
    "https://exclave.example.lu:7443 127.0.0.1:8443",
    "",
  ];
  let seen = "";
  let asked = 0;
  child.stdout.on("data", (data: Buffer) => {
    seen += data.toString();
    const question = seen.slice(seen.lastIndexOf(`${asked + 1}. `));
    if (!question.startsWith(`${asked + 1}. `) || !/: (?:\x1b\[\d*[A-Z])*$/.test(question)) return;
    child.stdin.write(`${answers[asked++] ?? ""}\r`);
  });
  const [code] = (await once(child, "close")) as [number];
  assert.equal(code, 0, seen);
  assert.equal(asked, 5, seen);
  const settings = JSON.parse(readFileSync(join(folder, "site.json"), "utf8"));
  assert.equal(settings.hazardZone, "LU");
  assert.deepEqual(settings.listen, { host: "127.0.0.1", port: 8443 });
});

/** What a site that runs says, line by line. */
async function served(t: TestContext, at: string, folder: string) {
  const child = start(at, ["site", "serve", "--folder", folder]);
  t.after(() => void child.kill("SIGKILL"));
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  const log = createInterface({ input: child.stderr! });
  const ended = once(child, "close");
  const ready = JSON.parse((await lines.next()).value ?? "{}") as {
    readonly ready: boolean;
    readonly port: number;
    readonly adminPort: number;
    readonly states: readonly string[];
  };
  return { child, ready, lines, log, ended };
}

const FREE = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];

test("a site serves until it is told to stop, and says where", async (t) => {
  const { at, folder, exclave, made, request } = await madeSite(t, ...FREE);
  good(await exclave<Granted>("grant", request(), "--yes"));
  const { child, ready, lines, ended } = await served(t, at, folder);
  assert.equal(ready.ready, true);
  assert.deepEqual(ready.states, [STATE]);
  const socket = connect({ port: ready.port, host: "127.0.0.1", rejectUnauthorized: false });
  await once(socket, "secureConnect");
  const shown = socket.getPeerX509Certificate();
  socket.destroy();
  assert.ok(shown);
  const { settings, keys } = await openSiteFiles(folder);
  assert.equal(settings.name, "lu");
  assert.equal(keys.signing.id, made.id);
  const health = await fetch(`http://127.0.0.1:${ready.adminPort}/healthz`);
  assert.ok([200, 503].includes(health.status));
  await health.text();

  failed(await exclave("serve"), "busy");
  child.kill("SIGTERM");
  assert.deepEqual(JSON.parse((await lines.next()).value ?? "{}"), { stopped: true });
  assert.deepEqual(await ended, [0, null]);
});

test("a site that runs takes up a grant, and its end, on SIGHUP", async (t) => {
  const { at, folder, exclave, request } = await madeSite(t, ...FREE);
  const { child, ready, log, ended } = await served(t, at, folder);
  assert.deepEqual(ready.states, []);
  const answer = async (): Promise<number> => {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    get(
      {
        port: ready.port,
        host: "127.0.0.1",
        rejectUnauthorized: false,
        path: `/v1/states/${STATE}/list/charter`,
      },
      (response) => resolve(response.resume().statusCode ?? 0),
    ).on("error", reject);
    return promise;
  };
  assert.equal(await answer(), 404);
  good(await exclave<Granted>("grant", request(), "--yes"));
  child.kill("SIGHUP");
  while ((await answer()) !== 200);

  rmSync(join(folder, "grants", `${STATE}.json`));
  child.kill("SIGHUP");
  for await (const [line] of on(log, "line"))
    if (String(line).includes("not served any more")) break;
  assert.equal(await answer(), 404);
  child.kill("SIGINT");
  assert.deepEqual(await ended, [0, null]);
});

test("a site that cannot listen says so", async (t) => {
  const other = createServer();
  other.listen(0, "127.0.0.1");
  t.after(() => other.close());
  await once(other, "listening");
  const { port } = other.address() as { port: number };
  const { exclave } = await madeSite(t, "--listen", `127.0.0.1:${port}`, "--admin", "127.0.0.1:0");
  assert.match(failed(await exclave("serve"), "usage", 2), /EADDRINUSE/);
});

test("systemd takes the unit, wherever the folder is", {
  skip: spawnSync("systemd-analyze", ["--version"]).status !== 0 && "there is no systemd-analyze",
}, async (t) => {
  const at = temporaryFolder(t);
  const folder = join(at, `a "site" of 100% $HOME`);
  const made = good(await run<Made>(at, ["site", "init", "--folder", folder, ...ANSWERS]));
  const { status, stderr } = spawnSync("systemd-analyze", ["verify", "--man=no", made.unit], {
    encoding: "utf8",
  });
  assert.deepEqual({ status, stderr }, { status: 0, stderr: "" });
  const unit = readFileSync(made.unit, "utf8");
  assert.match(unit, /^ExecStart=.*"[^"]*a \\"site\\" of 100%% \$\$HOME" --json$/m);
});

test("peer: another site is named by its card, and named anew when it has moved", async (t) => {
  const { folder, exclave, made } = await madeSite(t);
  const other = await madeSite(t);
  type Peer = { readonly peer: { readonly name: string }; readonly peers: readonly string[] };
  for (const card of [other.made.card, other.made.card]) {
    const { peer, peers } = good(await exclave<Peer>("peer", card));
    assert.equal(peer.name, "lu");
    assert.deepEqual(peers, ["lu"]);
  }
  const { settings } = await openSiteFiles(folder);
  const { card } = openSiteCard(readFileSync(other.made.card));
  assert.deepEqual(settings.peers, [{ name: "lu", url: card.url, signing: card.signing }]);
  failed(await exclave("peer", join(folder, "site.json")), "malformed");
  failed(await exclave("peer", `${made.card}.none`), "usage", 2);
});
