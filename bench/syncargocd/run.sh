#!/bin/sh
# Compares sync-argocd with the argocd command line on the lab's Argo CD, in the same run, and prints one line a figure; README.md keeps
# the measured ones. The command line is built from the release that the lab runs (half a minute when warm). Environment:
# BENCH_APPS (200), BENCH_ROUNDS (1), BENCH_PARALLEL (20), BENCH_CYCLES (100), BENCH_MEMORY_APPS (1000). Arguments go to the test binary,
# such as: run.sh -test.run Cycles
set -eu
cd "$(dirname "$0")/../.."
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
export CGO_ENABLED=0
: "${PIPECTL_LAB:=$root/bin/lab}"
export PIPECTL_LAB
[ -x "$PIPECTL_LAB" ] || make lab

# The lab's module pins the release and what it is built with; the command line needs a little more than that, so it gets a copy.
mkdir "$work/cli"
cp rehearsal/lab/go.mod rehearsal/lab/go.sum "$work/cli/"
cat >"$work/cli/main.go" <<'GO'
package main

import (
	"os"

	"github.com/argoproj/argo-cd/v3/cmd/argocd/commands"
)

func main() {
	if commands.NewCommand().Execute() != nil {
		os.Exit(1)
	}
}
GO
(cd "$work/cli" && go build -mod=mod -trimpath -ldflags "-s -w" -o "$work/argocd" .)
go build -trimpath -ldflags "-s -w" -o "$work/pipectl" ./cmd/pipectl
go test -trimpath -tags bench -c -o "$work/bench" ./steps/syncargocd
export ARGOCD_CLI="$work/argocd" PIPECTL_BIN="$work/pipectl"
cd steps/syncargocd
[ $# -gt 0 ] || set -- -test.run Bench
"$work/bench" -test.v -test.timeout 60m "$@" | grep --line-buffered -E 'FIGURE|^ *--- |FAIL|panic|_test.go'
