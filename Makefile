# The commands of this repository; `make` without a target lists them.
#
#   make run                       a demo cluster of three members, and the proxy in front
#   make run PEERS=infra0=http://10.0.1.10:2380,...      the proxy in front of that cluster
#   make test TESTS=failover       only the tests whose names contain `failover`
#   make bench-fleet ARGS='--etcd 3.5 --proxies 20'      a part of the fleet bench

CARGO ?= cargo
PEERS ?=
TESTS ?=
ARGS ?=

.PHONY: help run build test fmt clippy unit it etcd generations system machine deny generate deb rpm bench bench-fleet clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## start three etcd members and the proxy on 127.0.0.1:2379; Ctrl-C removes all (PEERS=... for your own cluster)
	@$(if $(PEERS),,CI= tests/etcd/provision 3.4)
	$(CARGO) build --locked --profile demo
	@PEERS='$(PEERS)' exec tests/run/demo

build: ## build the release binary, target/release/etcd-proxy
	@CARGO='$(CARGO)' packaging/compile

test: fmt clippy unit it etcd system ## run everything: format, lints, unit tests, scripted members, real etcd, booted systemd

fmt: ## check the format, where rustfmt is installed
	@if $(CARGO) fmt --version >/dev/null 2>&1; then $(CARGO) fmt --check; else echo "format: skipped, rustfmt is not installed"; fi

clippy: ## lint, warnings are errors, where clippy is installed
	@if $(CARGO) clippy --version >/dev/null 2>&1; then $(CARGO) clippy --locked --all-targets -- -D warnings; \
	else echo "lints: skipped, clippy is not installed"; fi

unit: ## unit and documentation tests
	$(CARGO) test --locked --lib --bins $(TESTS)
	$(CARGO) test --locked --doc $(TESTS)

it: ## tests against scripted members
	$(CARGO) test --locked --test it $(TESTS)

etcd: generations ## tests against real etcd: 3.4, 3.5, 3.6 and 3.7
	$(CARGO) test --locked --test etcd $(TESTS)

generations: ## install or build the etcd generations that the tests need
	@tests/etcd/provision
	@tests/etcd/provision-discovery

system: machine ## tests of the packages on a booted systemd (root)
	$(CARGO) test --locked --test system $(TESTS)

machine: build ## make the Debian that the tests boot, and the packages they install
	@tests/system/provision

deny: ## check licences, duplicates and advisories of the libraries, where cargo-deny is installed
	@if ! $(CARGO) deny --version >/dev/null 2>&1; then echo "deny: skipped, cargo-deny is not installed"; exit 0; fi; set -e; \
	$(CARGO) deny --locked check licenses bans sources; \
	if $(CARGO) deny fetch db >/dev/null 2>&1; then $(CARGO) deny --locked check advisories; \
	else echo "advisories: skipped, their database cannot be fetched"; fi

generate: ## write man pages, completions, references and the full example from the code's tables
	$(CARGO) run --locked --quiet --example generate

rpm: build ## build the RPM package, target/package/*.rpm
	@packaging/rpm/build

deb: build ## build the Debian package, target/package/*.deb
	@packaging/deb/build

bench: build ## compare with HAProxy, nginx, Envoy and etcd's own proxies
	@tests/bench/run

bench-fleet: build ## measure what 20, 100 and 200 proxies cost a real cluster (ARGS=..., see tests/bench/README.md)
	@CI= tests/etcd/provision 3.4 3.5 3.7
	@tests/bench/fleet $(ARGS)

clean: ## remove everything that was built
	$(CARGO) clean
