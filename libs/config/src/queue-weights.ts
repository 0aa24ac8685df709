/** How the queues of a worker share its slots, as the task engine is told. */
export interface QueueWeights {
  /** In strict mode a queue runs only while every queue of more weight is empty. */
  readonly strict: boolean;
  /** By its name, a queue's weight relative to the others', and the slots that no other queue may take. */
  readonly queues: Readonly<Record<string, { readonly weight: number; readonly min: number }>>;
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
  const queues: Record<string, { weight: number; min: number }> = {};
  for (const part of (strict ? text.slice('strict:'.length) : text).split(',')) {
    const match = QUEUE.exec(part.trim());
    if (!match) throw new Error(`"${part.trim()}" is not name=weight or name=weight:min=slots`);
    const [, name = '', weight, min = '0'] = match;
    if (Number(weight) === 0) throw new Error(`the weight of "${name}" must be at least 1`);
    if (Object.hasOwn(queues, name)) throw new Error(`"${name}" is given twice`);
    queues[name] = { weight: Number(weight), min: Number(min) };
  }
  return { strict, queues };
}
