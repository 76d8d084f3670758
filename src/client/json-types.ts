/**
 * The type of `T` after JSON, for data that is received: a Date and other objects with `toJSON` become its result,
 * `undefined` and functions are left out of objects, and a Map or Set becomes an empty object.
 */
export type Jsonify<T> = unknown extends T
  ? T
  : T extends string | number | boolean | null
    ? T
    : T extends WithToJson<infer Json>
      ? Jsonify<Json>
      : T extends Omitted | bigint
        ? never
        : T extends ReadonlyMap<unknown, unknown> | ReadonlySet<unknown>
          ? Record<string, never>
          : T extends readonly unknown[]
            ? { [I in keyof T]: JsonifyElement<T[I]> }
            : JsonifyObject<T>;

interface WithToJson<Json> {
  toJSON(...args: never[]): Json;
}

/** Left out of objects; `null` in arrays. */
type Omitted = undefined | symbol | ((...args: never[]) => unknown);

type JsonifyElement<T> = unknown extends T ? T : T extends Omitted ? null : Jsonify<T>;

/** A property that may be undefined becomes optional. */
type JsonifyObject<T> = Flatten<
  {
    [K in keyof T as MayBeOmitted<T[K]> extends true ? never : JsonKey<K, T[K]>]: Jsonify<T[K]>;
  } & {
    [K in keyof T as MayBeOmitted<T[K]> extends true ? JsonKey<K, T[K]> : never]?: Jsonify<T[K]>;
  }
>;

type MayBeOmitted<T> = unknown extends T ? false : Extract<T, Omitted> extends never ? false : true;

/** Without symbol keys, and keys whose values are never in JSON. */
type JsonKey<K, T> = K extends symbol ? never : [T] extends [Omitted] ? never : K;

type Flatten<T> = { [K in keyof T]: T[K] };
