package jenkinshome

import (
	"context"
	"fmt"
	"strings"
	"time"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/jenkinshome/jenkins"
)

// observeTarget looks at the new Jenkins. Where nobody named one, and the volume is with nobody, there is none.
func (m *mission) observeTarget(ctx context.Context, w *World) error {
	if m.verify == nil {
		if w.Volume != Elsewhere {
			w.New = Stops
		}
		return nil
	}
	if m.target == nil {
		k, err := m.open(ctx, kube.Relative(m.verify.Cluster, m.env.Dir))
		switch {
		case kube.HasCode(err, kube.CodeClusterNotFound):
			w.New = Stops // the cluster is gone, and what ran on it
			return nil
		case unreachable(err):
			return nil
		case err != nil:
			return err
		}
		m.target = k
	}
	life, err := lifeOf(ctx, m.target, m.newWorkload())
	if err == nil {
		m.same, err = m.inPlace(ctx)
		w.OnDiff = w.OnDiff && !m.same && !m.gone
	}
	if err == nil {
		var claims []newClaim
		claims, err = m.newClaims(ctx)
		w.Claim = len(claims) > 0
	}
	if unreachable(err) {
		w.Claim = false
		return nil
	}
	w.New = life
	return err
}

// inPlace says whether the new Jenkins is the old workload: somebody gave that the claim in place of its former volume. Nobody but its owner,
// such as Git, can then give it the former one again, without which there is no old Jenkins to go back to.
func (m *mission) inPlace(ctx context.Context) (bool, error) {
	uid, workload, _ := parseSource(m.vol.Tags[tagSource])
	if m.verify.Namespace+"/"+m.verify.Workload != workload {
		return false, nil
	}
	now, err := clusterUID(ctx, m.target)
	return now == uid, err
}

const backInPlace = "it is the workload that was moved: nothing was turned back, for that it needs its former volume again"

var whyInPlace = refusal("SameWorkload", steps.Precondition, "the new Jenkins is the workload that was moved: pipectl cannot give it its former volume again",
	"scale it to 0, put its former volume back, in Git too, then scale it up: its home is as it was when it stopped")

func (m *mission) newWorkload() kube.Workload {
	return workloadOf(m.verify.Namespace, m.verify.Workload)
}

// compare asks the new Jenkins once it answers. One that does not come up in time is as bad as one that differs.
func (m *mission) compare(ctx context.Context) error {
	if m.target == nil {
		return whyTarget
	}
	if m.source == nil {
		return whySource
	}
	before, err := m.rec.baseline()
	if err != nil {
		return err
	}
	if !m.verify.Jenkins.Token.IsSet() {
		return noToken("the new Jenkins")
	}
	limit := m.verify.Within.Duration
	wait, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	last := "no pod runs"
	look := func(ctx context.Context) (bool, error) {
		inv, detail, err := m.inventory(ctx)
		if wait.Err() != nil {
			return false, context.Cause(wait)
		}
		last = detail
		if err != nil || detail != "" {
			m.say("new Jenkins: " + detail)
			return false, err
		}
		m.after = inv
		m.diff, m.diffs = jenkins.Difference(before, inv)
		return true, nil
	}
	err = kube.Await(wait, 2*time.Second, look)
	switch {
	case err != nil && wait.Err() != nil && ctx.Err() == nil:
		m.diff, m.diffs = []string{fmt.Sprintf("it did not answer within %s (%s)", limit, last)}, 1
	case err != nil:
		return err
	}
	if !m.same {
		if err := m.tellOfTwo(ctx); err != nil {
			return err
		}
	}
	m.check = Equal
	if m.diffs > 0 {
		m.check = Different
		return nil
	}
	return m.tellOfNewSweep(ctx)
}

// inventory reads what the new Jenkins holds; detail says why it cannot be asked yet. An error is one that waiting does not mend.
func (m *mission) inventory(ctx context.Context) (inv jenkins.Inventory, detail string, err error) {
	pod, err := livePod(ctx, m.target, m.newWorkload())
	if err != nil {
		return inv, err.Error(), passing(err)
	}
	c, err := containerOf(pod, "")
	if err != nil {
		return inv, "", err
	}
	port := m.verify.Jenkins.Port
	if port == 0 {
		port = portOf(c)
	}
	t := transport(m.target, pod, port)
	defer closeIdle(t)
	j := jenkins.New(t, m.verify.Jenkins.Path, m.verify.Jenkins.User, m.verify.Jenkins.Token)
	if _, ready, err := j.Version(ctx); err != nil || !ready {
		if err != nil {
			return inv, err.Error(), passing(err)
		}
		return inv, "loading", nil
	}
	if inv, err = j.Inventory(ctx); err != nil {
		return inv, err.Error(), passing(err)
	}
	return inv, "", nil
}

// passing forgives what waiting may mend. Wrong credentials are the user's to mend, and no reason to roll anything back.
func passing(err error) error {
	switch steps.Classify(err).Category {
	case steps.Credentials, steps.Permission, steps.BadInput:
		return err
	}
	return nil
}

func noToken(who string) error {
	return &steps.Error{Code: "NoToken", Category: steps.Precondition, Message: "no API token for " + who,
		Hints: []string{"set `jenkins.token`; make one at /me/configure of Jenkins"}}
}

func (m *mission) checked() VerifyOutputs {
	o := VerifyOutputs{Version: m.after.Version, Plugins: len(m.after.Plugins), Jobs: len(m.after.Jobs), CheckedAt: timeTag(time.Now())}
	if m.rec != nil {
		o.Downtime = since(m.rec.Cut.StopAt)
	}
	return o
}

// different is the error of a new Jenkins that is not what the old one was.
func (m *mission) different(then string) error {
	first := m.diff[:min(5, len(m.diff))]
	text := strings.Join(first, "; ")
	if m.diffs > len(first) {
		text += fmt.Sprintf("; and %d more", m.diffs-len(first))
	}
	return &steps.Error{Code: "JenkinsDiffers", Category: steps.Verification, Message: "the new Jenkins differs from the old one: " + text + then,
		Hints: []string{"see its log; `onFailure: report` leaves both as they are"}}
}
