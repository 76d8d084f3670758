import { testHooks } from './react-suite.js';

testHooks(19);
