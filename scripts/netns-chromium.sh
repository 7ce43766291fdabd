#!/usr/bin/env bash
# Chromium on the far side of scripts/netns.sh, for a test driver that wants the path of one executable.
set -euo pipefail
exec "$(dirname "$0")/netns.sh" far "${CHROMIUM:-/usr/bin/chromium}" "$@"
