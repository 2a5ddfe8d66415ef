// Package redis plays the Redis server of an Argo CD. It keeps nothing on disk, and its password comes by environment
// only, so that it is in no process list.
package redis

import (
	"context"
	"flag"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// Main runs the role until ctx ends. The password is the one in REDIS_PASSWORD; empty means none is asked for.
func Main(ctx context.Context, args []string, password string) error {
	flags := flag.NewFlagSet("redis", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:6379", "address to serve on")
	if err := flags.Parse(args); err != nil {
		return err
	}
	server := miniredis.NewMiniRedis()
	if password != "" {
		server.RequireAuth(password)
	}
	if err := server.StartAddr(*listen); err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	defer server.Close()
	// Keys expire only when the stand-in is told how time goes by.
	const step = time.Second
	tick := time.NewTicker(step)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			server.FastForward(step)
		}
	}
}
