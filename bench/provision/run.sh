#!/bin/sh
# Prints what provisioning takes on the virtual clock against its lower bound, and the API calls of a run, a line a figure; README.md keeps
# the measured ones. It needs no account, no network and no lab, and takes some seconds. Arguments go to the test binary.
set -eu
cd "$(dirname "$0")/../.."
export CGO_ENABLED=0
[ $# -gt 0 ] || set -- -run Bench
go test -trimpath -count=1 -tags bench -v "$@" ./steps/catalog | grep --line-buffered -E 'FIGURE|^ *--- FAIL|FAIL|panic'
