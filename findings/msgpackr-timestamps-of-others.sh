#!/usr/bin/env bash
# msgpackr reads timestamps in milliseconds that other MessagePack libraries wrote as BigInts, and those it wrote itself as numbers.
#
# Versions: msgpackr 1.12.1 and 2.1.4, @msgpack/msgpack 3.1.3, notepack.io 3.0.1; Node 20.20.
# `Date.now()` does not fit into 32 bits. msgpackr writes such integers as floats; the others, as most libraries in other languages,
# write 64-bit integers, which msgpackr reads as BigInts, however small they are. So a round trip through msgpackr proves nothing about
# messages of others: `Date.now() - message.at` throws a TypeError, and so does JSON.stringify. `int64AsType: 'auto'` reads numbers where
# they are exact. Socket.IO's Redis adapters and emitters write with notepack.io or @msgpack/msgpack.
#
# Output seen:
#   written by msgpackr2: msgpackr1 number, msgpackr2 number, @msgpack/msgpack number, notepack.io number
#   written by @msgpack/msgpack: msgpackr1 bigint, msgpackr2 bigint, @msgpack/msgpack number, notepack.io number
#   written by notepack.io: msgpackr1 bigint, msgpackr2 bigint, @msgpack/msgpack number, notepack.io number
#   msgpackr2 with int64AsType auto: number
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund msgpackr1@npm:msgpackr@1.12.1 msgpackr2@npm:msgpackr@2.1.4 @msgpack/msgpack@3.1.3 notepack.io@3.0.1
cat >run.mjs <<'JS'
import { decode, encode } from '@msgpack/msgpack';
import { unpack as unpack1 } from 'msgpackr1';
import { pack, Unpackr, unpack as unpack2 } from 'msgpackr2';
import notepack from 'notepack.io';
const message = { at: 1_764_364_743_000 };
const writers = { msgpackr2: pack, '@msgpack/msgpack': (value) => Buffer.from(encode(value)), 'notepack.io': notepack.encode };
const readers = { msgpackr1: unpack1, msgpackr2: unpack2, '@msgpack/msgpack': decode, 'notepack.io': notepack.decode };
for (const [writer, write] of Object.entries(writers)) {
  const seen = Object.entries(readers).map(([reader, read]) => `${reader} ${typeof read(write(message)).at}`);
  console.log(`written by ${writer}: ${seen.join(', ')}`);
}
const { at } = new Unpackr({ int64AsType: 'auto', useRecords: false }).unpack(notepack.encode(message));
console.log(`msgpackr2 with int64AsType auto: ${typeof at}`);
JS
got=$(timeout 30 node run.mjs)
echo "$got"
expected='written by msgpackr2: msgpackr1 number, msgpackr2 number, @msgpack/msgpack number, notepack.io number
written by @msgpack/msgpack: msgpackr1 bigint, msgpackr2 bigint, @msgpack/msgpack number, notepack.io number
written by notepack.io: msgpackr1 bigint, msgpackr2 bigint, @msgpack/msgpack number, notepack.io number
msgpackr2 with int64AsType auto: number'
[[ $got == "$expected" ]] || { echo 'the behaviour has changed' >&2; exit 1; }
