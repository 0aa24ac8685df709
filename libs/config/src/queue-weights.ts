/** What one queue may use of a worker's slots. */
export interface QueueShare {
  readonly name: string;
  /** Its part of the slots under load, relative to the other queues' weights. */
  readonly weight: number;
  /** Slots that no other queue may take. */
  readonly min: number;
}

/** How the queues of a worker share its slots. */
export interface QueueWeights {
  /** In strict mode a queue runs only while every queue of more weight is empty. */
  readonly strict: boolean;
  readonly queues: readonly QueueShare[];
}

const QUEUE = /^([a-z][a-z0-9_-]{0,62})=(\d{1,6})(?::min=(\d{1,4}))?$/;

/**
 * Reads `critical=10,default=5`, `strict:critical=10,default=5`, or, with
 * reserved slots, `critical=10:min=2,default=5`.
 *
 * @throws Error whose message names what is wrong.
 */
export function parseQueueWeights(text: string): QueueWeights {
  const strict = text.startsWith('strict:');
  const queues = (strict ? text.slice('strict:'.length) : text).split(',').map((part) => {
    const match = QUEUE.exec(part.trim());
    if (!match) throw new Error(`"${part.trim()}" is not name=weight or name=weight:min=slots`);
    const [, name = '', weight, min = '0'] = match;
    if (Number(weight) === 0) throw new Error(`the weight of "${name}" must be at least 1`);
    return { name, weight: Number(weight), min: Number(min) };
  });
  const twice = queues.find((queue, index) => queues.findIndex((q) => q.name === queue.name) < index);
  if (twice) throw new Error(`"${twice.name}" is given twice`);
  return { strict, queues };
}
