#!/usr/bin/env bash
# Runs builds of the Jenkinsfile against a rehearsal: there, again, down and back. Takes about two minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."
where=/tmp
[[ -w /dev/shm ]] && where=/dev/shm # a rehearsal makes many small files
dir=$(mktemp -d "$where/pipectl-jenkinsfile-XXXXXX")
bin/pipectl rehearse --no-run --dir "$dir/world" pipelines/blog.yaml 2>"$dir/log" &
rehearsal=$!
finish() {
	kill -INT "$rehearsal" 2>/dev/null || true
	wait "$rehearsal" || true
	rm -rf "$dir"
}
trap finish EXIT
until [[ -s $dir/world/env.sh ]] && grep -q 'until Ctrl-C' "$dir/log"; do
	kill -0 "$rehearsal" || { cat "$dir/log"; exit 1; }
	sleep 0.2
done
export PIPECTL_REHEARSAL_ENV=$dir/world/env.sh
PIPECTL_REHEARSAL_TOKEN=$(. "$PIPECTL_REHEARSAL_ENV" && echo "$JENKINS_TOKEN")
export PIPECTL_REHEARSAL_TOKEN
mvn -B -q -f test/jenkinsfile/pom.xml test -Dtest=RehearsedJenkinsfileTest
