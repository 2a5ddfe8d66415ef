// Package jenkins plays a Jenkins controller over a real home directory: it answers the part of the HTTP API that a
// migration asks, is busy with a build until it is quieted down, and writes into the home while it is. It runs no
// jobs, renders no pages, and understands of the home only what it answers from.
package jenkins

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"time"
)

const (
	// loadTime is how long every request is answered 503 after the start.
	loadTime = time.Second
	// finishTime is how long the running build goes on once Jenkins is quieting down.
	finishTime = 3 * time.Second
	// logEvery is how often the running build says something.
	logEvery = time.Second
)

// Options are what one Jenkins is started with.
type Options struct {
	Home     string
	Password string // of admin, beside the API tokens in the home
	Busy     string // once (per home; the default), always, endless, never
}

// Main runs the role until ctx ends.
func Main(ctx context.Context, args []string) error {
	o := Options{Password: os.Getenv("JENKINS_ADMIN_PASSWORD")}
	flags := flag.NewFlagSet("jenkins", flag.ContinueOnError)
	flags.StringVar(&o.Home, "home", "", "JENKINS_HOME")
	listen := flags.String("listen", "127.0.0.1:8080", "address to serve on")
	busy := os.Getenv("LAB_JENKINS_BUSY")
	if busy == "" {
		busy = "once"
	}
	flags.StringVar(&o.Busy, "busy", busy, "whether a build runs at start: once (per home), always, endless (one that ends with Jenkins only), never")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.Home == "" {
		return errors.New("jenkins: --home is missing")
	}
	if !slices.Contains([]string{"once", "always", "endless", "never"}, o.Busy) {
		return fmt.Errorf("jenkins: --busy %q: once, always, endless or never", o.Busy)
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return fmt.Errorf("jenkins: %w", err)
	}
	j, err := Start(ctx, o)
	if err != nil {
		_ = listener.Close()
		return err
	}
	server := &http.Server{Handler: j, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	fmt.Printf("Jenkins %s serves %s on %s\n", j.version, o.Home, listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("jenkins: %w", err)
	}
	// A controller that is told to end still writes what became of its builds.
	return j.Wait()
}
