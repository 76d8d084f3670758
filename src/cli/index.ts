// The program `rollcall`. Nothing imports it: package.json names its build as `bin`.
import process from 'node:process';
import { main } from './main.js';

// `rollcall tail news | head` closes the pipe.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

process.exitCode = await main(process.argv.slice(2));
// A connection attempt that was given up may live on for seconds.
setTimeout(() => process.exit(), 500).unref();
