package jenkinshome

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/jenkinshome/device"
	"pipectl.dev/steps/jenkinshome/jenkins"
)

// cut is the critical section: from quieting down the old Jenkins to the volume's release, or back. It runs in a pod of the source
// cluster, so that nothing that happens to whoever started it can leave Jenkins down.
type cut struct {
	args     moverArgs
	kube     *kube.Client
	dev      device.Devices
	log      *slog.Logger
	rec      *record
	workload kube.Workload
	token    steps.Secret
	pause    time.Duration // between two looks
	ahead    ahead
}

func newCut(ctx context.Context, a moverArgs, dev device.Devices, log *slog.Logger, cluster func(context.Context) (*kube.Client, error)) (*cut, error) {
	k, err := cluster(ctx)
	if err != nil {
		return nil, err
	}
	var owner steps.Identity
	if err := json.Unmarshal([]byte(a.Owner), &owner); err != nil {
		return nil, fmt.Errorf("mover: --owner: %w", err)
	}
	token, err := os.ReadFile(a.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("mover: --token-file: %w", err)
	}
	rec, err := readRecord(ctx, k, owner, a.Namespace, a.Record)
	if err != nil {
		return nil, err
	}
	if rec.Phase == NoPhase {
		return nil, fmt.Errorf("mover: configmap %s/%s: holds no move", a.Namespace, a.Record)
	}
	return &cut{args: a, kube: k, dev: dev, log: log, rec: rec, pause: time.Second, token: steps.NewSecret(strings.TrimSpace(string(token))),
		workload: kube.Workload{Kind: a.Kind, Namespace: a.Namespace, Name: a.Name}}, nil
}

// backOutWithin is how long a mover that was told to end (SIGTERM) may take to start Jenkins again; the pod's grace period is longer.
const backOutWithin = 90 * time.Second

// run goes from phase to phase until there is nothing left to do. Whatever goes wrong before the commit turns it round; an error is
// returned only when it could not even turn back, and then the Job starts another pod.
func (c *cut) run(ctx context.Context) error {
	work, stop := ctx, func() {} // turning back must not end because somebody wants us to
	defer func() { stop() }()
	defer func() { // a mover that turns back before the last pass
		if err := c.letGo(); err != nil {
			c.log.Error(err.Error())
		}
	}()
	for tries := 0; ; {
		if ctx.Err() != nil && c.mayTurn() {
			c.turn(ctx, context.Cause(ctx))
		}
		do, to := next(c.rec.Phase, c.rec.Abort)
		if do == doEnd {
			c.log.Info("done", "phase", string(c.rec.Phase))
			return nil
		}
		if work == ctx && (do == doStart || do == doTurn) {
			work, stop = unstoppable(ctx)
		}
		c.log.Info(string(do), "phase", string(c.rec.Phase))
		err := c.do(work, do)
		if err == nil && do != doAwaitAck {
			err = c.rec.write(work, to, nil)
		}
		switch {
		case err == nil:
		case errors.Is(err, errStale): // look what was written
		case c.mayTurn():
			c.turn(ctx, err)
		case tries >= 20 || work.Err() != nil:
			return err
		default:
			tries++
			c.log.Error(err.Error())
			c.sleep(work, 3*time.Second)
		}
		if err := c.reload(ctx); err != nil {
			return err
		}
	}
}

func (c *cut) mayTurn() bool { return c.rec.Phase.working() || c.rec.Phase == Copied }

// unstoppable outlives ctx: by minutes when nobody hurries us, by the pod's grace period when we were told to end.
func unstoppable(ctx context.Context) (context.Context, func()) {
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Minute)
	hurry := context.AfterFunc(ctx, func() { time.AfterFunc(backOutWithin, cancel) })
	return work, func() { hurry(); cancel() }
}

// turn writes that we are going back and why. If even that cannot be written now, the loop tries again by what it reads.
func (c *cut) turn(ctx context.Context, why error) {
	c.log.Error("turning back: " + why.Error())
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), backOutWithin)
	defer cancel()
	for work.Err() == nil && c.mayTurn() {
		c.rec.Cut.Why = info(why)
		err := c.rec.write(work, BackingOut, nil)
		if err == nil {
			return
		}
		c.log.Error(err.Error())
		if !errors.Is(err, errStale) {
			c.sleep(work, time.Second)
		}
		_ = c.rec.reload(work) // what fails here fails again at once, in the write
	}
}

