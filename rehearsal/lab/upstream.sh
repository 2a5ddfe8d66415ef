#!/bin/sh
# Copies the manifests of the Argo CD releases that the lab plays, its own and that of argocd214, to where the lab embeds them.
set -eu
cd "$(dirname "$0")"
files=$PWD/upstream/files
rm -rf "$files/argo-cd"
copy() { # copy DIRECTORY MODULE: of the release in the go.mod there
	cd "$1"
	go mod download "$2"
	dir=$(go list -m -f '{{.Dir}}' "$2")
	target=$files/argo-cd/$(go list -m -f '{{.Version}}' "$2")/manifests
	cd - >/dev/null
	mkdir -p "$target/crds"
	for name in core-install.yaml install.yaml namespace-install.yaml; do
		cp "$dir/manifests/$name" "$target/$name"
	done
	cp "$dir"/manifests/crds/*-crd.yaml "$target/crds/"
}
copy . github.com/argoproj/argo-cd/v3
copy argocd214 github.com/argoproj/argo-cd/v2
chmod -R u+w "$files"
