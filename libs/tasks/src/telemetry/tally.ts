import { type Attributes, metrics } from '@opentelemetry/api';

/**
 * A counter that is read when somebody asks. Its labels are looked up by one text,
 * where an instrument that is told of every task would compare all of them each time.
 */
export class Tally {
  private readonly counts = new Map<string, { readonly attributes: Attributes; count: number }>();

  constructor(name: string, options: { readonly unit: string; readonly description: string }) {
    metrics
      .getMeter('waybill.tasks')
      .createObservableCounter(name, options)
      .addCallback((result) => {
        for (const { attributes, count } of this.counts.values()) result.observe(count, attributes);
      });
  }

  /** @param key of the labels, which are made where it is new. */
  add(key: string, attributes: () => Attributes, count = 1): void {
    const known = this.counts.get(key);
    if (known) known.count += count;
    else this.counts.set(key, { attributes: attributes(), count });
  }
}
