/** Threads that work through tasks, with a bound on how many each has waiting. */
import { Worker } from "node:worker_threads";
import { type ErrorCode, ExclaveError } from "../errors.ts";

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

/** A fixed set of workers. The first failure of a thread fails every task, now and later. */
export class WorkerPool<Task, Result, Message> {
  readonly #members: readonly Member<Result>[];
  readonly #tasksPerWorkerMax: number;
  #nextTask = 0;
  #broken: Error | undefined;
  #room = Promise.withResolvers<void>();

  constructor(options: WorkerPoolOptions<Message>) {
    this.#tasksPerWorkerMax = options.tasksPerWorkerMax;
    this.#members = Array.from({ length: options.workers }, (_, index) => {
      const worker = new Worker(options.script, { workerData: options.workerData(index) });
      const member: Member<Result> = { worker, pending: new Map() };
      worker.on("message", (message: TaskReply<Result> | Message) => {
        if (typeof message === "object" && message !== null && "task" in message) {
          this.#settle(member, message as TaskReply<Result>);
        } else {
          options.onMessage(message as Message, index);
        }
      });
      worker.on("error", (error) =>
        this.fail(error instanceof Error ? error : new Error(String(error))),
      );
      return member;
    });
  }

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
      const candidates =
        options.worker === undefined
          ? this.#members
          : this.#members.slice(options.worker, options.worker + 1);
      const least = candidates.reduce((a, b) => (b.pending.size < a.pending.size ? b : a));
      if (least.pending.size < this.#tasksPerWorkerMax) {
        const id = this.#nextTask++;
        const reply = Promise.withResolvers<Result>();
        // Whoever awaits `done` sees the failure; nobody may, when an earlier one ended the run.
        reply.promise.catch(() => undefined);
        least.pending.set(id, reply);
        least.worker.postMessage({ id, task }, [...(options.transfer ?? [])]);
        return { done: reply.promise };
      }
      await this.#room.promise;
    }
  }

  /** Gives every worker the task and waits for all. */
  async broadcast(task: Task): Promise<readonly Result[]> {
    const replies = [];
    for (const [worker] of this.#members.entries())
      replies.push(await this.submit(task, { worker }));
    return Promise.all(replies.map(({ done }) => done));
  }

  /** Posts something that is no task. */
  post(message: unknown): void {
    for (const { worker } of this.#members) worker.postMessage(message);
  }

  /** Fails all that is pending and all that will be submitted. */
  fail(error: Error): void {
    this.#broken ??= error;
    for (const member of this.#members) {
      for (const reply of member.pending.values()) reply.reject(this.#broken);
      member.pending.clear();
    }
    this.#wake();
  }

  /** Ends the threads, whatever they do. */
  async close(): Promise<void> {
    this.#broken ??= new ExclaveError("interrupted", "the work was stopped");
    await Promise.all(this.#members.map(({ worker }) => worker.terminate()));
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
