// Command lab plays what a rehearsal needs of the world outside of AWS: real Kubernetes control planes, the nodes
// and pods on them, a real Argo CD, and a Jenkins. It is one binary with many roles, each role its own process, and
// it must not know anything of pipectl but the path of its binary.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sort"
	"strings"
	"syscall"

	"pipectl.dev/rehearsal/lab/cluster"
	"pipectl.dev/rehearsal/lab/jenkins"
	"pipectl.dev/rehearsal/lab/redis"
	"pipectl.dev/rehearsal/lab/upstream"
)

// role runs one part and returns the exit code of the process.
type role func(args []string) int

// roles are listed by the name that is the first argument.
func roles() map[string]role {
	all := map[string]role{
		"cluster": untilSignal(cluster.Main),
		"jenkins": untilSignal(jenkins.Main),
		"redis": untilSignal(func(ctx context.Context, args []string) error {
			return redis.Main(ctx, args, os.Getenv("REDIS_PASSWORD"))
		}),
		"upstream": untilSignal(upstream.Main),
		"version":  version,
	}
	for name, run := range kubeRoles() {
		all[name] = run
	}
	for name, run := range argocdRoles() {
		all[name] = run
	}
	return all
}

func main() {
	all := roles()
	name, args := invoked(os.Args, all)
	run, ok := all[name]
	if !ok {
		names := make([]string, 0, len(all))
		for n := range all {
			names = append(names, n)
		}
		sort.Strings(names)
		fmt.Fprintf(os.Stderr, "error: role %q: unknown\nhint: lab ROLE flags, where ROLE is one of %s\n", name, strings.Join(names, ", "))
		os.Exit(2)
	}
	os.Exit(run(args))
}

// invoked tells the role and its arguments. The name of the executable counts too, because Argo CD calls helpers of
// its own (argocd-git-ask-pass, kustomize) by name from a directory of links to this binary.
func invoked(argv []string, all map[string]role) (string, []string) {
	if base := filepath.Base(argv[0]); base != "lab" && all[base] != nil {
		return base, argv[1:]
	}
	if len(argv) < 2 {
		return "", nil
	}
	return argv[1], argv[2:]
}

// untilSignal adapts a role that ends with its context to one that ends on SIGTERM or SIGINT.
func untilSignal(run func(context.Context, []string) error) role {
	return func(args []string) int {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		if err := run(ctx, args); err != nil {
			fmt.Fprintf(os.Stderr, "error: %v\n", err)
			return 1
		}
		return 0
	}
}
