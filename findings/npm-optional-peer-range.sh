#!/usr/bin/env bash
# npm refuses to install a package whose *optional* peer is in the project with a version outside the peer's range.
#
# Versions: npm 11.19.1, Node 20.20; unstorage 1.17.6 (optional peer `ioredis: ^5.4.2`), ioredis 4.28.5 and 5.11.1.
# "Optional" means only that npm does not install the peer by itself. Where the project already has the peer in another major, npm
# stops with ERESOLVE, although the package may never import it. A library with many optional peers is therefore not installable
# in projects that use any one of them in an older version for something else. Ranges of optional peers are better left open and
# checked when the peer is used.
#
# Output seen:
#   beside ioredis 5.11.1: installed
#   beside ioredis 4.28.5: ERESOLVE
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
try() {
  mkdir "$1"; cd "$1"; npm init -y >/dev/null
  npm install --silent --no-audit --no-fund "ioredis@$1"
  local log; log=$(npm install --no-audit --no-fund unstorage@1.17.6 2>&1) && echo "beside ioredis $1: installed" ||
    echo "beside ioredis $1: $(grep -om1 ERESOLVE <<<"$log")"
  cd ..
}
got=$(try 5.11.1; try 4.28.5)
echo "$got"
[[ $got == $'beside ioredis 5.11.1: installed\nbeside ioredis 4.28.5: ERESOLVE' ]] || { echo 'the behaviour has changed' >&2; exit 1; }
