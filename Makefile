# `make` alone says what there is.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VERSION = $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GOLANGCI_LINT := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
# Runs a command with LOCALSTACK_ENDPOINT set, and stops afterwards what it started.
WITH_LOCALSTACK := localstack/localstack.sh with
FUZZTIME ?= 10s
# Modules of their own, for what the worker itself does not use.
MODULES := bench demoprovider/fositetest

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' \
		$(MAKEFILE_LIST)

##@ Running

.PHONY: build
build: ## build bin/tokenworker
	go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/tokenworker ./cmd/tokenworker

.PHONY: run
run: build ## build, show the whole story once, and stay up as a development server
	bin/tokenworker demo
	bin/tokenworker dev

.PHONY: localstack
localstack: ## start LocalStack (KMS, DynamoDB) and print its endpoint; LOCALSTACK_PORT asks for a port
	@localstack/localstack.sh start

.PHONY: localstack-stop
localstack-stop: ## stop it
	@localstack/localstack.sh stop

.PHONY: clean
clean: localstack-stop ## remove what was built, and LocalStack's state
	rm -rf bin localstack/.run

##@ Testing

# -count=1: a cached result says nothing about the servers that a test talks to.
.PHONY: test
test: ## run every test, with LocalStack around them unless LOCALSTACK_ENDPOINT is set
	@$(WITH_LOCALSTACK) go test -count=1 ./...
	@for module in $(MODULES); do go -C "$$module" test -count=1 ./...; done

.PHONY: race
race: ## the same with the race detector
	@$(WITH_LOCALSTACK) go test -count=1 -race ./...

.PHONY: fips
fips: ## the same with Go's FIPS 140 module
	@GODEBUG=fips140=on $(WITH_LOCALSTACK) go test -count=1 ./...

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (10s) each
	@go test -list '^Fuzz' ./... \
	| awk '/^Fuzz/ { targets[++n] = $$1 } /^ok/ { for (i = 1; i <= n; i++) print $$2, targets[i]; n = 0 }' \
	| while read -r package target; do \
		echo "$$package $$target"; \
		go test -run '^$$' -fuzz "^$$target$$" -fuzztime '$(FUZZTIME)' -fuzzminimizetime 100x "$$package"; \
	done

.PHONY: attack
attack: build ## try to break each promise; P=P1 picks one, N=1000 its size
	@$(WITH_LOCALSTACK) go run ./internal/attack $(if $(P),-p '$(P)') $(if $(N),-n '$(N)')

.PHONY: model
model: ## check the protocol's models, and that each of their rules is needed; FULL=1 checks larger sizes too
	@docs/model/check.sh

# One package at a time: benchmarks that share the cores would measure each other. bench/ is a module of its own, with
# the libraries that it compares with; its table comes last.
.PHONY: bench
bench: ## run every benchmark, and print the table of ratios to baselines
	@$(WITH_LOCALSTACK) bash -euc 'go test -run "^$$" -bench . -p 1 ./...; go -C bench run .'

##@ Code

.PHONY: lint
lint: fmt-check vet ## check formatting, vet and golangci-lint
	$(GOLANGCI_LINT) run

.PHONY: fmt
fmt: ## format every Go file
	$(GOLANGCI_LINT) fmt

.PHONY: fmt-check
fmt-check: ## name the Go files that are not formatted
	@files=$$(find . -name node_modules -prune -o -name '*.go' -print0 | xargs -0 gofmt -l); \
	[[ -z $$files ]] || { printf 'not formatted; run make fmt:\n%s\n' "$$files"; exit 1; }

.PHONY: vet
vet: ## go vet
	go vet ./...
	@for module in $(MODULES); do go -C "$$module" vet ./...; done
