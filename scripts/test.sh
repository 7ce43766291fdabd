#!/usr/bin/env bash
# Everything that must hold before a change lands, in an order that fails early and compiles once: the browser's pages
# before Rust (they are built into the binary), clippy before the tests (they share what it compiles for the host), and
# the tests that want a running server last, on the binary that `cargo test` made.
# Stops at the first stage that fails; ends with a table of the stages and their minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

names=()
seconds=()
passed=0

main() {
  trap report EXIT
  stage 'install' scripts/install.sh test
  stage 'shell scripts' shellcheck scripts/*.sh .ci/run
  stage 'deployment' scripts/check_deploy.py
  stage 'rustfmt' cargo fmt --all --check
  stage 'web packages' make --no-print-directory web/node_modules/.installed
  stage 'web types' npm --prefix web run check
  stage 'web unit tests' npm --prefix web test
  stage 'web build' make --no-print-directory web/dist/index.html
  stage 'clippy' cargo clippy --locked --workspace --all-targets -- -D warnings
  stage 'compile' cargo test --locked --workspace --no-run
  stage 'generated types' scripts/check_generated.sh
  stage 'cargo test' cargo test --locked --workspace
  stage 'browser' npm --prefix web run e2e
  stage 'foreign client' target/venv/bin/python scripts/aiortc_test.py
  stage 'two networks' scripts/netns.sh npm --prefix web run e2e:netns
  stage 'a bad line' env NETNS_LINK=none scripts/netns.sh npm --prefix web run e2e:netsim
}

stage() {
  local started=$SECONDS
  names+=("$1")
  printf '\n== %s\n' "$1"
  shift
  "$@"
  seconds+=($((SECONDS - started)))
  passed=$((passed + 1))
}

report() {
  local status=$? index result
  printf '\n%-18s %8s\n' stage minutes
  for index in "${!names[@]}"; do
    result=$((index < passed ? seconds[index] : -1))
    if ((result < 0)); then
      printf '%-18s %8s\n' "${names[index]}" FAILED
    else
      printf '%-18s %5d:%02d\n' "${names[index]}" $((result / 60)) $((result % 60))
    fi
  done
  printf '%-18s %5d:%02d\n' total $((SECONDS / 60)) $((SECONDS % 60))
  printf 'stages: %d passed, %d failed\n' "$passed" $((${#names[@]} - passed))
  exit "$status"
}

main "$@"
