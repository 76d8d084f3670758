import { beforeEach, expect, test } from 'vitest';
import { RoomGraces } from '../../../src/presence/room-graces.js';

const isIn = new Set<string>();
let graces: RoomGraces;
beforeEach(() => {
  isIn.clear();
  graces = new RoomGraces({ isInRoom: (room) => isIn.has(room) }, 1);
});

const write = (room: string, more: object) =>
  graces.onWrite(0, { kind: 'room', room, user: 'ann', socket: 's', ...more });
const roomsNow = () => graces.nextPage(0)?.rooms ?? [];
/** Reads a page to its end. */
const look = (...graced: string[]) => {
  const page = graces.nextPage(0);
  if (page !== undefined) graces.onPageRead(0, page, page.rooms.length, '0', new Set(graced));
};

test('rooms without graces are never read', () => {
  write('lobby', { info: '"Ann"' });
  write('lobby', { grace: 0 });
  write('lobby', { owner: 'dead' });
  expect(graces.nextPage(0)).toBeUndefined();
});

test('a room stays while this process is in it or somebody is in their grace, and is looked at once more after that', () => {
  write('lobby', { info: '~5"null' });
  isIn.add('lobby');
  for (let count = 0; count < 5; count++) look();
  isIn.clear();
  for (let count = 0; count < 5; count++) look('lobby');
  expect(roomsNow()).toEqual(['lobby']);
  look();
  expect(roomsNow()).toEqual(['lobby']);
  look();
  expect(roomsNow()).toEqual([]);
});

test('a grace of a dead node that begins after the room was read is found the next time', () => {
  write('lobby', { owner: 'dead', grace: 0 });
  look();
  expect(roomsNow()).toEqual(['lobby']);
});

test('rooms take turns, and one that is read in parts goes on where it was', () => {
  for (let count = 0; count < 250; count++) write(`room-${count}`, { info: '~5"null' });
  for (let count = 0; count < 250; count++) isIn.add(`room-${count}`);
  const page = graces.nextPage(0);
  expect(page?.rooms).toHaveLength(200);
  graces.onPageRead(0, page as never, 3, '77', new Set());
  expect(graces.nextPage(0)).toMatchObject({ cursor: '77' });
  expect(roomsNow()[0]).toBe('room-3');
  for (let count = 0; count < 2; count++) look();
  expect(graces.nextPage(0)?.cursor).toBe('0');
});

test('a grace in the first part of a room counts, although its last part has none', () => {
  write('lobby', { owner: 'dead', grace: 0 });
  for (let count = 0; count < 4; count++) {
    const page = graces.nextPage(0);
    expect(page?.rooms).toEqual(['lobby']);
    graces.onPageRead(0, page as never, 0, '77', new Set(['lobby']));
    look();
  }
  expect(roomsNow()).toEqual(['lobby']);
});
