import { serveTabs } from 'rollcall/shared-worker';

serveTabs();
