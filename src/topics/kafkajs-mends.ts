/** Two faults of kafkajs 2.2.4, mended in its classes when kafka-client.ts loads it. Each names what it relies on. */

/** Of kafkajs' src/network/requestQueue. */
export interface RequestQueueClass {
  prototype: { pending: unknown[]; scheduleCheckPendingRequests(): void };
}

/** Of kafkajs' src/network/connection. */
export interface ConnectionClass {
  prototype: {
    chunks: Buffer[];
    bytesBuffered: number;
    bytesNeeded: number;
    isConnected(): boolean;
    connect(): Promise<boolean>;
  };
}

/**
 * It sets a timer for its queue of requests also when none waits: one in the past, so that Node warns
 * (TimeoutNegativeWarning), and that runs each millisecond, for each connection, for ever. Now only where one waits.
 */
export function mendTimers({ prototype }: RequestQueueClass): void {
  const schedule = prototype.scheduleCheckPendingRequests;
  prototype.scheduleCheckPendingRequests = function mended() {
    if (this.pending.length > 0) schedule.call(this);
  };
}

/**
 * Of an answer that broke off with its connection the beginning is kept, and what comes on the next connection is taken for
 * its rest: nothing on that connection is ever answered again. Now a new one begins with nothing.
 */
export function mendHalfAnswers({ prototype }: ConnectionClass): void {
  const connect = prototype.connect;
  prototype.connect = function mended() {
    if (!this.isConnected()) {
      this.chunks = [];
      this.bytesBuffered = 0;
      this.bytesNeeded = SIZE_BYTES;
    }
    return connect.call(this);
  };
}

/** Each answer begins with its size. */
const SIZE_BYTES = 4;
