package syncargocd

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"

	"pipectl.dev/argoserver"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// driver does for one Application what decide says, until it is finished or failed. It decides nothing itself.
type driver struct {
	via    transport
	feed   *feed
	app    id
	want   wanted
	how    how
	write  bool                              // false: look only, after one refresh; whatever is not finished then ends it as needed
	report func(detail string, written bool) // written: an operation of ours is under way, or one we wait for
	// turn waits for the right to sync, one of maxParallel, and returns how to give it back; nil where nothing is written.
	turn func(ctx context.Context) (release func(), err error)
	// prepared is called once the Application is there, before anything is asked of it.
	prepared func(ctx context.Context, app *argo.Application) error
	scouts   *scouts

	release func()
	scout   *scout    // that is ours to make
	looked  time.Time // at the pods
	seen    string    // resourceVersion
	heard   time.Time // when that was first seen, or asked for
}

// outcome is how the work on an Application ended.
type outcome struct {
	app     *argo.Application
	changed bool
	result  *argo.SyncOperationResult
	before  []string // images, before our operation
	needed  bool     // there is something to do, of a driver that does not write
	took    time.Duration
	err     error
}

func (d *driver) run(ctx context.Context) (done outcome, err error) {
	defer func() {
		if d.release != nil {
			d.release()
		}
		d.tell(nil)
	}()
	var m memory
	var images []string
	began := time.Now()
	d.heard, d.looked = began, began // most are done before a look at the pods could tell anything
	for {
		app, changed := d.feed.get(d.app)
		if app != nil && d.prepared != nil {
			if err := d.prepared(ctx, app); err != nil {
				return outcome{app: app}, err
			}
			d.prepared = nil
		}
		if app != nil && app.ResourceVersion != d.seen {
			d.seen, d.heard = app.ResourceVersion, time.Now()
		}
		next, act := decide(m, d.want, app, time.Now())
		if app != nil && next.Phase != settle && next.Phase != refresh {
			d.tell(comparedWith(app))
		}
		done = outcome{app: app, changed: next.Changed, result: next.Result, before: images, took: time.Since(began)}
		switch act.Do {
		case finish:
			return done, nil
		case fail, terminate:
			return done, d.failed(ctx, app, act)
		case askSync, hold:
			if !d.write && (act.Do == askSync || next.Phase != refresh) {
				done.needed = true
				return done, nil
			}
		}
		if act.Do == askSync && images == nil {
			images = append([]string{}, app.Status.Summary.Images...)
		}
		if next, err = d.act(ctx, app, changed, next, act); err == nil {
			m = next
			continue
		}
		if !again(err) {
			return done, err
		}
		// Somebody wrote in between, or nothing is lost by looking again, with the memory of before: what was to be done was not done.
		// decide's deadline bounds it.
		if err := wait(ctx, changed, time.Second); err != nil {
			return done, err
		}
	}
}

// act does what was decided and returns what to remember then.
func (d *driver) act(ctx context.Context, app *argo.Application, changed <-chan struct{}, m memory, act action) (memory, error) {
	switch act.Do {
	case askRefresh:
		return m, d.take("refresh", func() (*argo.Application, error) { return d.via.refresh(ctx, app, act.Hard) })
	case askScout:
		var err error
		m.Found, err = d.ask(ctx, app)
		return m, err
	case askHead:
		heads, err := headsOf(ctx, app)
		m.Heads = append(m.Heads, heads...)
		return m, err
	case askSync:
		if err := d.sync(ctx, app); err != nil {
			return m, err
		}
		return requested(m, time.Now()), nil
	}
	if d.report != nil {
		d.report(act.Detail, m.Changed)
	}
	if act.Pods && time.Since(d.looked) >= lookAtPods {
		d.looked = time.Now()
		troubles, err := d.via.troubles(ctx, app)
		if ctx.Err() != nil {
			return m, context.Cause(ctx)
		}
		if err == nil { // what cannot be seen tells nothing
			m.Pods = lasting(troubles)
		}
	}
	return m, d.rest(ctx, changed, act.Again)
}

