#!/bin/sh
# Compares treecopy with rsync, cp and tar in the same run and prints tables as Markdown; README.md keeps the measured ones. Flags go
# to the program, such as: run.sh -only tmpfs,delta -rounds 7. With RCLONE=1 rclone, with its
# local file system only, is built first and compared too, which takes minutes.
set -eu
cd "$(dirname "$0")/../.."
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
trap : INT TERM # the program cleans up and ends
export CGO_ENABLED=0
go build -trimpath -o "$bin/treecopy" ./bench/treecopy
if [ "${RCLONE:-}" = 1 ]; then
	mkdir "$bin/rclone-src"
	cp bench/treecopy/rclone/main.go.txt "$bin/rclone-src/main.go"
	(cd "$bin/rclone-src" && go mod init rclone-local && go get github.com/rclone/rclone@latest && go mod tidy && go build -trimpath -ldflags "-s -w" -o ../rclone .) >&2
	set -- -rclone "$bin/rclone" "$@"
fi
"$bin/treecopy" bench "$@"
