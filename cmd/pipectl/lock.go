package main

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"pipectl.dev/engine"
	"pipectl.dev/engine/lock"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// locker chooses where locks are kept: SSM where there is an account, Leases where there is only a cluster, files where there is neither.
func (c *clients) locker(ctx context.Context, cc *cli.Context, id steps.Identity) (engine.Locker, error) {
	if err := oneOf(cc, "lock", "auto", "none"); err != nil || cc.String("lock") == "none" {
		return nil, err
	}
	switch {
	case id.Account != "":
		s, err := c.aws(ctx, id.Region)
		if err != nil {
			return nil, err
		}
		l := s.Locks()
		return locks{l.Lock, l.Look, l.Unlock}, nil
	case id.Cluster != "":
		k, err := c.kube(ctx, homeCluster())
		if err != nil {
			return nil, err
		}
		l := k.Locks(cmp.Or(cc.String("lock-namespace"), leaseNamespace()))
		return locks{l.Lock, l.Look, l.Unlock}, nil
	default:
		return lock.NewFile(filepath.Join(lockDir(), "locks")), nil
	}
}

// locks is an engine.Locker that holds functions and no client, for the reason that secretSource does.
type locks struct {
	lock   func(ctx context.Context, key string, by steps.Holder, wait time.Duration) (steps.Lease, error)
	look   func(ctx context.Context, keys []string, by steps.Holder) (map[string]steps.LockState, error)
	unlock func(ctx context.Context, key string) (*steps.Holder, error)
}

func (l locks) Lock(ctx context.Context, key string, by steps.Holder, wait time.Duration) (steps.Lease, error) {
	return l.lock(ctx, key, by, wait)
}

func (l locks) Look(ctx context.Context, keys []string, by steps.Holder) (map[string]steps.LockState, error) {
	return l.look(ctx, keys, by)
}

func (l locks) Unlock(ctx context.Context, key string) (*steps.Holder, error) {
	return l.unlock(ctx, key)
}

// leaseNamespace is the pod's own, whose leases its role can be allowed to touch, else default.
func leaseNamespace() string {
	dir := os.Getenv(kube.SADirEnv)
	if dir == "" {
		dir = "/var/run/secrets/kubernetes.io/serviceaccount"
	}
	if raw, err := os.ReadFile(filepath.Join(dir, "namespace")); err == nil && inPod() {
		return strings.TrimSpace(string(raw))
	}
	return "default"
}

// lockDir is shared by all runs of one user on one machine, whatever their working directory.
func lockDir() string {
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "pipectl")
	}
	return filepath.Join(os.TempDir(), "pipectl")
}
