import type { Clock, Timer } from '../internal/clock.js';
import type { SlowPeerPolicy } from './options.js';

/** Shared by all peers of a service. */
export interface SlowConsumerSettings {
  readonly clock: Clock;
  /** A peer with more waiting bytes is slow. */
  readonly maxBufferedBytes: number;
  readonly slowPeers: SlowPeerPolicy;
}

/** The peer, as {@link SlowConsumer} sees it. */
export interface SlowConsumerPeer {
  readonly bufferedBytes: number;
  /** The peer was cut off: close it. */
  onTooSlow(): void;
  /** The peer reads again, and missed messages of this room since this time, in ms. Without `room`: of its user. */
  onRecovered(room: string | undefined, since: number): void;
}

/** Interval in ms of checks of a slow peer's buffer. */
const DRAIN_CHECK_INTERVAL = 250;
/**
 * A factor of `maxBufferedBytes`. A peer with more waiting bytes does not read at all, and is cut off under either
 * policy.
 */
const MAX_BUFFER_FACTOR = 4;

/** Decides what happens to a peer that reads too slowly: it misses messages until it has caught up, or it is cut off. */
export class SlowConsumer {
  readonly #settings: SlowConsumerSettings;
  readonly #peer: SlowConsumerPeer;
  /** First dropped message by room; `undefined` while none are dropped. */
  #droppedSince: Map<string | undefined, number> | undefined;
  #timer: Timer | undefined;

  constructor(settings: SlowConsumerSettings, peer: SlowConsumerPeer) {
    this.#settings = settings;
    this.#peer = peer;
  }

  /** Decides about a message: the peer receives it, misses it, or was cut off. */
  admit(room: string | undefined): 'send' | 'drop' | 'closed' {
    const { maxBufferedBytes, slowPeers, clock } = this.#settings;
    if (this.#droppedSince !== undefined) this.#checkDrained();
    const buffered = this.#peer.bufferedBytes;
    if (this.#droppedSince === undefined && buffered <= maxBufferedBytes) return 'send';
    if (slowPeers === 'close' || this.#isHopeless(buffered)) {
      this.#peer.onTooSlow();
      return 'closed';
    }
    if (this.#droppedSince === undefined) {
      this.#droppedSince = new Map();
      this.#scheduleDrainCheck();
    }
    if (!this.#droppedSince.has(room)) this.#droppedSince.set(room, clock.now());
    return 'drop';
  }

  /** False: the peer was cut off, because it does not read at all. Notices are never dropped. */
  admitNotice(): boolean {
    if (!this.#isHopeless(this.#peer.bufferedBytes)) return true;
    this.#peer.onTooSlow();
    return false;
  }

  /** True while the peer misses messages of this room. */
  isDropping(room: string | undefined): boolean {
    if (this.#droppedSince !== undefined) this.#checkDrained();
    return this.#droppedSince?.has(room) === true;
  }

  /** The peer has left the room. */
  clear(room: string | undefined): void {
    if (this.#droppedSince?.delete(room) === true && this.#droppedSince.size === 0) this.stop();
  }

  stop(): void {
    this.#droppedSince = undefined;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #isHopeless(buffered: number): boolean {
    return buffered > MAX_BUFFER_FACTOR * this.#settings.maxBufferedBytes;
  }

  /** Without a timer, a peer in quiet rooms would not learn of the gap. */
  #scheduleDrainCheck(): void {
    const check = () => {
      this.#checkDrained();
      if (this.#droppedSince !== undefined) this.#scheduleDrainCheck();
    };
    this.#timer = this.#settings.clock.after(DRAIN_CHECK_INTERVAL, check, { keepAlive: false });
  }

  /** The peer has caught up once half of its buffer has drained. */
  #checkDrained(): void {
    const dropped = this.#droppedSince;
    const buffered = this.#peer.bufferedBytes;
    if (this.#isHopeless(buffered)) return this.#peer.onTooSlow();
    if (dropped === undefined || buffered > this.#settings.maxBufferedBytes / 2) return;
    this.stop();
    for (const [room, since] of dropped) this.#peer.onRecovered(room, since);
  }
}
