// Command pipectl runs pipelines of built-in steps: one file for each verb, and the wiring of streams, clients and exit codes.
//
// It decides nothing about clouds or clusters: that is the engine's and the steps' business. Only this file ends the process or touches
// its streams.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"pipectl.dev/steps"
)

// Set by the linker.
var (
	version = "devel"
	commit  = "unknown"
)

func main() {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP) // a terminal that closes must not leave a rehearsal behind
	go func() {
		first := <-signals
		cancel(signalError{first})
		os.Exit(signalCode(<-signals)) // the second one means now
	}()
	code := run(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr, os.LookupEnv)
	if s, ok := errors.AsType[signalError](context.Cause(ctx)); ok && code == steps.Interrupted.ExitCode() {
		code = signalCode(s.signal)
	}
	os.Exit(code)
}

// signalError is why a context ended.
type signalError struct{ signal os.Signal }

func (e signalError) Error() string {
	if e.signal == syscall.SIGTERM {
		return "stopped by SIGTERM" // which calls itself "terminated"
	}
	return "stopped by " + e.signal.String()
}

// Is makes a stop by a signal a cancellation, whoever looks at the cause.
func (e signalError) Is(target error) bool { return target == context.Canceled }

// ExitCode is the shell's for a process that this signal ended.
func (e signalError) ExitCode() int { return signalCode(e.signal) }

func signalCode(s os.Signal) int {
	if n, ok := s.(syscall.Signal); ok {
		return 128 + int(n)
	}
	return steps.Interrupted.ExitCode()
}
