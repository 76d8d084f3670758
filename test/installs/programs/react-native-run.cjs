// Runs a bundle for React Native on Node. Arguments: the bundle, the server.
const { readFileSync } = require('node:fs');
const { runInThisContext } = require('node:vm');

globalThis.WebSocket = require('ws').WebSocket;
globalThis.rollcallServer = process.argv[3];
globalThis.rollcallDone = (result) => {
  console.log(result);
  process.exit(0);
};
globalThis.rollcallFailed = (error) => {
  console.error(error);
  process.exit(1);
};
setTimeout(() => globalThis.rollcallFailed(new Error('timed out')), 20_000);
runInThisContext(readFileSync(process.argv[2], 'utf8'));
