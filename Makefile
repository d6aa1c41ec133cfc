.DEFAULT_GOAL := help

# Arguments for make run and make demo, for instance ARGS="-port 9200".
ARGS ?=
# What make package and make build stamp: VERSION=v1.4.0, COMMIT=HASH. What is not
# given is what git says. Variables of these names in the environment do not count.
VERSION =
COMMIT =
# How long make fuzz stays with each fuzz test.
FUZZTIME ?= 10s

# Staticcheck and tflint are each pinned in a module of its own, so that the
# product's module graph does not carry theirs.
STATICCHECK = GOFLAGS="$$GOFLAGS -race" $$(go tool -n -modfile=.tools/go.mod staticcheck)
TFLINT := go tool -modfile=.tools/tflint/go.mod tflint
# Another has more rulesets, for instance; see the comment there.
TFLINT_CONFIG_FILE ?= $(CURDIR)/infra/.tflint.hcl
export TFLINT_CONFIG_FILE
# Vet and staticcheck look at what is compiled for the race detector, so that what
# the tests import is compiled once.
VET := go vet -race ./...
GO_FILES = $$(find . -name '*.go' -not -path '*/node_modules/*')
E2E := localdev/e2e

.PHONY: help run demo build package test tf-lint tf-test bench lint check fuzz e2e

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Built and not by go run, which leaves its program behind when it is ended.
run: dist/localdev ## Run all functions here, against stand-ins for the clouds
	@exec dist/localdev $(ARGS)

demo: dist/localdev ## Per cloud: a chat, plain and streamed, who signed it, and a rotation
	@exec dist/localdev demo $(ARGS)

.PHONY: dist/localdev
dist/localdev:
	go build -buildvcs=false -o $@ ./localdev

# As the functions are deployed. Lambda is cheaper on arm64; the other two
# platforms run amd64.
BUILD := CGO_ENABLED=0 GOOS=linux go build -trimpath -buildvcs=false -ldflags='-s -w' -overlay dist/stamp/overlay.json
PACK = go run ./localdev/pack -version '$(VERSION)' -commit '$(COMMIT)'

build: ## Build the functions for their platforms, into dist/
	$(PACK) -overlay dist/stamp
	GOARCH=arm64 $(BUILD) -tags lambda.norpc -o dist/aws/bootstrap ./functions/aws/gateway
	GOARCH=amd64 $(BUILD) -o dist/gcp/server ./functions/gcp/gateway/server
	GOARCH=amd64 $(BUILD) -o dist/azure/handler ./functions/azure/gateway
	cp -R functions/azure/gateway/host.json functions/azure/gateway/gateway dist/azure/
	GOARCH=arm64 $(BUILD) -tags lambda.norpc -o dist/aws-rotate/bootstrap ./functions/aws/rotate
	GOARCH=amd64 $(BUILD) -o dist/gcp-rotate/server ./functions/gcp/rotate/server
	GOARCH=amd64 $(BUILD) -o dist/azure-rotate/handler ./functions/azure/rotate
	cp -R functions/azure/rotate/host.json functions/azure/rotate/rotate functions/azure/rotate/nearexpiry functions/azure/rotate/operate dist/azure-rotate/

package: ## Zip the functions for infra, with checksums and SBOMs, into dist/package/
	$(PACK) -out dist/package

# What the race detector makes many times as slow. These do a part of it there.
WHOLE := ./localdev/pack ./shared/caller ./shared/rotation

test: e2e ## Vet, then all tests with the race detector
	$(VET)
	go test -vet=off -race -shuffle=on ./...
	CGO_ENABLED=0 go test -vet=off -shuffle=on $(WHOLE)

tf-lint: ## Lint the Terraform modules with tflint
	$(TFLINT) --chdir=infra --recursive

tf-test: tf-lint ## Lint, validate and test the Terraform modules; reaches no cloud
	infra/test.sh

# The end-to-end tests drive the gateways with the vendors' npm clients. They are
# part of the Go tests and run where node is installed.
e2e:
	@if command -v npm >/dev/null; then \
	  $(MAKE) -s --no-print-directory $(E2E)/node_modules/.package-lock.json; \
	else \
	  echo "node is not installed: the end-to-end tests with npm clients will not run"; \
	fi

$(E2E)/node_modules/.package-lock.json: $(E2E)/package-lock.json $(E2E)/package.json
	cd $(E2E) && npm ci
	@touch $@

bench: ## Cold start, CPU, memory, size, and a rotation under load
	go test -run '^$$' -bench . -timeout 30m ./localdev/bench
	go test -run '^$$' -bench . -benchmem -benchtime 0.3s ./functions/kit ./shared/...

fuzz: ## Every fuzz test for FUZZTIME (10s) each
	@set -e; for dir in $$(grep -rl --include='*_test.go' --exclude-dir=node_modules '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
	  for name in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' "$$dir"/*_test.go | cut -c6-); do \
	    echo "$$dir $$name"; \
	    go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$dir"; \
	  done; \
	done

lint: ## Formatting, vet and staticcheck
	@unformatted=$$(gofmt -l $(GO_FILES)); \
	if [ -n "$$unformatted" ]; then echo "not formatted with gofmt:"; echo "$$unformatted"; exit 1; fi
	$(VET)
	$(STATICCHECK) ./...

check: ## Regenerate, format, lint, test, and want a clean tree
	go generate ./...
	gofmt -w $(GO_FILES)
	$(MAKE) --no-print-directory lint test
	@changes=$$(git status --porcelain); \
	if [ -n "$$changes" ]; then echo "the tree is not clean:"; echo "$$changes"; exit 1; fi
