package jenkinshome

import (
	"context"
	"fmt"
	"time"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// stillDown is the fence: nobody may have scaled Jenkins up while we believe it down.
func (c *cut) stillDown(ctx context.Context) error {
	if c.rec.Cut.Parked != nil {
		return c.stillParked(ctx)
	}
	st, _, err := c.kube.ReadWorkload(ctx, c.workload)
	if err != nil {
		return err
	}
	pods, err := c.kube.PodsOf(ctx, c.workload)
	if err != nil {
		return err
	}
	if st.Replicas == 0 && len(pods) == 0 {
		return nil
	}
	return &steps.Error{Code: "StartedAgain", Category: steps.Conflict, Message: fmt.Sprintf("%s: somebody scaled it up to %d during the cut-over", c.workload, st.Replicas),
		Hints: []string{"find out who (an operator, an autoscaler, Argo CD in another namespace: `argocdNamespace`) and pause it"}}
}

// awaitAck waits until the orchestrator has committed. Not in time: we turn back, and it can no longer commit.
func (c *cut) awaitAck(ctx context.Context) error {
	deadline := time.NewTimer(c.args.AckBy)
	defer deadline.Stop()
	if c.args.Serve != 0 {
		c.serve(ctx, false).settle() // nothing writes: that was seen before the phase was written
		defer c.hangUp()
	}
	tick := time.NewTicker(c.pause)
	defer tick.Stop()
	for {
		if err := c.rec.reload(ctx); err == nil && (c.rec.Phase != Copied || c.rec.Abort) {
			return nil
		}
		if err := c.stillDown(ctx); kube.HasCode(err, "StartedAgain") {
			return err
		}
		if c.ahead.serving.busy() { // the last pass is being made
			deadline.Reset(c.args.AckBy)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline.C:
			return &steps.Error{Code: "NotAcknowledged", Category: steps.Timeout, Retryable: true,
				Message: fmt.Sprintf("nobody detached the volume within %s", c.args.AckBy), Hints: []string{"run again, and let it run to its end; or raise `ackWithin`"}}
		case <-tick.C:
		}
	}
}
