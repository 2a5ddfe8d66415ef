package kube

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/watch"
)

// A Watcher opens a watch. Its events only say that it is time to look again: what is so is always read anew, so a lost, late or
// repeated event does no harm.
type Watcher func(ctx context.Context) (watch.Interface, error)

// Await calls look at once, whenever a watch says that something changed, and at least every poll, until look is done or fails or
// ctx ends. Bursts of events are one look.
func Await(ctx context.Context, poll time.Duration, look func(context.Context) (done bool, err error), watchers ...Watcher) error {
	inner, cancel := context.WithCancel(ctx)
	changed := make(chan struct{}, 1)
	ended := make(chan struct{}, len(watchers))
	for _, w := range watchers {
		go func() {
			defer func() { ended <- struct{}{} }()
			follow(inner, poll, w, changed)
		}()
	}
	defer func() {
		cancel()
		for range watchers {
			<-ended
		}
	}()
	for {
		done, err := look(ctx)
		if done || err != nil {
			return err
		}
		again := time.NewTimer(poll)
		select {
		case <-ctx.Done():
			again.Stop()
			return context.Cause(ctx)
		case <-changed:
			again.Stop()
		case <-again.C:
		}
	}
}

// follow keeps one watch open. Where watching is not possible, the caller's polling does alone.
func follow(ctx context.Context, pause time.Duration, open Watcher, changed chan<- struct{}) {
	for ctx.Err() == nil {
		w, err := open(ctx)
		if err == nil {
			drain(ctx, w, changed)
			w.Stop()
		}
		timer := time.NewTimer(min(pause, time.Second))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

func drain(ctx context.Context, w watch.Interface, changed chan<- struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case _, open := <-w.ResultChan():
			select {
			case changed <- struct{}{}:
			default: // a look is due already
			}
			if !open {
				return
			}
		}
	}
}
