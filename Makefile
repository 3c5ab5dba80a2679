# builder: targets for people and for CI. `make` alone lists them.

export CGO_ENABLED = 0
BIN   := bin/builder
TOOLS := busybox-static debootstrap skopeo umoci buildah crun runc docker-registry uidmap xz-utils zstd bzip2 attr libcap2-bin strace python3 procps bsdutils git iproute2 openssh-client qemu-user-static
CHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
# State of tests and benchmarks: memory where there is some, since deleting many files on disk is slow.
SCRATCH := $(shell if [ -w /dev/shm ]; then echo /dev/shm/builder-$$(id -u); else echo $${TMPDIR:-/tmp}/builder-$$(id -u); fi)

.PHONY: help build demo toolbox test deps unit race lint diff bench fuzz golden examples clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

build: ## bin/builder
	go build -trimpath -ldflags '-s -w' -o $(BIN) ./cmd/builder

toolbox: ## the static shell that the examples' base image is made of
	cd examples/toolbox && go build -trimpath -ldflags '-s -w' -o bin/toolbox .

demo: build toolbox ## builds, caches and runs a multi-stage image; needs only Go and make
	sh examples/demo.sh $(CURDIR)/$(BIN)

deps: ## installs what the tests need (where there is apt-get and the right to use it)
	@if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		for t in $(TOOLS); do dpkg -s $$t >/dev/null 2>&1 || missing="$$missing $$t"; done; \
		if [ -n "$$missing" ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; fi; \
	fi

test: deps build toolbox lint ## everything: static checks, unit, conformance and script tests
	@mkdir -p $(SCRATCH)
	TMPDIR=$(SCRATCH) go test -timeout 14m ./...
	cd examples/toolbox && TMPDIR=$(SCRATCH) go test ./...
	@rm -rf $(SCRATCH)

race: ## all tests under the race detector
	@mkdir -p $(SCRATCH)
	TMPDIR=$(SCRATCH) CGO_ENABLED=1 go test -race -timeout 20m ./...

lint: ## gofmt, vet, staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	go run $(CHECK) ./...

diff: build ## holds every recipe of testdata/recipes against BuildKit
	cd oracle && go run ./cmd/diff -builder $(CURDIR)/$(BIN) $(DIFF)

bench: build ## measures what users wait for; see docs/performance.md
	go run ./internal/bench -builder $(CURDIR)/$(BIN) $(BENCH)

fuzz: ## each fuzz target for a minute
	@for p in $$(grep -rl 'func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u); do \
		for f in $$(grep -ho 'func Fuzz[A-Za-z]*' $$p/*_test.go | cut -c6-); do go test -run '^$$' -fuzz "^$$f\$$" -fuzztime 60s $$p || exit 1; done; done

golden: ## rewrites golden files; look at git diff afterwards
	go test ./parser ./planner ./internal/cli ./cmd/builder -update

clean: ## removes what make made
	rm -rf bin examples/toolbox/bin
