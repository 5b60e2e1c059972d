import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { type AddressInfo, createServer as createPlainServer } from "node:net";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import { test } from "node:test";
import { pino } from "pino";
import { temporaryFolder } from "../../test/support/places.ts";
import { type Alarm, Alarms, sendersOf, silenceMessage, silenceStep } from "./alarm.ts";

const log = pino({ level: "silent" });
const at = (hours: number): Date =>
  new Date(Date.parse("2026-01-01T00:00:00Z") + hours * 3_600_000);
const QUIET = { raisedAt: undefined, saidAt: undefined };
const ALARM: Alarm = {
  kind: "silent",
  site: "kn",
  state: "ab".repeat(32),
  message: "Belize silent for 26 hours",
  detail: "Nothing was heard.",
  time: at(26),
};

test("silence is told when it is too long, again after a day, and its end once", () => {
  const max = 26 * 3600;
  assert.deepEqual(silenceStep(QUIET, at(0), max, at(26)), { next: QUIET, say: undefined });
  const first = silenceStep(QUIET, at(0), max, at(26.1));
  assert.equal(first.say, "silent");
  assert.equal(silenceStep(first.next, at(0), max, at(50)).say, undefined);
  const second = silenceStep(first.next, at(0), max, at(50.2));
  assert.equal(second.say, "silent");
  assert.deepEqual(second.next.raisedAt, at(26.1), "it is still the same silence");
  const back = silenceStep(second.next, at(51), max, at(52));
  assert.deepEqual(back, { next: QUIET, say: "back" });
  assert.equal(silenceStep(back.next, at(51), max, at(53)).say, undefined);
  assert.equal(
    silenceMessage("silent", "Belize", at(0), at(26)).message,
    "Belize silent for 26 hours",
  );
  assert.equal(
    silenceMessage("silent", "Belize", at(0), at(1)).message,
    "Belize silent for 1 hour",
  );
});

test("an alarm that cannot be told is tried again, a bounded number of times, and holds up no other way", async () => {
  const tried = { broken: 0, good: 0 };
  const waits: number[] = [];
  const alarms = new Alarms(
    [
      { way: "broken", send: () => Promise.reject(new Error(`${tried.broken++}`)) },
      { way: "good", send: () => Promise.resolve(void tried.good++) },
    ],
    log,
    (ms) => Promise.resolve(waits.push(ms)),
  );
  alarms.raise(ALARM);
  await alarms.settled();
  assert.deepEqual(tried, { broken: 5, good: 1 });
  assert.deepEqual(waits, [60_000, 120_000, 240_000, 480_000]);
});

test("a webhook gets JSON; one that refuses or sends elsewhere has not taken it", async (t) => {
  const got: unknown[] = [];
  const answers = [204, 500, 302];
  const server = createServer((request, response) => {
    void json(request).then((body) => {
      got.push(body);
      response.writeHead(answers.shift() ?? 200, { location: "/elsewhere" }).end();
    });
  }).listen(0, "127.0.0.1");
  t.after(() => server.close());
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  const [sender] = await sendersOf({ webhook: `http://127.0.0.1:${port}/hook` });
  assert.ok(sender);
  const { signal } = new AbortController();
  await sender.send(ALARM, signal);
  assert.deepEqual(got, [{ ...ALARM, time: ALARM.time.toISOString() }]);
  await assert.rejects(sender.send(ALARM, signal));
  await assert.rejects(sender.send(ALARM, signal));
  assert.equal(got.length, 3, "it was not followed elsewhere");
});

test("a command gets the message on its standard input; one that fails has not taken it", async (t) => {
  const file = join(temporaryFolder(t), "said");
  const script = `require("fs").writeFileSync(process.argv[1], require("fs").readFileSync(0))`;
  const command = [process.execPath, "-e", script, file];
  const [sender] = await sendersOf({ command });
  assert.ok(sender);
  const { signal } = new AbortController();
  await sender.send(ALARM, signal);
  assert.ok(existsSync(file));
  assert.equal(readFileSync(file, "utf8"), "Belize silent for 26 hours\n\nNothing was heard.\n");
  for (const failing of [[process.execPath, "-e", "process.exit(3)"], [join(file, "nowhere")]]) {
    const [other] = await sendersOf({ command: failing });
    await assert.rejects(other?.send(ALARM, signal) ?? Promise.resolve());
  }
});

test("an e-mail has the message for its subject", async (t) => {
  const lines: string[] = [];
  const server = createPlainServer((socket) => {
    let inData = false;
    socket.write("220 mail.example ESMTP\r\n");
    let rest = "";
    socket.on("data", (chunk) => {
      rest += chunk.toString();
      for (let end = rest.indexOf("\r\n"); end >= 0; end = rest.indexOf("\r\n")) {
        const line = rest.slice(0, end);
        rest = rest.slice(end + 2);
        lines.push(line);
        if (inData && line !== ".") continue;
        if (inData) inData = false;
        else if (line === "DATA") {
          inData = true;
          socket.write("354 go on\r\n");
          continue;
        }
        socket.write(line === "QUIT" ? "221 bye\r\n" : "250 ok\r\n");
      }
    });
    socket.on("error", () => undefined);
  }).listen(0, "127.0.0.1");
  t.after(() => server.close());
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  const [sender] = await sendersOf({
    email: {
      smtp: { host: "127.0.0.1", port, secure: false },
      from: "site@example.org",
      to: ["duty@example.org"],
    },
  });
  assert.ok(sender);
  await sender.send(ALARM, new AbortController().signal);
  assert.ok(lines.includes("RCPT TO:<duty@example.org>"), lines.join("\n"));
  assert.ok(lines.includes("Subject: [exclave kn] Belize silent for 26 hours"), lines.join("\n"));
});
