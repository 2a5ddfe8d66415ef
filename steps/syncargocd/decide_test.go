package syncargocd

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	"github.com/argoproj/gitops-engine/pkg/health"
	"github.com/argoproj/gitops-engine/pkg/sync/common"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/steps"
)

const (
	shaA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	shaB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

var (
	epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	want  = wanted{RunID: "run-1", HealthyFor: 20 * time.Second, DegradedGrace: time.Minute, Appear: 3 * time.Minute, Timeout: 15 * time.Minute}
)

// app is an Application that is Synced and Healthy at shaA, changed by edits.
func app(edits ...func(*argo.Application)) *argo.Application {
	a := &argo.Application{}
	a.Name, a.ResourceVersion = "shop", "7"
	a.Status.Sync = argo.SyncStatus{Status: argo.SyncStatusCodeSynced, Revision: shaA}
	a.Status.Health.Status = health.HealthStatusHealthy
	a.Status.ReconciledAt = &metav1.Time{Time: epoch}
	for _, e := range edits {
		e(a)
	}
	return a
}

func outOf(a *argo.Application)    { a.Status.Sync.Status = argo.SyncStatusCodeOutOfSync }
func degraded(a *argo.Application) { a.Status.Health.Status = health.HealthStatusDegraded }
func starting(a *argo.Application) { a.Status.Health.Status = health.HealthStatusProgressing }
func marked(a *argo.Application) {
	a.Annotations = map[string]string{argo.AnnotationKeyRefresh: "normal"}
}
func later(a *argo.Application) {
	a.Status.ReconciledAt = &metav1.Time{Time: a.Status.ReconciledAt.Add(time.Second)}
}

func at(revision string) func(*argo.Application) {
	return func(a *argo.Application) { a.Status.Sync.Revision = revision }
}

func op(run string) *argo.Operation {
	return &argo.Operation{Info: []*argo.Info{{Name: runInfo, Value: run}}, InitiatedBy: argo.OperationInitiator{Username: "by-" + run}}
}

func pending(run string) func(*argo.Application) {
	return func(a *argo.Application) { a.Operation = op(run) }
}

func state(run string, p common.OperationPhase, message string) func(*argo.Application) {
	return func(a *argo.Application) {
		a.Status.OperationState = &argo.OperationState{Operation: *op(run), Phase: p, Message: message, SyncResult: &argo.SyncOperationResult{Revision: shaA}}
	}
}

func condition(kind, message string) func(*argo.Application) {
	return func(a *argo.Application) {
		a.Status.Conditions = []argo.ApplicationCondition{{Type: kind, Message: message}}
	}
}

// look is the Application at one time, and what must be decided then: "hold <part of the detail>", "refresh", "hard refresh", "sync",
// "finish", "fail <code>" or "terminate <code>". A sync that is asked for is taken as written.
type look struct {
	after time.Duration // since the look before
	app   *argo.Application
	want  string
}

func TestDecisions(t *testing.T) {
	const tick = time.Second
	fresh := app(later)
	inOrder := []look{{0, app(outOf), "refresh"}, {tick, app(outOf, later), "sync"}}
	after := func(first []look, more ...look) []look { return append(append([]look{}, first...), more...) }
	ran := after(inOrder, look{tick, app(outOf, later, pending("run-1")), "hold start"},
		look{tick, app(outOf, later, pending("run-1"), state("run-1", common.OperationRunning, "applying")), "hold applying"})
	done := after(ran, look{tick, app(outOf, later, state("run-1", common.OperationSucceeded, "")), "refresh"})
	for name, test := range map[string]struct {
		wanted func(*wanted)
		looks  []look
	}{
		"what is live already is left alone": {looks: []look{{0, app(), "refresh"}, {tick, app(marked), "hold compare"}, {tick, fresh, "finish"}}},
		"a sync, a comparison, and a healthy while": {looks: after(done, look{tick, app(marked), "hold compare"}, look{tick, app(later, later), "hold healthy"},
			look{19 * tick, app(later, later), "hold healthy"}, look{tick, app(later, later), "finish"})},
		"R1: a request of ours that was overwritten is made again": {looks: after(inOrder, look{tick, app(outOf, later, pending("other")), "hold by-other"},
			look{tick, app(outOf, later, state("other", common.OperationSucceeded, "")), "refresh"}, look{tick, app(outOf, later, later), "sync"})},
		"R2: the end of another operation is not taken for ours": {looks: after(inOrder,
			look{tick, app(outOf, later, pending("run-1"), state("other", common.OperationSucceeded, "")), "hold start"})},
		"R3: the state of the operation before ours is not looked at": {looks: after(inOrder,
			look{tick, app(outOf, later, pending("run-1"), state("run-0", common.OperationFailed, "old")), "hold start"})},
		"R4: a status from before the end of the sync does not count": {looks: after(ran,
			look{tick, app(later, state("run-1", common.OperationSucceeded, "")), "refresh"}, look{tick, app(marked, outOf, later), "hold compare"})},
		"R4: a status of another revision than the one synced does not count": {looks: after(done, look{tick, app(outOf, at(shaB), later, later), "refresh"},
			look{tick, app(outOf, at(shaB), later, later, later), "sync"})},
		"R5: a mark that went without a comparison is set again, once": {looks: []look{{0, app(outOf), "refresh"}, {tick, app(outOf), "refresh"}, {tick, app(outOf), "sync"}}},
		"R5: a controller that does not answer":                        {looks: []look{{0, app(), "refresh"}, {tick, app(marked), "hold compare"}, {3 * time.Minute, app(marked), "fail RefreshIgnored"}}},
		"R5: a controller that stopped at an error and left the mark": {looks: []look{{0, app(), "refresh"},
			{30 * tick, app(marked, condition("InvalidSpecError", "no project")), "hard refresh"},
			{30 * tick, app(marked, condition("InvalidSpecError", "no project")), "fail InvalidSpecError"}}},
		"R6: health that flaps starts the healthy while anew": {looks: after(done, look{tick, app(later, later), "hold healthy"}, look{10 * tick, app(later, later, starting), "hold Progressing"},
			look{tick, app(later, later), "hold healthy"}, look{19 * tick, app(later, later), "hold healthy"}, look{tick, app(later, later), "finish"})},
		"R6: Degraded for a moment is no failure": {looks: after(done, look{tick, app(later, later, degraded), "hold Degraded"}, look{59 * tick, app(later, later, starting), "hold Progressing"},
			look{tick, app(later, later, degraded), "hold Degraded"}, look{60 * tick, app(later, later, degraded), "fail Degraded"})},
		"R7: a window that closed meanwhile is blocked, and nothing is terminated": {looks: after(inOrder,
			look{tick, app(outOf, later, pending("run-1"), state("run-1", common.OperationRunning, "Sync operation blocked by sync window")), "fail BlockedByWindow"})},
		"R7: an operation of others that a window holds": {looks: []look{
			{0, app(outOf, pending("other"), state("other", common.OperationRunning, "Sync operation blocked by sync window")), "fail BlockedByWindow"}}},
		"R7: not even on a timeout": {wanted: func(w *wanted) { w.Timeout = time.Second }, looks: []look{{0, app(), "refresh"},
			{2 * tick, app(outOf, pending("run-1"), state("run-1", common.OperationRunning, "Sync operation blocked by sync window")), "fail TimedOut"}}},
		"R8: a running state that nobody works on is replaced": {looks: []look{{0, app(outOf, state("other", common.OperationRunning, "x")), "hold by-other"},
			{44 * tick, app(outOf, state("other", common.OperationRunning, "x")), "hold by-other"},
			{tick, app(outOf, state("other", common.OperationRunning, "x")), "refresh"}, {tick, app(outOf, later, state("other", common.OperationRunning, "x")), "sync"}}},
		"R8: one that moves is waited for": {looks: []look{{0, app(outOf, state("other", common.OperationRunning, "x")), "hold by-other"},
			{44 * tick, app(outOf, state("other", common.OperationRunning, "y")), "hold by-other"}, {44 * tick, app(outOf, state("other", common.OperationRunning, "y")), "hold by-other"}}},
		"R9: what another operation delivered is not synced again": {looks: []look{{0, app(outOf, pending("auto")), "hold by-auto"},
			{tick, app(state("auto", common.OperationSucceeded, "")), "refresh"}, {tick, app(later), "finish"}}},
		"R9: an automatic sync that starts before ours": {looks: []look{{0, app(outOf), "refresh"}, {tick, app(outOf, later, pending("auto")), "hold by-auto"}}},
		"R12: Healthy beside a comparison error is no success": {looks: []look{{0, app(), "refresh"},
			{tick, app(later, condition("ComparisonError", "app path does not exist")), "hard refresh"},
			{tick, app(later, later, condition("ComparisonError", "app path does not exist")), "fail ComparisonError"}}},
		"R13: an error that the repo server remembered": {looks: []look{{0, app(), "refresh"},
			{tick, app(later, condition("ComparisonError", "Manifest generation error (cached)")), "hard refresh"}, {tick, app(later, later), "finish"}}},
		"R13: a repo server that is still starting": {looks: []look{{0, app(), "refresh"}, {tick, app(later, condition("ComparisonError", "rpc error: code = Unavailable")), "hard refresh"},
			{tick, app(later, later, condition("ComparisonError", "rpc error: code = Unavailable")), "hold Unavailable"},
			{10 * tick, app(later, later, condition("ComparisonError", "rpc error: code = Unavailable")), "hard refresh"}, {tick, app(later, later, later), "finish"}}},
		"R16: Synced at another commit than wanted is synced": {wanted: func(w *wanted) { w.Revision = shaB }, looks: []look{{0, app(), "refresh"}, {tick, fresh, "sync"}}},
		"R16: a branch that keeps moving away ends": {wanted: func(w *wanted) { w.Revision = shaB }, looks: []look{{0, app(), "refresh"}, {tick, fresh, "sync"},
			{tick, app(later, state("run-1", common.OperationSucceeded, "")), "refresh"}, {tick, app(later, later), "refresh"}, {tick, app(later, later, later), "sync"},
			{tick, app(later, state("run-1", common.OperationSucceeded, "")), "refresh"}, {tick, app(later, later), "refresh"}, {tick, app(later, later, later), "sync"},
			{tick, app(later, state("run-1", common.OperationSucceeded, "")), "refresh"}, {tick, app(later, later), "refresh"}, {tick, app(later, later, later), "fail KeepsChanging"}}},
		"an Application that comes late":       {looks: []look{{0, nil, "hold exist"}, {2 * time.Minute, app(), "refresh"}}},
		"one that never comes":                 {looks: []look{{0, nil, "hold exist"}, {3 * time.Minute, nil, "fail AppNotFound"}}},
		"one that is deleted meanwhile":        {looks: []look{{0, app(), "refresh"}, {tick, nil, "fail AppDeleted"}}},
		"a sync that fails":                    {looks: after(ran, look{tick, app(outOf, later, state("run-1", common.OperationFailed, "one or more objects failed")), "fail SyncFailed"})},
		"a controller that takes no operation": {looks: after(inOrder, look{tick, app(outOf, later, pending("run-1")), "hold start"}, look{2 * time.Minute, app(outOf, later, pending("run-1")), "terminate SyncNotStarted"})},
		"only our own operation is stopped on a timeout": {wanted: func(w *wanted) { w.Timeout = 3 * time.Second },
			looks: after(inOrder, look{3 * tick, app(outOf, pending("run-1"), state("run-1", common.OperationRunning, "")), "terminate TimedOut"})},
		"an operation of others is not": {wanted: func(w *wanted) { w.Timeout = 3 * time.Second },
			looks: []look{{0, app(outOf, pending("other")), "hold by-other"}, {3 * tick, app(outOf, pending("other")), "fail TimedOut"}}},
		"Synced but not healthy yet needs no sync": {looks: []look{{0, app(starting), "refresh"}, {tick, app(starting, later), "hold Progressing"}, {tick, app(later), "hold healthy"}, {20 * tick, app(later), "finish"}}},
		"what stays out of sync after a sync":      {looks: after(done, look{tick, app(outOf, later, later), "hold OutOfSync"}, look{15 * tick, app(outOf, later, later), "fail StaysOutOfSync"})},
		"an interrupted run of ours is taken up":   {looks: []look{{0, app(outOf, pending("run-1"), state("run-1", common.OperationRunning, "applying")), "hold applying"}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := want
			if test.wanted != nil {
				test.wanted(&w)
			}
			var m memory
			now := epoch
			for i, l := range test.looks {
				now = now.Add(l.after)
				next, act := decide(m, w, l.app, now)
				if got := said(act); !strings.HasPrefix(got, strings.SplitN(l.want, " ", 2)[0]) || !strings.Contains(got, l.want[strings.IndexByte(l.want, ' ')+1:]) {
					t.Fatalf("look %d: decided %q, want %q", i, got, l.want)
				}
				if m = next; act.Do == askSync {
					m = requested(m, now)
				}
			}
		})
	}
}

func said(a action) string {
	code := ""
	if a.Err != nil {
		code = steps.Classify(a.Err).Code
	}
	switch a.Do {
	case hold:
		return "hold " + a.Detail
	case askRefresh:
		if a.Hard {
			return "hard refresh"
		}
		return "refresh"
	case askSync:
		return "sync"
	case terminate:
		return "terminate " + code
	case finish:
		return "finish"
	default:
		return "fail " + code
	}
}

func TestOperationKeepsTheApplicationsOwnPolicy(t *testing.T) {
	a := app()
	a.Spec.SyncPolicy = &argo.SyncPolicy{SyncOptions: []string{"CreateNamespace=true", "Validate=true"}, Automated: &argo.SyncPolicyAutomated{Prune: true},
		Retry: &argo.RetryStrategy{Limit: 3}}
	got := operation(a, wanted{RunID: "r", Revision: shaB}, []string{"Validate=false", "ServerSideApply=true"})
	want := argo.Operation{
		Sync:        &argo.SyncOperation{Revision: shaB, Prune: true, SyncOptions: []string{"CreateNamespace=true", "Validate=false", "ServerSideApply=true"}},
		InitiatedBy: argo.OperationInitiator{Username: "pipectl"}, Info: []*argo.Info{{Name: runInfo, Value: "r"}}, Retry: argo.RetryStrategy{Limit: 3}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	raw, err := syncPatch(a, got)
	if err != nil {
		t.Fatal(err)
	}
	var patch map[string]any
	if err := json.Unmarshal(raw, &patch); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"resourceVersion": "7"}, patch["metadata"]); diff != "" {
		t.Errorf("precondition (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"operationState": nil}, patch["status"]); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

func TestCirclesAreFound(t *testing.T) {
	for name, test := range map[string]struct {
		apps []App
		want string
	}{
		"a chain":           {apps: []App{{Name: "a", DependsOn: []string{"b"}}, {Name: "b"}}},
		"itself":            {apps: []App{{Name: "a", DependsOn: []string{"a"}}}, want: "a -> a"},
		"three in a circle": {apps: []App{{Name: "x", DependsOn: []string{"a"}}, {Name: "a", DependsOn: []string{"b"}}, {Name: "b", DependsOn: []string{"c"}}, {Name: "c", DependsOn: []string{"a"}}}, want: "a -> b -> c -> a"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, got := circle(test.apps); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
