// Bundles with Metro. Arguments: the entry, the output, the platform, and whether Metro reads `exports` of packages.
const { mkdirSync } = require('node:fs');
const { dirname, join, resolve } = require('node:path');
const Metro = require('metro');

const [entry, out, platform, exportsMode] = process.argv.slice(2);

async function main() {
  mkdirSync(dirname(out), { recursive: true });
  const defaults = await Metro.loadConfig({ cwd: process.cwd() }, { projectRoot: process.cwd() });
  const config = {
    ...defaults,
    resetCache: true,
    resolver: {
      ...defaults.resolver,
      unstable_enablePackageExports: exportsMode === 'exports',
      // React Native's own conditions; a page has those of Metro for the web.
      unstable_conditionNames: platform === 'web' ? ['require', 'browser'] : ['require', 'react-native'],
    },
    transformer: {
      ...defaults.transformer,
      babelTransformerPath: require.resolve('@react-native/metro-babel-transformer'),
    },
  };
  await Metro.runBuild(config, {
    entry: resolve(entry),
    out: join(process.cwd(), out),
    platform,
    dev: false,
    minify: true,
  });
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
