# openimds. "make help" lists what can be made.

SHELL := bash
GO ?= go

# Version of the program: the nearest tag or the commit, where git can tell.
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# Go, npm and openimds itself keep their things below HOME. Without a HOME that can be written, all
# of it stays in the checkout. (-modcacherw: else only chmod could remove the checkout again.)
ifneq ($(shell [ -n "$$HOME" ] && [ -w "$$HOME" ] && echo yes),yes)
export XDG_CACHE_HOME ?= $(CURDIR)/.cache
export GOPATH ?= $(CURDIR)/.cache/go
export GOFLAGS += -modcacherw
export npm_config_cache ?= $(CURDIR)/.cache/npm
export OPENIMDS_DATA_DIR ?= $(CURDIR)/.openimds
endif

.PHONY: build run test bench lint fmt generate console soak help

build: ## build bin/openimds (default)
	@mkdir -p bin
	$(GO) build -trimpath -buildvcs=false -ldflags '-X main.release=$(VERSION)' -o bin/ ./cmd/openimds

run: build ## build and serve an instance called demo, until Ctrl-C
	@exec bin/openimds serve

test: ## all tests with the race detector, a few seconds of each fuzz target
	@.ci/test

bench: build ## figures beside a reference, in one run; docs/BENCHMARKS.md explains them
	@bench/run
	@$(GO) test ./api/ec2 -run '^$$' -bench . -benchtime 100x
	@$(GO) test ./usage/engine -run '^$$' -bench Day -benchtime 20x
	@OPENIMDS_TEST_FLEET_GUESTS=50 OPENIMDS_TEST_FLEET_CHANGES=250 OPENIMDS_TEST_FLEET_MOVES=50 OPENIMDS_TEST_FLEET_ANSWERS=1000000 \
		$(GO) test ./cmd/openimds -run '^TestFleetJudged$$' -count=1 -v -timeout 0

lint: ## formatting, vet, staticcheck, known vulnerabilities, modules, other platforms
	@.ci/lint

fmt: ## format all Go files
	@find . \( -name '.?*' -o -name node_modules \) -prune -o -name '*.go' -exec gofmt -l -w {} +

generate: ## make the generated documents and golden files again
	$(GO) generate ./...

console: ## bundle the console's page from console/web again; needs npm, and Go brings the bundler
	@cd console/web && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && node_modules/.bin/tsc && $(GO) run .

soak: ## an hour (SOAK=10m: shorter) of churn with figures that must stay flat; then the tests again and again
	@OPENIMDS_SOAK=$${SOAK:-1h} $(GO) test ./cmd/openimds -run '^TestSoak$$' -count=1 -v -timeout 0
	@OPENIMDS_TEST_FLEET_GUESTS=50 OPENIMDS_TEST_FLEET_ANSWERS=1000000 OPENIMDS_TEST_FLEET_AWAY=10m $(GO) test ./cmd/openimds -run '^TestFleetJudged$$' -count=1 -v -timeout 0
	@TIMEOUT=6h OPENIMDS_TEST_ROUNDS=200 COUNT=5 FUZZTIME=5m CYCLES=1000 RESTARTS=200 OPENIMDS_TEST_KILLS=1000 OPENIMDS_TEST_STATES=50000 OPENIMDS_TEST_PAIRS=100000 .ci/test

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18
