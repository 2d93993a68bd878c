/**
 * When a request of undici really leaves: not when it was asked for, but when its headers are written, after a connection
 * was there. Between the two lies what a cold connection or a busy event loop costs.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { subscribe } from "node:diagnostics_channel";

const asking = new AsyncLocalStorage<() => void>();
const waiting = new WeakMap<object, () => void>();

subscribe("undici:request:create", (message) => {
  const onSent = asking.getStore();
  const request = requestOf(message);
  if (onSent && request) waiting.set(request, onSent);
});
subscribe("undici:client:sendHeaders", (message) => {
  const request = requestOf(message);
  if (!request) return;
  waiting.get(request)?.();
  waiting.delete(request);
});

/** Runs `call`; `onSent` is called as soon as the headers of each request that it makes are written. */
export function tellWhenSent<T>(onSent: () => void, call: () => Promise<T>): Promise<T> {
  return asking.run(onSent, call);
}

function requestOf(message: unknown): object | undefined {
  if (typeof message !== "object" || message === null || !("request" in message)) return undefined;
  return typeof message.request === "object" && message.request !== null ? message.request : undefined;
}
