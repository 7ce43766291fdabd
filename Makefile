# Two commands matter: `make run` shows the whole of Hewei with made-up cameras and people, `make test` says whether a
# change may land. Both install what they need (Debian 12; Rust and Node must be there).

CARGO ?= cargo
NPM   ?= npm --prefix web

web_sources := $(shell find web -name node_modules -prune -o -name dist -prune -o -name e2e -prune -o -type f -print)

.PHONY: run test build lint fmt generate bench netsim netsim-janus clean

run: build
	target/release/hewei demo

build:
	scripts/install.sh run
	$(MAKE) --no-print-directory web/dist/index.html
	$(CARGO) build --locked --release --package hewei

test:
	scripts/test.sh

lint: web/dist/index.html
	shellcheck scripts/*.sh .ci/run
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(NPM) run check

fmt:
	$(CARGO) fmt --all

# The browser's types come from the Rust types, by way of the OpenAPI document; all three are committed together.
generate: web/dist/index.html
	$(CARGO) run --locked --package hewei -- openapi >target/openapi.json
	mv target/openapi.json web/openapi.json
	$(NPM) run generate

bench: web/dist/index.html
	$(CARGO) run --locked --release --package hewei-benches

# Calls over bad lines, measured in Chromium: writes docs/netsim.md. NETSIM_SEED takes other chances.
netsim: web/dist/index.html
	scripts/install.sh test
	$(CARGO) build --locked --package hewei --package hewei-netsim
	NETNS_LINK=none scripts/netns.sh $(NPM) run netsim

# Some of them over Janus VideoRoom too, beside ours: writes docs/netsim-janus.md.
netsim-janus: web/dist/index.html
	scripts/install.sh janus
	$(CARGO) build --locked --package hewei --package hewei-netsim
	NETNS_LINK=none scripts/netns.sh $(NPM) run netsim:janus

clean:
	$(CARGO) clean
	rm -rf web/dist web/node_modules

web/node_modules/.installed: web/package.json web/package-lock.json
	$(NPM) ci --no-audit --no-fund
	touch $@

# Built into the binary, so it comes before every build of Rust.
web/dist/index.html: web/node_modules/.installed $(web_sources)
	$(NPM) run build
	touch $@
