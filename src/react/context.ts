import {
  type Context,
  createContext,
  createElement,
  type ReactElement,
  type ReactNode,
  useContext,
} from 'react';
import type { Client, EventMap } from '../client/index.js';
import { ClientRegistry } from './registry.js';

/** The client of the components below a {@link RollcallProvider}; undefined where there is none. */
export const RollcallContext: Context<Client | null | undefined> = createContext<Client | null | undefined>(
  undefined,
);

/** A client with any event map. */
export type AnyClient = Omit<Client, 'events'>;

/** Props of {@link RollcallProvider}. */
export interface RollcallProviderProps {
  /** The application closes it. Null on the server: the hooks return their initial state. */
  readonly client: AnyClient | null;
  /** The components that use the client. */
  readonly children?: ReactNode;
}

/** Provides a client to the hooks of all components below. */
export function RollcallProvider({ client, children }: RollcallProviderProps): ReactElement {
  return createElement(RollcallContext.Provider, { value: client as Client | null }, children);
}

/**
 * The client of the nearest {@link RollcallProvider}. `E`: the events sent to the user, by name.
 *
 * @throws {Error} Without a {@link RollcallProvider}, or where its client is null.
 */
export function useRollcall<E extends object = EventMap>(): Client<E> {
  const client = useClient();
  if (client) return client as unknown as Client<E>;
  throw new Error('rollcall/react: the client of <RollcallProvider> is null here');
}

/**
 * Undefined where the client is null.
 *
 * @throws {Error} Without a {@link RollcallProvider}.
 */
export function useRegistry(): ClientRegistry | undefined {
  const client = useClient();
  return client ? ClientRegistry.of(client) : undefined;
}

function useClient(): Client | null {
  const client = useContext(RollcallContext);
  if (client !== undefined) return client;
  throw new Error(
    'rollcall/react: put <RollcallProvider client={…}> around the components that use its hooks',
  );
}