// rest waits, and asks for the Application itself where nothing was heard of it for too long: neither lists nor the watch of argocd-server
// tell anything while it has lost its own watch, for as much as a minute after the API server was away. Lists of the API server tell all.
func (d *driver) rest(ctx context.Context, changed <-chan struct{}, again time.Duration) error {
	if err := wait(ctx, changed, again); err != nil || !d.via.gap() || time.Since(d.heard) < heartbeat {
		return err
	}
	d.heard = time.Now()
	inner, cancel := context.WithTimeout(ctx, heartbeat)
	defer cancel()
	if app, err := d.via.read(inner, d.app); err == nil && app != nil && app.ResourceVersion != d.seen {
		d.feed.put(app, false)
	}
	return nil // one that cannot be read is waited for as before
}

// again reports errors after which one looks again.
func again(err error) bool {
	for _, code := range []string{kube.CodeConflict, kube.CodeClusterUnreachable, argoserver.CodeUnreachable} {
		if kube.HasCode(err, code) {
			return true
		}
	}
	return kube.IsNotFound(err)
}

// heartbeat is how long a wait may be silent.
const heartbeat = 10 * time.Second

func wait(ctx context.Context, changed <-chan struct{}, again time.Duration) error {
	timer := time.NewTimer(min(again, heartbeat))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-changed:
	case <-timer.C:
	}
	return nil
}

// take makes a request and has the feed know its answer, so that nobody decides on what was before it.
func (d *driver) take(what string, request func() (*argo.Application, error)) error {
	app, err := request()
	if app != nil {
		d.feed.put(app, false)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// sync asks the sync windows, waits for its turn, then writes the operation.
func (d *driver) sync(ctx context.Context, app *argo.Application) error {
	if why, err := blocked(ctx, d.via, app); err != nil || why != nil {
		return cmp.Or(why, err)
	}
	if d.release == nil && d.turn != nil {
		var err error
		if d.release, err = d.turn(ctx); err != nil {
			return err
		}
		if now, _ := d.feed.get(d.app); now == nil || now.ResourceVersion != app.ResourceVersion {
			return &steps.Error{Code: kube.CodeConflict, Category: steps.Conflict, Message: "changed while it waited for its turn"}
		}
	}
	return d.take("sync", func() (*argo.Application, error) { return d.via.sync(ctx, app, operation(app, d.want, d.how)) })
}

// failed ends with an error: our own operation is stopped where decide says so, and the error is told what else is known.
func (d *driver) failed(ctx context.Context, app *argo.Application, act action) error {
	err := d.explain(ctx, app, act.Err)
	if act.Do != terminate {
		return err
	}
	stop := d.take("terminate", func() (*argo.Application, error) { return d.via.stop(ctx, d.app, d.want.RunID) })
	if stop != nil {
		e := steps.Classify(err)
		e.Message += "; " + stop.Error()
		return e
	}
	return err
}

// explain adds to a failure what the pods of sick workloads say, or when a window opens.
func (d *driver) explain(ctx context.Context, app *argo.Application, err error) error {
	if app == nil {
		return err
	}
	if kube.HasCode(err, codeWindow) {
		if better, _ := blocked(ctx, d.via, app); better != nil {
			return better
		}
		return err
	}
	if !kube.HasCode(err, "Degraded") && !kube.HasCode(err, "TimedOut") && !kube.HasCode(err, "SyncFailed") {
		return err
	}
	troubles, look := d.via.troubles(ctx, app)
	if look != nil || len(troubles) == 0 {
		return err
	}
	var said []string
	for _, t := range troubles {
		said = append(said, t.String())
	}
	e := steps.Classify(err)
	e.Message += "; " + strings.Join(said, "; ")
	return e
}

// runID marks the operations of one stage of one run: two stages of it may sync the same Application.
func runID(env steps.Env) string {
	raw, _ := json.Marshal([]string{env.Identity.String(), env.Stage, env.RunID}) //nolint:errchkjson // strings only
	return string(raw)
}
