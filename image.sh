#!/usr/bin/env bash
# Builds both images: by Docker where a daemon answers, else as OCI layouts in dist/oci that any tool can push.
# The parts come from this machine: the binary from bin, CA certificates and a static busybox from Debian.
set -euo pipefail
cd "$(dirname "$0")"
version=${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo devel)}
context=dist/image
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}

from_debian() { # from_debian PACKAGE: unpacks it without installing it, and prints where
	local scratch
	scratch=$(mktemp -d)
	chmod 755 "$scratch" # apt downloads as a user of its own
	(
		cd "$scratch"
		apt-get download -qq "$1" >/dev/null 2>&1 || { apt-get update -qq && apt-get download -qq "$1"; } >&2
		dpkg-deb -x ./*.deb .
	)
	echo "$scratch"
}

certificates() {
	if [[ -s /etc/ssl/certs/ca-certificates.crt ]]; then
		cat /etc/ssl/certs/ca-certificates.crt
		return
	fi
	local tree
	tree=$(from_debian ca-certificates)
	cat "$tree"/usr/share/ca-certificates/mozilla/*.crt
	rm -rf "$tree"
}

busybox() { # busybox TARGET: a static one, since FROM scratch has no libraries
	if [[ -x /bin/busybox ]] && ! ldd /bin/busybox >/dev/null 2>&1; then
		cp -L /bin/busybox "$1"
	else
		local tree
		tree=$(from_debian busybox-static)
		cp -L "$(find "$tree" -path '*bin/busybox' -type f | head -n 1)" "$1" # other files there have its name too
		rm -rf "$tree"
	fi
	chmod 755 "$1"
	"$1" sh -c : || { echo "error: $1 has no shell" >&2; exit 1; }
}

rm -rf "$context"
base=$context/base box=$context/busybox
mkdir -p "$base"/{usr/local/bin,etc/ssl/certs,workspace,tmp} "$box/bin"
cp bin/pipectl "$base/usr/local/bin/pipectl"
certificates >"$base/etc/ssl/certs/ca-certificates.crt"
printf 'root:x:0:0:root:/:/sbin/nologin\njenkins:x:1000:1000:jenkins:/tmp:/bin/sh\npipectl:x:65532:65532:pipectl:/tmp:/sbin/nologin\n' >"$base/etc/passwd"
printf 'root:x:0:\njenkins:x:1000:\npipectl:x:65532:\n' >"$base/etc/group"
chmod 1777 "$base/tmp" "$base/workspace"

busybox "$box/bin/busybox"
for applet in $("$box/bin/busybox" --list); do
	[[ $applet == busybox ]] || ln -sf busybox "$box/bin/$applet"
done
if [[ ! -e $box/bin/nohup ]]; then # Debian builds busybox without it, and Jenkins starts every step by it
	printf '#!/bin/sh\n%s\n%s\n' "trap '' HUP" 'exec "$@"' >"$box/bin/nohup"
	chmod 755 "$box/bin/nohup"
fi
for applet in sh nohup cat cp mv rm mkdir touch sleep grep cut kill test '[' chmod env; do # what the plugins of Jenkins call
	[[ -e $box/bin/$applet ]] || { echo "error: busybox has no $applet" >&2; exit 1; }
done
find "$context" -exec touch -h -d "@$epoch" {} +

if docker info >/dev/null 2>&1; then
	for target in pipectl pipectl-jenkins; do
		docker build --quiet --file Dockerfile --target "$target" --build-arg "VERSION=$version" --tag "$target:$version" "$context"
		docker image inspect --format "$target:$version {{.Size}} bytes" "$target:$version"
	done
else
	echo "no Docker daemon: writing OCI layouts"
	go run ./internal/oci --version "$version" --epoch "$epoch" --context "$context" --out dist/oci
fi
