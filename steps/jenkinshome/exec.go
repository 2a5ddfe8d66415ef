package jenkinshome

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pipectl.dev/cloud"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// exec does one operation.
func (m *mission) exec(ctx context.Context, x op) error {
	switch x {
	case opClaim:
		return m.tag(ctx, Precopying, m.sourceTags())
	case opAttach:
		return m.attach(ctx)
	case opCopy:
		return m.copy(ctx)
	case opPrecopied:
		return m.precopied(ctx)
	case opOpen:
		return m.openRecord(ctx)
	case opCutting:
		return m.tag(ctx, Cutting, m.sourceTags())
	case opLaunch:
		return m.launch(ctx)
	case opFollow:
		return m.follow(ctx)
	case opLastCopy:
		return m.lastCopy(ctx)
	case opDetach:
		return m.detach(ctx)
	case opCommit:
		return m.commit(ctx)
	case opMoved:
		return m.moved(ctx)
	case opAbort:
		return m.abort(ctx)
	case opStopJob:
		return m.stopJobs(ctx)
	case opStartOld:
		return startOld(ctx, m.source, m.workload(), m.rec, m.oldOrNil(), func(text string, _ ...any) { m.env.Note(text) })
	case opBackedOut:
		return m.backedOut(ctx)
	case opProtect:
		return m.protect(ctx)
	case opUnprotect:
		return m.unprotect(ctx)
	case opClean:
		return m.clean(ctx)
	case opForget:
		return m.retire(ctx)
	}
	return m.execNew(ctx, x)
}

// execNew does what concerns the new Jenkins, or only the tags that say what became of it.
func (m *mission) execNew(ctx context.Context, x op) error {
	switch x {
	case opCompare:
		return m.compare(ctx)
	case opVerified:
		if err := m.cleanLate(ctx); err != nil {
			return err
		}
		return m.tag(ctx, Verified, map[string]string{tagChecked: m.checked().tag()})
	case opFinalized:
		return m.tag(ctx, Finalized, nil)
	case opTurnBack:
		return m.tag(ctx, RollingBack, nil)
	case opStopNew:
		return m.stopNew(ctx)
	case opFreeNew:
		return awaitFree(ctx, m.aws, m.move.VolumeID, letGoWithin, m.say)
	case opDropClaim:
		return m.dropClaim(ctx)
	case opHealNew:
		return m.healNew(ctx)
	}
	return fmt.Errorf("move: cannot %q", x)
}

// sourceTags say where the home comes from and how. Route snapshot may copy on another node than before.
func (m *mission) sourceTags() map[string]string {
	return map[string]string{tagSource: m.move.Source.sourceTag(), tagNode: m.move.Source.Node, tagRoute: m.move.Route}
}

func (m *mission) tag(ctx context.Context, s State, more map[string]string) error {
	tags := map[string]string{tagState: string(s)}
	for k, v := range more {
		if v != "" {
			tags[k] = v
		}
	}
	return writeTags(ctx, m.aws, m.move.VolumeID, tags)
}

func (m *mission) attach(ctx context.Context) error {
	if m.move.Route == routeSameNode {
		return nil
	}
	now, err := settled(ctx, m.aws, m.move.VolumeID, m.say)
	if err != nil {
		return err
	}
	return attach(ctx, m.aws, now, m.move.Source.InstanceID, m.say)
}

// detach does nothing on route sameNode: there the claim's own driver does.
func (m *mission) detach(ctx context.Context) error {
	if m.move.Route == routeSameNode {
		return nil
	}
	began := time.Now()
	defer func() { m.detached = time.Since(began) }()
	return detach(ctx, m.aws, m.move.VolumeID, m.move.Source.InstanceID, m.say)
}

// copy runs the mover while Jenkins runs. A mover that an earlier run left is joined.
func (m *mission) copy(ctx context.Context) error {
	began := time.Now()
	res, err := m.pass(ctx)
	if err != nil {
		return err
	}
	m.tell(res)
	if f := res.Figures; f != nil {
		if m.move.Route == routeSnapshot { // what the last pass will take is not the copy alone
			f.LastPass = time.Since(began).Seconds()
		}
		tags := m.sourceTags() // again: the volume was ours alone, whoever else wrote on it what it holds
		tags[tagFigures], tags[tagCopied], tags[tagFS] = f.tag(), timeTag(time.Now()), res.FileSystem
		tags[tagOwner] = m.ownerTag()
		if err := m.tag(ctx, m.vol.stateOr(Precopying), tags); err != nil {
			return err
		}
		m.vol.Tags[tagFigures] = f.tag()
	}
	if copiesElsewhere(m.move.Route) {
		return nil
	}
	return m.source.DeleteJob(ctx, m.move.Source.Namespace, m.move.copyJob())
}

