/** Scripts are read as text by the bundler and by the test runner. */
declare module '*.lua' {
  const source: string;
  export default source;
}
