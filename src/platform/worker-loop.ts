/** The other end of `worker-pool.ts`: answers tasks, one at a time, in a worker thread. */
import { parentPort } from "node:worker_threads";
import { invariant, isExclaveError } from "../errors.ts";

/** Where a worker posts to its main thread. */
export type Post = (message: unknown, transfer?: readonly ArrayBuffer[]) => void;

/**
 * Answers each task with what `work` returns or throws. An ExclaveError fails the task; anything else
 * is a mistake of ours and ends the thread, which fails the whole pool.
 */
export function answerTasks<Task, Result>(
  work: (task: Task, post: Post) => Result,
  onOther: (message: unknown) => void,
): Post {
  const port = parentPort;
  invariant(port, "this runs in a worker thread");
  const post: Post = (message, transfer = []) => port.postMessage(message, [...transfer]);
  port.on(
    "message",
    (message: { readonly id: number; readonly task: Task } | { readonly other: unknown }) => {
      if (!("id" in message)) {
        onOther(message);
        return;
      }
      try {
        post({ task: message.id, result: work(message.task, post) });
      } catch (error) {
        if (!isExclaveError(error)) throw error;
        post({ task: message.id, failure: { code: error.code, message: error.message } });
      }
    },
  );
  return post;
}