// pass is one run of a mover that copies.
func (m *mission) pass(ctx context.Context) (moverResult, error) {
	switch m.move.Route {
	case routeSnapshot:
		return m.snapshotPass(ctx, false)
	case routeStream:
		return m.streamPass(ctx, false)
	}
	image, err := moverImage(ctx, m.open, m.image)
	if err != nil {
		return moverResult{}, err
	}
	pod := moverPod(m.home, m.move.Route, m.move.Claim, image, m.arguments().args("copy"))
	if m.home.held() != "" { // it asks whether its source is still whole
		if err := m.source.EnsureJobAccount(ctx, looks(m.move, m.env.Identity)); err != nil {
			return moverResult{}, err
		}
		yes := true
		pod.ServiceAccountName, pod.AutomountServiceAccountToken = m.move.cutJob(), &yes
	}
	spec := kube.JobSpec{Namespace: m.move.Source.Namespace, Name: m.move.copyJob(), Owner: m.env.Identity, Run: m.env.RunID,
		Pod:   pod,
		Lines: func(line string) { m.env.Log.Info(line, "from", "mover") }, Progress: m.say}
	r, err := m.source.RunJob(ctx, spec)
	if err != nil {
		return moverResult{}, err
	}
	res, err := resultOf(r, "copy")
	if err != nil { // another try in this run must not find this Job's end
		err = errors.Join(err, m.source.DeleteJob(ctx, spec.Namespace, spec.Name))
	}
	return res, err
}

// stateOr is the volume's state, or what it became when it had none.
func (v volume) stateOr(first State) State {
	if s := v.state(); s != None {
		return s
	}
	return first
}

func (m *mission) tell(res moverResult) {
	for _, l := range res.Left {
		m.env.Note(fmt.Sprintf("left out: %d entries, %s", l.Count, l.Reason))
	}
	for _, n := range res.Notes {
		m.env.Note(n)
	}
	for _, p := range m.home.Remade {
		m.env.Note("not moved, since every pod makes it anew: " + p)
	}
	if m.home.Risk != "" {
		m.env.Note(m.home.Risk)
	}
	m.tellOfSweep()
}

// resultOf reads what a mover left.
func resultOf(r kube.JobResult, what string) (moverResult, error) {
	var res moverResult
	if err := json.Unmarshal([]byte(r.Message), &res); err != nil || (res.Error == nil && !r.Succeeded()) {
		return res, &steps.Error{Code: "MoverFailed", Category: steps.Unhealthy, Retryable: true,
			Message: fmt.Sprintf("%s: mover pod %s on %s: exit code %d (%s) %s", what, r.Pod, r.Node, r.ExitCode, r.Reason, r.Message),
			Hints:   []string{"see `kubectl logs " + r.Pod + "`; run again to carry on"}}
	}
	if res.Error != nil {
		return res, asError(res.Error, what+": ")
	}
	return res, nil
}

// arguments of the mover that precopy and cut-over share.
func (m *mission) arguments() moverArgs {
	a := moverDefaults
	a.Source, a.Target, a.Scratch, a.Identity, a.RunID = dirSource, dirTarget, dirScratch, m.move.copyIdentity(), runLabel(m.env.RunID)
	a.Exclude, a.FSGroup, a.Passes, a.Small = m.move.Exclude, m.move.FSGroup, max(1, m.passes), m.small
	if m.home.held() != "" {
		a.Namespace, a.HomePod, a.HomeUID = m.move.Source.Namespace, m.home.Pod.Name, string(m.home.Pod.UID)
	}
	if m.move.Route == routeSameNode {
		a.Claimed = m.move.VolumeID
	} else {
		a.Volume, a.Host = m.move.VolumeID, dirHost
	}
	return a
}

// runLabel is a run id as treecopy and labels allow it.
func runLabel(id string) string {
	if len(id) > 40 {
		id = id[:40]
	}
	if id == "" {
		id = "run"
	}
	return id
}

func (m *mission) precopied(ctx context.Context) error {
	var gone []types.Tag
	for _, k := range []string{tagHash, tagTime, tagDowntime, tagChecked} {
		if _, ok := m.vol.Tags[k]; ok {
			gone = append(gone, types.Tag{Key: &k})
		}
	}
	if len(gone) > 0 { // a move that was rolled back
		if _, err := cloud.EC2(m.aws).DeleteTags(ctx, &ec2.DeleteTagsInput{Resources: []string{m.move.VolumeID}, Tags: gone}); err != nil {
			return fmt.Errorf("volume %s: tags: %w", m.move.VolumeID, cloud.Explain(err))
		}
	}
	return m.tag(ctx, Precopied, nil)
}
