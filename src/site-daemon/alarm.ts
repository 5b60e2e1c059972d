/** The alarm: home is silent, or a ledger has forked. Told to people in the ways that the operator has set up. */
import { spawn } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import { ExclaveError } from "../errors.ts";
import { readPrivateText } from "./folder.ts";
import { ALARM_ATTEMPT_MS_MAX, ALARM_ATTEMPTS_MAX, ALARM_RETRY_FIRST_MS } from "./limits.ts";
import type { AlarmSettings } from "./settings.ts";
import { messageOf } from "./state-service.ts";

const HOUR_MS = 3_600_000;
const AGAIN_AFTER_MS = 24 * HOUR_MS;

export type Alarm = {
  readonly kind: "silent" | "back" | "fork";
  /** Name of the site that raises it. */
  readonly site: string;
  readonly state: string;
  /** A sentence that says it all: the subject of an e-mail. */
  readonly message: string;
  readonly detail: string;
  readonly time: Date;
};

/** Where an alarm about silence stands. */
export type SilenceRecord = {
  /** When it was raised; undefined when it is not. */
  readonly raisedAt: Date | undefined;
  readonly saidAt: Date | undefined;
};

/**
 * What is to be said now: once when home has been silent for too long, then daily, and once when it is back. Pure.
 *
 * @param heardAt when home was heard of last
 */
export function silenceStep(
  record: SilenceRecord,
  heardAt: Date,
  silentSecondsMax: number,
  now: Date,
): { readonly next: SilenceRecord; readonly say: "silent" | "back" | undefined } {
  const isSilent = now.getTime() - heardAt.getTime() > silentSecondsMax * 1000;
  if (!isSilent) {
    const next = { raisedAt: undefined, saidAt: undefined };
    return { next, say: record.raisedAt ? "back" : undefined };
  }
  const saidAt = record.saidAt?.getTime();
  if (saidAt !== undefined && now.getTime() - saidAt < AGAIN_AFTER_MS) {
    return { next: record, say: undefined };
  }
  return { next: { raisedAt: record.raisedAt ?? now, saidAt: now }, say: "silent" };
}

export function silenceMessage(
  say: "silent" | "back",
  name: string,
  heardAt: Date,
  now: Date,
): Pick<Alarm, "message" | "detail"> {
  const hours = Math.floor((now.getTime() - heardAt.getTime()) / HOUR_MS);
  if (say === "back") {
    return { message: `${name} is back`, detail: `Home was heard of at ${heardAt.toISOString()}.` };
  }
  return {
    message: `${name} silent for ${hours} ${hours === 1 ? "hour" : "hours"}`,
    detail: `Nothing was heard of home since ${heardAt.toISOString()}: no checkpoint of its ledger, and no request by one of its agents. What is stored here stays, and nothing expires. Call home, and the other sites.`,
  };
}

/** One way to tell people. Rejects when it did not work. */
export type Sender = {
  readonly way: string;
  readonly send: (alarm: Alarm, signal: AbortSignal) => Promise<void>;
};

/** The ways that are set up. */
export async function sendersOf(settings: AlarmSettings): Promise<readonly Sender[]> {
  const { webhook, email, command } = settings;
  return [
    ...(webhook === undefined ? [] : [{ way: "webhook", send: toWebhook(webhook) }]),
    ...(email ? [{ way: "e-mail", send: await toEmail(email) }] : []),
    ...(command ? [{ way: "command", send: toCommand(command) }] : []),
  ];
}

/** Tells alarms by every way, each tried again a bounded number of times, in the background. */
export class Alarms {
  readonly #senders: readonly Sender[];
  readonly #log: Logger;
  readonly #wait: (ms: number, signal: AbortSignal) => Promise<unknown>;
  readonly #stop = new AbortController();
  readonly #underWay = new Set<Promise<void>>();

  constructor(
    senders: readonly Sender[],
    log: Logger,
    wait: (ms: number, signal: AbortSignal) => Promise<unknown> = (ms, signal) =>
      delay(ms, undefined, { signal }),
  ) {
    this.#senders = senders;
    this.#log = log;
    this.#wait = wait;
  }

  raise(alarm: Alarm): void {
    this.#log.error({ alarm: alarm.kind, state: alarm.state }, alarm.message);
    for (const sender of this.#senders) {
      const told = this.#tell(sender, alarm).finally(() => this.#underWay.delete(told));
      this.#underWay.add(told);
    }
  }

  /** Resolves when everything was told, or given up. */
  async settled(): Promise<void> {
    await Promise.all(this.#underWay);
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.settled();
  }

  async #tell({ way, send }: Sender, alarm: Alarm): Promise<void> {
    const { signal } = this.#stop;
    for (let attempt = 1; attempt <= ALARM_ATTEMPTS_MAX; attempt++) {
      try {
        await send(alarm, AbortSignal.any([signal, AbortSignal.timeout(ALARM_ATTEMPT_MS_MAX)]));
        return;
      } catch (error) {
        if (signal.aborted) return;
        this.#log.warn({ way, attempt, err: messageOf(error) }, "an alarm could not be told");
      }
      if (attempt === ALARM_ATTEMPTS_MAX) break;
      await this.#wait(ALARM_RETRY_FIRST_MS * 2 ** (attempt - 1), signal).catch(() => undefined);
      if (signal.aborted) return;
    }
    this.#log.error({ way }, "an alarm was given up");
  }
}

function toWebhook(url: string): Sender["send"] {
  return async (alarm, signal) => {
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ...alarm, time: alarm.time.toISOString() }),
      redirect: "error",
      signal,
    });
    await response.body?.cancel();
    if (!response.ok) {
      throw new ExclaveError("site-unavailable", `the webhook answered ${response.status}`);
    }
  };
}

async function toEmail({
  smtp,
  from,
  to,
}: NonNullable<AlarmSettings["email"]>): Promise<Sender["send"]> {
  const { host, port, secure, user, passwordFile } = smtp;
  const password = passwordFile === undefined ? undefined : await readPrivateText(passwordFile);
  if (passwordFile !== undefined && password === undefined) {
    throw new ExclaveError("usage", `the password file ${passwordFile} is not there`);
  }
  // Megabytes that few sites need.
  const { createTransport } = await import("nodemailer");
  const transport = createTransport({
    host,
    port,
    secure,
    // A password goes over TLS or not at all.
    requireTLS: user !== undefined,
    ...(user === undefined ? {} : { auth: { user, pass: password?.trim() ?? "" } }),
    connectionTimeout: ALARM_ATTEMPT_MS_MAX,
    socketTimeout: ALARM_ATTEMPT_MS_MAX,
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  return async ({ message, detail, site }) => {
    await transport.sendMail({
      from,
      to: [...to],
      subject: `[exclave ${site}] ${message}`,
      text: `${message}.\n\n${detail}\n`,
    });
  };
}

function toCommand([program = "", ...args]: readonly string[]): Sender["send"] {
  return (alarm, signal) =>
    new Promise((resolve, reject) => {
      const child = spawn(program, args, { stdio: ["pipe", "ignore", "ignore"], signal });
      child.once("error", reject);
      child.once("exit", (code) => {
        if (code === 0) resolve();
        else reject(new ExclaveError("command-failed", `the alarm's command ended with ${code}`));
      });
      // Whoever does not read it has ended, which is told above.
      child.stdin.on("error", () => undefined);
      child.stdin.end(`${alarm.message}\n\n${alarm.detail}\n`);
    });
}
