// Runs the tests that docs/testing.md shows.
import '../../examples/testing/driver.test.js';
import '../../examples/testing/server.test.js';
