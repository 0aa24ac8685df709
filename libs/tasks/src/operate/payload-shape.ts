import { idsOf, IDENTIFIER } from './operator-texts.js';

/** How deep and how many values a shape shows. */
const MOST_DEEP = 8;
const MOST_VALUES = 200;

/**
 * A payload's shape: its ids, and of every other value what it is, since anybody's
 * words may be in it. Keys that are no identifiers are somebody's words, too.
 */
export function shapeOf(payload: unknown): unknown {
  const ids = idsOf(payload);
  let left = MOST_VALUES;
  const shape = (value: unknown, path: string, depth: number): unknown => {
    left -= 1;
    if (value === null) return null;
    if (typeof value !== 'object') {
      if (ids[path] !== undefined) return value;
      return typeof value === 'string' ? `[text of ${value.length} characters]` : `[${typeof value}]`;
    }
    if (depth === MOST_DEEP) return '[deep]';
    const within = (key: string) => (path === '' ? key : `${path}.${key}`);
    if (Array.isArray(value)) {
      const items: unknown[] = [];
      for (const [index, item] of value.entries()) {
        if (left <= 0) return [...items, `[${value.length - index} more]`];
        items.push(shape(item, within(String(index)), depth + 1));
      }
      return items;
    }
    const fields: [string, unknown][] = [];
    const entries = Object.entries(value);
    for (const [index, [key, item]] of entries.entries()) {
      if (left <= 0) {
        fields.push(['[more]', entries.length - index]);
        break;
      }
      const isName = IDENTIFIER.test(key);
      fields.push([isName ? key : `[key ${index + 1}]`, shape(item, isName ? within(key) : '\0', depth + 1)]);
    }
    return Object.fromEntries(fields);
  };
  return shape(payload, '', 0);
}
