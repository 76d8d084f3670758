import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { applicationNeeds, applicationRules, readOnlyRules } from '../../../src/cli/acl-rules.js';

const read = (name: string) => readFileSync(new URL(`../../../docs/${name}`, import.meta.url), 'utf8');

test('`rollcall doctor --acl` prints the rules of docs/topologies.md', () => {
  const rules = applicationRules({ user: 'app', prefix: 'rollcall', channels: ['news:*'] });
  const blocks = [...read('topologies.md').matchAll(/```redis\n(ACL [\s\S]*?)\n```/g)].map(([, text = '']) =>
    text.split('\n'),
  );
  expect(Object.values(rules)).toEqual(blocks);
});

test('docs/cli.md shows the read-only rules', () => {
  const channels = ['room:*', 'user:*'];
  const rules = readOnlyRules({ user: 'rollcall-read', prefix: 'rollcall', channels });
  expect(read('cli.md')).toContain(rules.join('\n'));
});

test('every command of the rules is checked, except those that a transaction cannot queue', () => {
  const { always, onCluster } = applicationRules({ user: 'app', prefix: 'rollcall', channels: [] });
  const allowed = [...always, ...onCluster].join(' ').match(/\+\S+/g) ?? [];
  const checked = applicationNeeds(
    { prefix: 'rollcall', channels: [] },
    { cluster: true, sharded: true },
  ).flatMap(({ rule }) => (rule.startsWith('+') ? [rule] : []));
  expect(allowed.filter((rule) => !checked.includes(rule))).toEqual(['+multi', '+exec']);
});
