#!/usr/bin/env bash
# Installs what Debian 12 must have to build Hewei and run its demo (`run`), to test it as well (`test`), and to measure
# another server beside it (`janus`).
# Rust and Node come from the developer, everything else from here. Safe to repeat; quick when nothing is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly usage='usage: scripts/install.sh [run|test|janus]'
readonly venv=target/venv
readonly requirements=scripts/requirements-test.txt

# The C parts of ring and SQLite.
build_packages=(gcc libc6-dev make pkg-config)

# The cameras and the robots of the demo, a Chinese face for the words in their pictures, and a Mandarin voice.
demo_packages=(
  python3 python3-gi python3-gi-cairo gir1.2-gst-rtsp-server-1.0 gir1.2-pango-1.0 fonts-noto-cjk espeak-ng
  gstreamer1.0-tools gstreamer1.0-x gstreamer1.0-libav
  gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
)

# A browser, a foreign WebRTC client (from PyPI, in a venv), a judge of media files, a second network, a linter.
test_packages=(chromium ffmpeg openssl iproute2 nftables python3-venv python3-yaml shellcheck)

main() {
  case "${1:-run}" in
    run)
      need_toolchain
      install_packages "${build_packages[@]}" "${demo_packages[@]}"
      ;;
    test)
      need_toolchain
      need_lints
      install_packages "${build_packages[@]}" "${demo_packages[@]}" "${test_packages[@]}"
      install_python_packages
      ;;
    janus)
      scripts/install.sh test
      install_janus
      ;;
    *) fail "$usage" ;;
  esac
}

# Only `make netsim-janus` starts it, on a network of its own: the service that comes with the package, open to whoever
# reaches the machine, is masked before it is there.
install_janus() {
  if command -v janus >/dev/null; then
    return
  fi
  local unit=/etc/systemd/system/janus.service
  as_root mkdir -p "${unit%/*}"
  [[ -e "$unit" || -L "$unit" ]] || as_root ln -s /dev/null "$unit"
  install_packages janus || fail 'Debian gives no package janus: without it there is nothing to measure beside Hewei'
  command -v janus >/dev/null || fail 'the package janus is there, the program is not: install it again'
}

need_toolchain() {
  command -v cargo >/dev/null || fail 'cargo is missing: install Rust 1.95 or newer (rustup), then run this again'
  command -v npm >/dev/null || fail 'npm is missing: install Node.js 20.19 or newer, then run this again'
  node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a * 100 + b < 2019 ? 1 : 0)' ||
    fail "Node.js $(node --version) is too old: install 20.19 or newer, then run this again"
}

need_lints() {
  cargo clippy --version >/dev/null 2>&1 || fail "clippy is missing: run 'rustup component add clippy', then this again"
  cargo fmt --version >/dev/null 2>&1 || fail "rustfmt is missing: run 'rustup component add rustfmt', then this again"
}

install_packages() {
  command -v dpkg-query >/dev/null || fail "this is not Debian: install the counterparts of $* yourself"
  local missing=() package
  for package in "$@"; do
    is_installed "$package" || missing+=("$package")
  done
  if ((${#missing[@]} == 0)); then
    return
  fi
  echo "install: Debian packages ${missing[*]}"
  as_root apt-get update -qq
  as_root apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

is_installed() {
  [[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]
}

# Debian's own python3, whatever other Python is first on the path: python3-venv belongs to it.
install_python_packages() {
  if cmp -s "$requirements" "$venv/requirements.txt"; then
    return
  fi
  echo "install: Python packages of $requirements into $venv"
  /usr/bin/python3 -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --requirement "$requirements"
  cp "$requirements" "$venv/requirements.txt"
}

as_root() {
  if ((EUID == 0)); then
    DEBIAN_FRONTEND=noninteractive "$@"
  elif command -v sudo >/dev/null; then
    sudo DEBIAN_FRONTEND=noninteractive "$@"
  else
    fail "run this as root, or install sudo: it has to run '$*'"
  fi
}

fail() {
  echo "install: $*" >&2
  exit 1
}

main "$@"
