import type {
  GlideClient,
  GlideClientConfiguration,
  GlideClusterClient,
  GlideClusterClientConfiguration,
} from '@valkey/valkey-glide';

/** A client of one server or of a Cluster. */
export type GlideAnyClient = GlideClient | GlideClusterClient;

/** The configuration that a {@link GlideAnyClient} was created with. */
export type GlideConfiguration = GlideClientConfiguration | GlideClusterClientConfiguration;

/** Options of {@link createGlideDriver}. */
export interface GlideDriverOptions {
  /**
   * Interval in ms, at least 10, at which the driver asks for the ids of its connections, because GLIDE does not
   * report a broken connection. A gap in the subscriptions is reported up to this much later. @default 1000
   */
  checkInterval?: number;
}