// reload bears an API server that is away for a while.
func (c *cut) reload(ctx context.Context) error {
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), backOutWithin)
	defer cancel()
	for {
		err := c.rec.reload(work)
		if err == nil || work.Err() != nil {
			return err
		}
		c.sleep(work, 2*time.Second)
	}
}

func (c *cut) sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(min(d, c.pause*3))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (c *cut) do(ctx context.Context, do moverOp) error {
	switch do {
	case doBaseline:
		return c.takeBaseline(ctx)
	case doQuiet:
		if err := c.getAhead(ctx); err != nil {
			return err
		}
		return c.timed(&c.rec.Cut.Down.Quiet, func() error { return c.quiet(ctx) })
	case doPause:
		return c.pauseApplication(ctx)
	case doStop:
		return c.timed(&c.rec.Cut.Down.Stop, func() error { return c.stop(ctx) })
	case doAwaitEnd:
		return c.timed(&c.rec.Cut.Down.Stop, func() error { return c.awaitEnd(ctx) })
	case doLastPass:
		return c.lastPass(ctx)
	case doAwaitAck:
		return c.awaitAck(ctx)
	case doTurn:
		if err := c.letGo(); err != nil {
			c.log.Error(err.Error())
		}
		if c.rec.Cut.Why == nil {
			c.rec.Cut.Why = &steps.ErrorInfo{Code: "Aborted", Category: steps.Interrupted, Message: "asked to turn back"}
		}
		return nil
	case doStart:
		return startOld(ctx, c.kube, c.workload, c.rec, c.controller, c.log.Info)
	}
	return fmt.Errorf("mover: cannot %q", do)
}

// timed adds what f took. A mover that replaces another one measures on from what is recorded.
func (c *cut) timed(into *float64, f func() error) error {
	began := time.Now()
	defer func() { *into += time.Since(began).Seconds() }()
	return f()
}

// controller is the Jenkins in the workload's pod. The function returned lets go of its connections.
func (c *cut) controller(ctx context.Context) (*jenkins.Client, func(), error) {
	pod, err := livePod(ctx, c.kube, c.workload)
	if err != nil {
		return nil, nil, err
	}
	t := transport(c.kube, pod, c.args.Port)
	return jenkins.New(t, c.args.Path, c.args.User, c.token), func() { closeIdle(t) }, nil
}

func (c *cut) with(ctx context.Context, f func(*jenkins.Client) error) error {
	j, done, err := c.controller(ctx)
	if err != nil {
		return err
	}
	defer done()
	return f(j)
}

func (c *cut) takeBaseline(ctx context.Context) error {
	return c.with(ctx, func(j *jenkins.Client) error {
		inv, err := j.Inventory(ctx)
		if err != nil {
			return err
		}
		c.log.Info("baseline", "version", inv.Version, "jobs", len(inv.Jobs), "plugins", len(inv.Plugins))
		return c.rec.setBaseline(ctx, c.rec.Phase, inv)
	})
}

// stop records the replicas before it changes them; the workload itself keeps them too.
func (c *cut) stop(ctx context.Context) error {
	if c.args.HomePod != "" {
		return c.park(ctx)
	}
	st, found, err := c.kube.ReadWorkload(ctx, c.workload)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("%s: does not exist", c.workload)
	}
	if st.Replicas > 0 {
		c.rec.Cut.Replicas, c.rec.Cut.StopAt = st.Replicas, timeTag(time.Now())
		if err := c.rec.write(ctx, c.rec.Phase, nil); err != nil {
			return err
		}
	}
	return c.kube.Pause(ctx, c.workload)
}

func (c *cut) awaitEnd(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, c.args.StopWithin)
	defer cancel()
	last := ""
	tell := func(d string) {
		if d != last {
			last = d
			c.log.Info(d)
		}
	}
	var err error
	if c.rec.Cut.Parked != nil {
		err = c.awaitParked(wait, tell)
	} else {
		err = c.kube.WaitPodsGone(wait, []kube.Workload{c.workload}, tell)
	}
	if err != nil && wait.Err() != nil && ctx.Err() == nil {
		return &steps.Error{Code: "PodStays", Category: steps.Timeout, Message: fmt.Sprintf("%s: its pod did not end within %s", c.workload, c.args.StopWithin),
			Hints: []string{"raise `stopWithin`"}}
	}
	if err != nil {
		return err
	}
	if err := c.stillDown(ctx); err != nil {
		return err
	}
	return c.alone(ctx)
}
