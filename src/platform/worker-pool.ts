/** Threads that work through tasks, with a bound on how many each has waiting. */
import { Worker } from "node:worker_threads";
import { type ErrorCode, ExclaveError } from "../errors.ts";

const YOUNG_GENERATION_MB = 8;

/** What a worker posts when a task is done or failed; anything else goes to `onMessage`. */
type TaskReply<Result> =
  | { readonly task: number; readonly result: Result }
  | {
      readonly task: number;
      readonly failure: { readonly code: ErrorCode; readonly message: string };
    };

export type WorkerPoolOptions<Message> = {
  /** The script that the workers run. */
  readonly script: URL;
  readonly workers: number;
  /** Tasks that one worker may have, at work and waiting. */
  readonly tasksPerWorkerMax: number;
  /** Given to each worker as `workerData`. */
  readonly workerData: (worker: number) => unknown;
  /** What workers post besides replies. */
  readonly onMessage: (message: Message, worker: number) => void;
};

type Member<Result> = {
  readonly worker: Worker;
  readonly pending: Map<number, PromiseWithResolvers<Result>>;
};

/**
 * Workers that are started as there is work for them. The first failure of a thread fails every task,
 * now and later.
 */
export class WorkerPool<Task, Result, Message> {
  readonly #options: WorkerPoolOptions<Message>;
  /** By worker number; undefined until it is started. */
  readonly #members: (Member<Result> | undefined)[];
  readonly #announced: unknown[] = [];
  #nextTask = 0;
  #broken: Error | undefined;
  #room = Promise.withResolvers<void>();

  constructor(options: WorkerPoolOptions<Message>) {
    this.#options = options;
    this.#members = Array.from({ length: options.workers }, () => undefined);
  }

  /** Workers that there may be. */
  get size(): number {
    return this.#members.length;
  }

  /**
   * Waits until a worker (that one, when named) has room, gives it the task, and resolves with a
   * promise of its result, wrapped so that waiting for room is not waiting for the result.
   */
  async submit(
    task: Task,
    options: { readonly worker?: number; readonly transfer?: readonly ArrayBuffer[] } = {},
  ): Promise<{ readonly done: Promise<Result> }> {
    for (;;) {
      if (this.#broken) throw this.#broken;
      const member = this.#started(options.worker ?? this.#leastBusy());
      if (member.pending.size < this.#options.tasksPerWorkerMax) {
        const id = this.#nextTask++;
        const reply = Promise.withResolvers<Result>();
        // Whoever awaits `done` sees the failure; nobody may, when an earlier one ended the run.
        reply.promise.catch(() => undefined);
        member.pending.set(id, reply);
        member.worker.postMessage({ id, task }, [...(options.transfer ?? [])]);
        return { done: reply.promise };
      }
      await this.#room.promise;
    }
  }

  /** Gives every worker that was started the task and waits for all. */
  async broadcast(task: Task): Promise<readonly Result[]> {
    const replies = [];
    for (const [worker, member] of this.#members.entries()) {
      if (member) replies.push(await this.submit(task, { worker }));
    }
    return Promise.all(replies.map(({ done }) => done));
  }

  /** Posts something that is no task to every worker that was started. */
  post(message: unknown): void {
    for (const member of this.#members) member?.worker.postMessage(message);
  }

  /** Posts something that is no task to every worker, also to those that start later. */
  announce(message: unknown): void {
    this.#announced.push(message);
    this.post(message);
  }

  /** Fails all that is pending and all that will be submitted. */
  fail(error: Error): void {
    this.#broken ??= error;
    for (const member of this.#members) {
      for (const reply of member?.pending.values() ?? []) reply.reject(this.#broken);
      member?.pending.clear();
    }
    this.#wake();
  }

  /** The number of an idle worker, else of one that is not started yet, else of the least busy. */
  #leastBusy(): number {
    let best = 0;
    for (const [worker, member] of this.#members.entries()) {
      const pending = member ? member.pending.size : 0.5;
      if (pending < (this.#members[best]?.pending.size ?? 0.5)) best = worker;
    }
    return best;
  }

  #started(index: number): Member<Result> {
    const present = this.#members[index];
    if (present) return present;
    const { script, workerData, onMessage } = this.#options;
    const worker = new Worker(script, {
      workerData: workerData(index),
      // What a worker makes dies young; a large nursery would only be memory.
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
    });
    const member: Member<Result> = { worker, pending: new Map() };
    worker.on("message", (message: TaskReply<Result> | Message) => {
      if (typeof message === "object" && message !== null && "task" in message) {
        this.#settle(member, message as TaskReply<Result>);
      } else {
        onMessage(message as Message, index);
      }
    });
    worker.on("error", (error) => {
      this.fail(error instanceof Error ? error : new Error(String(error)));
    });
    for (const message of this.#announced) worker.postMessage(message);
    this.#members[index] = member;
    return member;
  }

  /** Ends the threads, whatever they do. */
  async close(): Promise<void> {
    this.#broken ??= new ExclaveError("interrupted", "the work was stopped");
    await Promise.all(this.#members.map((member) => member?.worker.terminate()));
  }

  #settle(member: Member<Result>, reply: TaskReply<Result>): void {
    const pending = member.pending.get(reply.task);
    member.pending.delete(reply.task);
    if ("failure" in reply) {
      pending?.reject(new ExclaveError(reply.failure.code, reply.failure.message));
    } else {
      pending?.resolve(reply.result);
    }
    this.#wake();
  }

  #wake(): void {
    this.#room.resolve();
    this.#room = Promise.withResolvers();
  }
}
