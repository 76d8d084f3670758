import type { JoinReply, ServerFrame } from '../protocol/frames.js';
import type { ClientError } from './client-error.js';
import { createReconciler, type ReconcileRequest, type Reconciler } from './reconciler.js';
import type { ReconnectingSocket } from './reconnecting-socket.js';
import type { RequestQueue } from './request-queue.js';
import { type ClientRoom, createRoom } from './room.js';
import type { ClientJoinOptions, Room } from './types.js';

interface RoomSlot {
  readonly reconciler: Reconciler;
  desired?: ClientRoom | undefined;
  /** A join was sent on this connection, and no leave since. */
  actual?: ClientRoom | undefined;
  /** The join asked for members, or for their number. */
  members?: ClientJoinOptions['members'];
  readonly leaving: (() => void)[];
}

export type RoomRegistry = ReturnType<typeof createRoomRegistry>;

/**
 * Each name has at most one request in flight, so that a quick leave and join keep their order. Events between
 * them belong to neither room.
 */
export function createRoomRegistry(socket: ReconnectingSocket, queue: RequestQueue) {
  const slots = new Map<string, RoomSlot>();

  const slotOf = (name: string): RoomSlot => {
    const known = slots.get(name);
    if (known) return known;
    const slot: RoomSlot = {
      reconciler: createReconciler(socket, () => nextRequest(name, slot)),
      leaving: [],
    };
    slots.set(name, slot);
    return slot;
  };

  const leave = (name: string, room: ClientRoom, joined: Room): Promise<void> => {
    const slot = slotOf(name);
    if (room.joins.delete(joined) && !room.joins.size) {
      if (slot.desired === room) slot.desired = undefined;
      room.onClosed();
    }
    // The other joins may need less of the members.
    slot.reconciler.reconcile();
    return new Promise((resolve) => {
      if (slot.desired === room || slot.actual !== room) resolve();
      else slot.leaving.push(resolve);
    });
  };

  const retry = (name: string, room: ClientRoom): void => {
    const slot = slotOf(name);
    if (room.room.state !== 'refused' || slot.desired) return;
    slot.desired = room;
    room.onRetry();
    slot.reconciler.reconcile();
  };

  const nextRequest = (name: string, slot: RoomSlot): ReconcileRequest | undefined => {
    const { desired, actual } = slot;
    if (actual && actual !== desired) {
      return { frame: { type: 'leave', room: name }, onReply: () => markLeft(slot) };
    }
    if (!desired) {
      slots.delete(name);
      return;
    }
    const { members } = desired;
    if (!actual) {
      slot.actual = desired;
      slot.members = members;
      return {
        frame: desired.joinFrame(),
        onRetry() {
          slot.actual = undefined;
        },
        onReply(error, reply) {
          if (error) return refuse(slot, error);
          socket.refreshLater(reply as JoinReply | undefined);
          if (slot.desired === desired) desired.onJoined(reply as JoinReply | undefined);
        },
      };
    }
    if (members === slot.members) return;
    // Joining again keeps the position.
    return {
      frame: { type: 'join', room: name, members },
      onReply(error) {
        slot.members = members;
        if (error) socket.report(error);
      },
    };
  };

  /** The server does not let this socket in, or has put it out. */
  const refuse = (slot: RoomSlot, error: ClientError): void => {
    const { desired, actual } = slot;
    slot.actual = undefined;
    if (desired !== actual) return;
    slot.desired = undefined;
    desired?.onClosed(error);
    socket.report(error);
  };

  const markLeft = (slot: RoomSlot): void => {
    slot.reconciler.clear();
    slot.actual = undefined;
    for (const resolve of slot.leaving.splice(0)) resolve();
  };

  const close = (): void => {
    for (const slot of slots.values()) {
      const room = slot.desired;
      slot.desired = undefined;
      markLeft(slot);
      room?.onClosed();
    }
    slots.clear();
  };

  return {
    join(name: string, options: ClientJoinOptions): Room {
      const slot = slotOf(name);
      const known = slot.desired;
      if (options.info !== undefined) {
        known?.room.update(options.info).catch((error: ClientError) => {
          // Of the others no caller knows; that the room was left, all do.
          if (error.code !== 'CLOSED') socket.report(error);
        });
      }
      const room: ClientRoom = known ?? createRoom(name, options, socket, queue, () => retry(name, room));
      // One per join, so that `leave` ends what this join asked for.
      const joined = { __proto__: room.room, leave: () => leave(name, room, joined) } as unknown as Room;
      room.joins.set(joined, options.members);
      slot.desired = room;
      if (socket.state() === 'closed') close();
      else slot.reconciler.reconcile();
      return joined;
    },
    receive(name: string, frame: ServerFrame): void {
      const slot = slots.get(name);
      // While a leave is in flight, frames belong to the room that was left.
      if (slot?.desired === slot?.actual) slot?.desired?.receive(frame);
    },
    onError(error: ClientError, name = ''): void {
      refuse(slotOf(name), error);
    },
    onLost(lostAt: number): void {
      for (const [name, slot] of slots) {
        markLeft(slot);
        if (slot.desired) slot.desired.onLost(lostAt);
        else slots.delete(name);
      }
    },
    onOpen(): void {
      for (const { reconciler } of slots.values()) reconciler.reconcile();
    },
    close,
  };
}
