#!/bin/sh
# Copies the manifests of the Argo CD release in go.mod to where the lab embeds them.
set -eu
cd "$(dirname "$0")"
module=github.com/argoproj/argo-cd/v3
go mod download "$module"
dir=$(go list -m -f '{{.Dir}}' "$module")
version=$(go list -m -f '{{.Version}}' "$module")
target=upstream/files/argo-cd/$version/manifests
rm -rf upstream/files/argo-cd
mkdir -p "$target/crds"
for name in core-install.yaml install.yaml namespace-install.yaml; do
	cp "$dir/manifests/$name" "$target/$name"
done
cp "$dir"/manifests/crds/*-crd.yaml "$target/crds/"
chmod -R u+w upstream/files
