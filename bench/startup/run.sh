#!/bin/bash
# Compares the start-up of `pipectl version` with that of other tools for clusters, in the same run, turn by turn. Prints medians and ratios as
# Markdown. Peers are those of kubectl, terraform and aws that are on PATH, and `pipectl-floor`, an empty Go program: what no Go program can
# go below. ROUNDS may be set.
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=${ROUNDS:-21}
export CGO_ENABLED=0 GOFLAGS=-trimpath
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
[ -x bin/pipectl ] || make build
printf 'package main\n\nfunc main() {}\n' >"$dir/main.go"
go build -ldflags '-s -w' -o "$dir/pipectl-floor" "$dir/main.go"

declare -A call=([pipectl]="bin/pipectl version" [pipectl-floor]="$dir/pipectl-floor")
order=(pipectl pipectl-floor)
peer() { # NAME COMMAND...
	if command -v "$1" >/dev/null && CHECKPOINT_DISABLE=1 "$@" >/dev/null 2>&1; then
		call[$1]=$*
		order+=("$1")
	fi
}
peer kubectl version --client
peer terraform version
peer aws --version

for name in "${order[@]}"; do ${call[$name]} >/dev/null 2>&1; done # warm the page cache
for _ in $(seq "$rounds"); do
	for name in "${order[@]}"; do
		began=$EPOCHREALTIME
		CHECKPOINT_DISABLE=1 /usr/bin/time -f '%U %S %M' -a -o "$dir/$name.t" ${call[$name]} >/dev/null 2>&1
		ended=$EPOCHREALTIME
		echo $((${ended/./} - ${began/./})) >>"$dir/$name.us"
	done
done

# median FILE EXPRESSION
median() { awk "{print $2}" "$1" | sort -n | awk '{a[NR]=$1} END {print (NR%2) ? a[(NR+1)/2] : (a[NR/2]+a[NR/2+1])/2}'; }
echo "Start-up, $rounds rounds; $(nproc) CPUs; load $(cut -d' ' -f1-3 /proc/loadavg)"
echo
echo '| command | wall ms (median) | fastest ms | peak MB | times pipectl |'
echo '|---|---|---|---|---|'
own=$(median "$dir/pipectl.us" '$1')
for name in "${order[@]}"; do
	wall=$(median "$dir/$name.us" '$1')
	best=$(sort -n "$dir/$name.us" | head -1)
	awk -v c="${call[$name]##*/}" -v w="$wall" -v b="$best" -v m="$(median "$dir/$name.t" '$3')" -v o="$own" \
		'BEGIN {printf "| %s | %.0f | %.0f | %.0f | %.2f |\n", c, w/1000, b/1000, m/1024, w/o}'
done
