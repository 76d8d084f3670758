import type { JoinReply, ServerFrame } from '../protocol/frames.js';
import { type ReconcileRequest, Reconciler } from './reconciler.js';
import type { ReconnectingSocket } from './reconnecting-socket.js';
import type { RequestQueue } from './request-queue.js';
import { ClientRoom } from './room.js';
import type { JoinOptions } from './types.js';

/** What is wanted of a room's name, and how it stands on this connection. */
interface RoomSlot {
  readonly name: string;
  readonly errand: Reconciler;
  /** Who should be in. */
  desired?: ClientRoom | undefined;
  /** For whom the server was asked to let the user in, and was not yet asked to let him out. */
  actual?: ClientRoom | undefined;
  /** The server has been asked for members. */
  members: boolean;
  /** To be called when the user is out. */
  readonly leaveWaiters: (() => void)[];
}

/**
 * The rooms, by name. Of each name at most one request is under way, so that a quick leave and join can't overtake
 * each other, and what is said between them is nobody's.
 */
export class RoomRegistry {
  readonly #line: ReconnectingSocket;
  readonly #outbox: RequestQueue;
  readonly #seats = new Map<string, RoomSlot>();

  constructor(line: ReconnectingSocket, outbox: RequestQueue) {
    this.#line = line;
    this.#outbox = outbox;
  }

  join(name: string, options: JoinOptions): ClientRoom {
    const seat = this.#seatOf(name);
    if (seat.desired) {
      // One more holder of it.
      const { info, members } = options;
      seat.desired.joinCount++;
      if (info !== undefined) seat.desired.update(info).catch(() => {});
      seat.desired.wantsMembers ||= members === true;
      seat.errand.reconcile();
      return seat.desired;
    }
    const room: ClientRoom = new ClientRoom(name, options, this.#line, this.#outbox, () =>
      this.#leave(seat, room),
    );
    seat.desired = room;
    if (this.#line.state === 'closed') this.close();
    else seat.errand.reconcile();
    return room;
  }

  receive(name: string, frame: ServerFrame): void {
    const seat = this.#seats.get(name);
    // What comes for a membership that is on its way out has nobody to hear it.
    if (seat?.desired && seat.desired === seat.actual) seat.desired.receive(frame);
  }

  /** The connection is gone, last heard at `lostAt`. */
  onConnectionLost(lostAt: number): void {
    for (const seat of this.#seats.values()) {
      seat.errand.stop();
      this.#markLeft(seat);
      seat.desired?.onConnectionLost(lostAt);
      if (!seat.desired) this.#seats.delete(seat.name);
    }
  }

  /** There is a connection. */
  onOpen(): void {
    for (const { errand } of this.#seats.values()) errand.reconcile();
  }

  close(): void {
    for (const seat of this.#seats.values()) {
      const room = seat.desired;
      seat.desired = undefined;
      seat.errand.stop();
      this.#markLeft(seat);
      room?.onClosed();
    }
    this.#seats.clear();
  }

  #seatOf(name: string): RoomSlot {
    const known = this.#seats.get(name);
    if (known) return known;
    const errand = new Reconciler(this.#line, () => this.#nextRequest(seat));
    const seat: RoomSlot = { name, errand, members: false, leaveWaiters: [] };
    this.#seats.set(name, seat);
    return seat;
  }

  #leave(seat: RoomSlot, room: ClientRoom): Promise<void> {
    if (seat.desired === room && --room.joinCount === 0) {
      seat.desired = undefined;
      room.onClosed();
      seat.errand.reconcile();
    }
    return new Promise((resolve) => {
      if (seat.desired === room || seat.actual !== room) resolve();
      else seat.leaveWaiters.push(resolve);
    });
  }

  /** What the server has to be told next about this name. */
  #nextRequest(seat: RoomSlot): ReconcileRequest | undefined {
    const { desired: wanted, actual: inside, name: room } = seat;
    if (inside && inside !== wanted)
      return { frame: { type: 'leave', room }, onReply: () => this.#markLeft(seat) };
    if (!wanted) {
      if (this.#seats.get(room) === seat) this.#seats.delete(room);
      return;
    }
    const { wantsMembers } = wanted;
    if (inside && wantsMembers !== seat.members) {
      // Whoever joins again stays where he is, and gets what he has not asked for before.
      return {
        frame: { type: 'join', room, members: true },
        onReply: (error) => {
          seat.members = true;
          if (error) this.#line.report(error);
        },
      };
    }
    if (inside) return;
    seat.actual = wanted;
    seat.members = wantsMembers;
    return {
      frame: wanted.createJoinFrame(),
      onRetryLater: () => {
        seat.actual = undefined;
      },
      onReply: (error, answer) => {
        if (error) seat.actual = undefined;
        if (seat.desired !== wanted) return;
        if (!error) return wanted.onJoined(answer as JoinReply | undefined);
        seat.desired = undefined;
        wanted.onClosed(error);
        this.#line.report(error);
      },
    };
  }

  /** On this connection the user is not in. */
  #markLeft(seat: RoomSlot): void {
    seat.actual = undefined;
    for (const resolve of seat.leaveWaiters.splice(0)) resolve();
  }
}
