#!/bin/sh
# Compares treecopy (hashing on) with rsync, cp and tar on a Jenkins-shaped tree, all in the same run, round after round.
# Prints medians and ratios as Markdown. FILES, ROUNDS and DIR (default a directory on tmpfs) may be set.
set -eu
cd "$(dirname "$0")/../.."
FILES=${FILES:-60000} ROUNDS=${ROUNDS:-5}
DIR=$(mktemp -d "${DIR:-/dev/shm}/treecopy-bench-XXXXXX")
trap 'rm -rf "$DIR"' EXIT
trap 'exit 130' INT TERM
go build -o "$DIR/tc" ./bench/treecopy
cd "$DIR"
./tc -files "$FILES" gen src >stats

# took NAME COMMAND...: appends wall seconds, CPU seconds to NAME.t
took() {
	name=$1; shift
	/usr/bin/time -f '%e %U %S' -a -o "$name.t" "$@" >/dev/null
}
round() {
	rm -rf tcopy m; took treecopy ./tc -manifest m copy src tcopy
	took rescan-treecopy ./tc -manifest m -delete copy src tcopy
	took verify-treecopy ./tc -manifest m verify tcopy
	rm -rf rs; took rsync rsync -aHAX src/ rs/
	took rescan-rsync rsync -aHAX --delete src/ rs/
	rm -rf rs tr; mkdir tr; took tar sh -c 'tar -C src -cf - . | tar -C tr -xpf -'
	rm -rf tr c; took cp cp -a src c
	rm -rf c
}
for i in $(seq "$ROUNDS"); do round; done
# med FILE COLUMNS: median over rounds of an awk expression
med() { awk "{print $2}" "$1.t" | sort -n | awk '{a[NR]=$1} END {print (NR%2) ? a[(NR+1)/2] : (a[NR/2]+a[NR/2+1])/2}'; }
ratio() { awk -v a="$(med "$1" '$1')" -v b="$(med "$2" '$1')" 'BEGIN {printf "%.2f", a/b}'; }

echo "Tree: $(cat stats); $ROUNDS rounds; $(nproc) CPUs; load $(cut -d' ' -f1-3 /proc/loadavg); $(df --output=fstype . | tail -1)"
echo
echo '| | wall s (median) | CPU s (median) | times treecopy |'
echo '|---|---|---|---|'
for n in treecopy rsync tar cp; do
	echo "| copy: $n | $(med $n '$1') | $(med $n '$2+$3') | $(ratio $n treecopy) |"
done
for n in treecopy rsync; do
	echo "| rescan, nothing changed: $n | $(med rescan-$n '$1') | $(med rescan-$n '$2+$3') | $(ratio rescan-$n rescan-treecopy) |"
done
echo "| verify against the manifest: treecopy | $(med verify-treecopy '$1') | $(med verify-treecopy '$2+$3') | |"
