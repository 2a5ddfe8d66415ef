# Everything a developer or a CI machine does here. `make help` lists it.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
MOVER_IMAGE ?=
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X pipectl.dev/steps/jenkinshome.DefaultImage=$(MOVER_IMAGE)

# A plain static binary: it must run FROM scratch and on a kubeadm node of any age. The same for tests and lint, so that all of them
# share one build cache.
export CGO_ENABLED := 0
export GOFLAGS := -trimpath
GO_BUILD := go build -ldflags "$(LDFLAGS)"
# Go ends a package's tests after ten minutes; those on real control planes come near that on a loaded machine.
GO_TEST := go test -timeout 40m

GOLANGCI_VERSION := v2.15.0
GOLANGCI := bin/golangci-lint-$(GOLANGCI_VERSION)

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  \033[1m%-21s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/pipectl
	$(GO_BUILD) -o bin/pipectl ./cmd/pipectl

.PHONY: lab
lab: ## Build bin/lab, the control planes of a rehearsal (about ten minutes when cold)
	cd rehearsal/lab && sh ./upstream.sh
	cd rehearsal/lab && go build -ldflags "-s -w" -o ../../bin/lab .

.PHONY: lab214
lab214: lab ## Build bin/lab214, the Argo CD before the lab's own (about ten minutes when cold)
	cd rehearsal/lab/argocd214 && go build -ldflags "-s -w" -o ../../../bin/lab214 .

.PHONY: rehearse
rehearse: build lab ## Rehearse the blog's move on this machine: no account, no Docker
	bin/pipectl rehearse $(REHEARSE_FLAGS) pipelines/blog.yaml

.PHONY: rehearse-all
rehearse-all: build lab ## Rehearse every shipped pipeline: run, again, down and back
	for pipeline in pipelines/*.yaml; do bin/pipectl rehearse --full-circle --quiet "$$pipeline"; done

.PHONY: test
test: lab ## Run the tests of the product, those on real control planes among them
	PIPECTL_LAB=$(CURDIR)/bin/lab $(GO_TEST) ./...

.PHONY: test-lab
test-lab: lab ## Run the tests of the rehearsal's control planes
	cd rehearsal/lab && PIPECTL_LAB=$(CURDIR)/bin/lab $(GO_TEST) ./...

.PHONY: test-argocd214
test-argocd214: lab214 ## Run the tests of sync-argocd once more, on Argo CD 2.14
	PIPECTL_LAB=$(CURDIR)/bin/lab PIPECTL_ARGOCD=v2.14.21 $(GO_TEST) ./steps/syncargocd

.PHONY: test-root
test-root: ## Test real block devices and mounts (needs root and a loop device)
	go test -count=1 -tags root -run Root ./steps/jenkinshome/...

.PHONY: conformance
conformance: build bin/conformance/.installed ## Hold the emulated AWS against moto and the aws CLI (needs python3 with venv)
	PIPECTL_CONFORMANCE=$(CURDIR)/bin/conformance go test -count=1 -tags conformance -v ./rehearsal/aws/conformance

bin/conformance/.installed: rehearsal/aws/conformance/requirements.txt
	rm -rf bin/conformance
	python3 -m venv bin/conformance
	bin/conformance/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

.PHONY: test-jenkinsfile
test-jenkinsfile: ## Test what the Jenkinsfile does with every exit code (needs maven and a JRE)
	mvn -B -q -f test/jenkinsfile/pom.xml test

.PHONY: rehearse-jenkinsfile
rehearse-jenkinsfile: build lab ## Build the Jenkinsfile against a rehearsal: there, again, down and back
	PIPECTL_LAB=$(CURDIR)/bin/lab test/jenkinsfile/rehearse.sh

.PHONY: test-matrix
test-matrix: ## Let every AWS call of every step go wrong in every way (make test draws one way for each)
	PIPECTL_MATRIX=full $(GO_TEST) -count=1 -v -run TestEveryCallMayGoWrong ./steps/catalog | grep -E -v '^ *(=== |--- PASS)'

.PHONY: lint
lint: $(GOLANGCI) ## Lint: layers, error handling, sizes
	$(GOLANGCI) run --allow-parallel-runners ./...
	cd rehearsal/lab && ../../$(GOLANGCI) run --allow-parallel-runners --config ../../.golangci.yml ./...
	cd rehearsal/lab/argocd214 && ../../../$(GOLANGCI) run --allow-parallel-runners --config ../../../.golangci.yml ./...

$(GOLANGCI):
	mkdir -p bin
	GOBIN=$(CURDIR)/bin go install -ldflags "-s -w" github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv bin/golangci-lint $(GOLANGCI)

.PHONY: verify
verify: ## Check that generated files and formatting are up to date (make update mends)
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$unformatted" ]; then echo "not formatted: $$unformatted"; exit 1; fi
	go mod verify >/dev/null
	go test -count=1 -run 'TestDocs|TestGolden' ./cmd/pipectl ./cmd/pipectl/view

.PHONY: update
update: ## Write generated docs, schemas and golden files again
	gofmt -w $$(git ls-files '*.go')
	go test -count=1 -run 'TestDocs|TestGolden' ./cmd/pipectl ./cmd/pipectl/view -update

.PHONY: bench
bench: build ## Compare start-up and tree copy with those of other tools on this machine, and provisioning with its lower bound
	./bench/startup/run.sh
	./bench/treecopy/run.sh
	./bench/provision/run.sh

.PHONY: image
image: build ## Build both container images; without a Docker daemon as OCI layouts
	./image.sh

.PHONY: clean
clean: ## Remove what the other targets built
	rm -rf bin dist
