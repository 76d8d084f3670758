// The tests that docs/testing.md shows, run as they stand.
import '../../examples/testing/driver.test.js';
import '../../examples/testing/server.test.js';
