import { serveTabs } from '/rollcall/shared-worker.min.js';

serveTabs();
