/** Waiting for a turn. */
interface Waiting {
  readonly begin: () => void;
  readonly turnAway: () => void;
}

/** Thrown at whoever cannot wait any longer, or at all, because the room is full. */
export class RoomIsFull extends Error {
  override readonly name = 'RoomIsFull';
}

/**
 * A room for those who wait to be served, so many at a time. Sources are served
 * in turn, and in a full room the source with most places loses its newest one. So
 * a source alone may have all places, and one that floods the room turns away only
 * its own.
 */
export class FairRoom {
  /** Who waits, by source; the next turn is that of the first source. */
  private readonly waiting = new Map<string, Waiting[]>();
  private places = 0;
  private served = 0;

  /**
   * @param atOnce how many are served at a time.
   * @param size how many may wait.
   */
  constructor(
    private readonly atOnce: number,
    private readonly size: number,
  ) {}

  /**
   * Does the work when it is the turn of its source.
   *
   * @throws RoomIsFull without having begun, when there are too many of this source.
   */
  async serve<T>(source: string, work: () => Promise<T>): Promise<T> {
    if (this.served < this.atOnce) this.served++;
    else await this.turn(source);
    try {
      return await work();
    } finally {
      this.next();
    }
  }

  private turn(source: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const place: Waiting = { begin: resolve, turnAway: () => reject(new RoomIsFull()) };
      const places = this.waiting.get(source);
      if (places) places.push(place);
      else this.waiting.set(source, [place]);
      this.places++;
      if (this.places > this.size) this.turnAwayOne();
    });
  }

  /** Gives the place that is free to the first source, which is the last one from then on. */
  private next(): void {
    const [first] = this.waiting;
    if (!first) {
      this.served--;
      return;
    }
    const [source, places] = first;
    const place = places.shift()!;
    this.places--;
    this.waiting.delete(source);
    if (places.length > 0) this.waiting.set(source, places);
    place.begin();
  }

  /** Turns away the newest of the source that has most places. */
  private turnAwayOne(): void {
    // The last one of several: it has to wait longest anyway.
    const [source, places] = [...this.waiting].reduce((most, other) => (other[1].length >= most[1].length ? other : most));
    const place = places.pop()!;
    this.places--;
    if (places.length === 0) this.waiting.delete(source);
    place.turnAway();
  }
}
