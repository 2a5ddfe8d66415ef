package jenkinshome

import (
	"context"
	"fmt"

	"pipectl.dev/kube"
)

// stopNew stops the new Jenkins so that nothing starts it again by itself: its Application first, then the workload.
func (m *mission) stopNew(ctx context.Context) error {
	if m.target == nil {
		return whyTarget
	}
	w := m.newWorkload()
	st, found, err := m.target.ReadWorkload(ctx, w)
	if err != nil || !found {
		return err
	}
	if app := applicationOf(st.Object); app != "" {
		if err := m.pauseNew(ctx, app); err != nil {
			return err
		}
	}
	if err := m.target.Pause(ctx, w); err != nil {
		return err
	}
	return m.target.WaitPodsGone(ctx, []kube.Workload{w}, m.say)
}

// pauseNew records what the sync policies were before it changes any. A run that finds them paused by the one before it keeps that one's
// record.
func (m *mission) pauseNew(ctx context.Context, app string) error {
	before, err := automatedBefore(ctx, m.target, m.verify.ArgoCD, app)
	if err != nil {
		return err
	}
	if len(before) > 0 && len(m.rec.Cut.PausedAt) == 0 {
		m.rec.Cut.PausedAt = before
		if err := m.again(m.rec.write(ctx, m.rec.Phase, nil)); err != nil {
			return err
		}
	}
	_, err = m.target.PauseApplication(ctx, m.verify.ArgoCD, app)
	return err
}

// healNew gives the target's Applications their sync policies back. Argo CD may start the new Jenkins then: it waits for a claim, which
// the next cut-over makes.
func (m *mission) healNew(ctx context.Context) error {
	paused := m.rec.Cut.PausedAt
	if len(paused) == 0 {
		return nil
	}
	if m.target == nil {
		m.env.Note(fmt.Sprintf("the target cluster was not asked: automatic sync of application %s/%s stays off there; it was %s", paused[0].Namespace, paused[0].Name, paused[0].Automated))
		return nil
	}
	return m.target.ResumeApplications(ctx, paused)
}

// tellOfTwo says when somebody has started the old Jenkins after the move. Its home is its own, so nothing is lost by it, but both number
// builds and both act on triggers; which of them is to stop is the owner's to say.
func (m *mission) tellOfTwo(ctx context.Context) error {
	old, err := m.oldLife(ctx)
	if unreachable(err) || kube.HasCode(err, kube.CodeForbidden) {
		return nil
	}
	if m.gone {
		m.env.Note(fmt.Sprintf("the pod with the old home is gone, and %s starts an empty Jenkins in its place: scale it to 0, in Git as well", m.workload()))
	}
	if err == nil && old == Up {
		m.env.Note(fmt.Sprintf("the old Jenkins %s runs too: somebody started it after the move; scale it to 0, in Git as well, or what both build gets the same numbers", m.workload()))
	}
	return err
}
