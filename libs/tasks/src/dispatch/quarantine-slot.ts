import { Injectable } from '@nestjs/common';

/** A process runs one task at a time that has lost a worker: should it take this one down, it takes no other such task with it. */
@Injectable()
export class QuarantineSlot {
  /** Called when another one may begin. */
  onFree: () => void = () => undefined;
  private isTaken = false;

  get isFree(): boolean {
    return !this.isTaken;
  }

  take(): void {
    this.isTaken = true;
  }

  /** Without a word to anybody: there was none. */
  giveBack(): void {
    this.isTaken = false;
  }

  free(): void {
    this.isTaken = false;
    this.onFree();
  }
}
