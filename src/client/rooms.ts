import type { JoinReply, ServerFrame } from '../protocol/frames.js';
import { Errand, type Step } from './errand.js';
import type { Line } from './line.js';
import type { Outbox } from './outbox.js';
import { JoinedRoom } from './room.js';
import type { JoinOptions } from './types.js';

/** What is wanted of a room's name, and how it stands on this connection. */
interface Seat {
  readonly name: string;
  readonly errand: Errand;
  /** Who should be in. */
  wanted?: JoinedRoom | undefined;
  /** For whom the server was asked to let the user in, and was not yet asked to let him out. */
  inside?: JoinedRoom | undefined;
  /** The server has been asked for members. */
  members: boolean;
  /** To be called when the user is out. */
  readonly leaving: (() => void)[];
}

/**
 * The rooms, by name. Of each name at most one request is under way, so that a quick leave and join can't overtake
 * each other, and what is said between them is nobody's.
 */
export class Rooms {
  readonly #line: Line;
  readonly #outbox: Outbox;
  readonly #seats = new Map<string, Seat>();

  constructor(line: Line, outbox: Outbox) {
    this.#line = line;
    this.#outbox = outbox;
  }

  join(name: string, options: JoinOptions): JoinedRoom {
    const seat = this.#seatOf(name);
    if (seat.wanted) {
      // One more holder of it.
      const { info, members } = options;
      seat.wanted.holders++;
      if (info !== undefined) seat.wanted.update(info).catch(() => {});
      seat.wanted.wantsMembers ||= members === true;
      seat.errand.run();
      return seat.wanted;
    }
    const room: JoinedRoom = new JoinedRoom(name, options, this.#line, this.#outbox, () =>
      this.#leave(seat, room),
    );
    seat.wanted = room;
    if (this.#line.state === 'closed') this.close();
    else seat.errand.run();
    return room;
  }

  receive(name: string, frame: ServerFrame): void {
    const seat = this.#seats.get(name);
    // What comes for a membership that is on its way out has nobody to hear it.
    if (seat?.wanted && seat.wanted === seat.inside) seat.wanted.receive(frame);
  }

  /** The connection is gone, last heard at `lostAt`. */
  broken(lostAt: number): void {
    for (const seat of this.#seats.values()) {
      seat.errand.stop();
      this.#out(seat);
      seat.wanted?.suspend(lostAt);
      if (!seat.wanted) this.#seats.delete(seat.name);
    }
  }

  /** There is a connection. */
  open(): void {
    for (const { errand } of this.#seats.values()) errand.run();
  }

  close(): void {
    for (const seat of this.#seats.values()) {
      const room = seat.wanted;
      seat.wanted = undefined;
      seat.errand.stop();
      this.#out(seat);
      room?.end();
    }
    this.#seats.clear();
  }

  #seatOf(name: string): Seat {
    const known = this.#seats.get(name);
    if (known) return known;
    const errand = new Errand(this.#line, () => this.#next(seat));
    const seat: Seat = { name, errand, members: false, leaving: [] };
    this.#seats.set(name, seat);
    return seat;
  }

  #leave(seat: Seat, room: JoinedRoom): Promise<void> {
    if (seat.wanted === room && --room.holders === 0) {
      seat.wanted = undefined;
      room.end();
      seat.errand.run();
    }
    return new Promise((resolve) => {
      if (seat.wanted === room || seat.inside !== room) resolve();
      else seat.leaving.push(resolve);
    });
  }

  /** What the server has to be told next about this name. */
  #next(seat: Seat): Step | undefined {
    const { wanted, inside, name: room } = seat;
    if (inside && inside !== wanted) return { frame: { type: 'leave', room }, done: () => this.#out(seat) };
    if (!wanted) {
      if (this.#seats.get(room) === seat) this.#seats.delete(room);
      return;
    }
    const { wantsMembers } = wanted;
    if (inside && wantsMembers !== seat.members) {
      // Whoever joins again stays where he is, and gets what he has not asked for before.
      return {
        frame: { type: 'join', room, members: true },
        done: (error) => {
          seat.members = true;
          if (error) this.#line.report(error);
        },
      };
    }
    if (inside) return;
    seat.inside = wanted;
    seat.members = wantsMembers;
    return {
      frame: wanted.ask(),
      later: () => {
        seat.inside = undefined;
      },
      done: (error, answer) => {
        if (error) seat.inside = undefined;
        if (seat.wanted !== wanted) return;
        if (!error) return wanted.enter(answer as JoinReply | undefined);
        seat.wanted = undefined;
        wanted.end(error);
        this.#line.report(error);
      },
    };
  }

  /** On this connection the user is not in. */
  #out(seat: Seat): void {
    seat.inside = undefined;
    for (const resolve of seat.leaving.splice(0)) resolve();
  }
}
