import * as React from 'react';

// Not by name: the missing export of an older React would be a link error that names no version.
const { useInsertionEffect, useSyncExternalStore } = React;

if (typeof useSyncExternalStore !== 'function' || typeof useInsertionEffect !== 'function')
  throw new Error(`rollcall/react needs React 18 or later; React ${React.version} is installed`);

/** The hooks that React has since version 18. */
export { useInsertionEffect, useSyncExternalStore };
