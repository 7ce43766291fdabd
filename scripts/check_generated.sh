#!/usr/bin/env bash
# The OpenAPI document and the browser's types, as committed, are what the Rust types generate.
# Leaves the fresh ones in the tree when they differ, so that they only need to be looked at and committed.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly document=web/openapi.json
readonly types=web/src/lib/api/schema.d.ts

before=$(sha256sum "$document" "$types")
target/debug/hewei openapi >target/openapi.json
cp target/openapi.json "$document"
npm --prefix web run --silent generate
if [[ "$(sha256sum "$document" "$types")" != "$before" ]]; then
  git --no-pager diff --stat -- "$document" "$types"
  echo "$document or $types is not what the Rust types generate: run 'make generate' and commit them" >&2
  exit 1
fi
