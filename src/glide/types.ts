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
   * In ms, at least 10. GLIDE reports neither a broken connection nor that it has subscribed again, so the driver asks
   * for the ids of its connections this often. A gap in the subscriptions is reported up to this much later. @default 1000
   */
  checkInterval?: number;
}
