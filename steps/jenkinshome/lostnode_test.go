package jenkinshome

import (
	"context"
	"strings"
	"testing"
	"time"

	"pipectl.dev/steps"
	"pipectl.dev/steps/jenkinshome/jenkins/jenkinstest"
)

// TestAbortDoesNotWaitForANodeThatIsLost loses the node of the mover inside the critical section: nobody will ever say that its pod ended.
func TestAbortDoesNotWaitForANodeThatIsLost(t *testing.T) {
	const pod = oldNS + "/pods/lost-a"
	running := `{apiVersion: v1, kind: Pod, metadata: {name: lost-a, namespace: jenkins, labels: {batch.kubernetes.io/job-name: pipectl-cutover-jenkins}}, spec: {nodeName: node-1}, status: {phase: Running}}`
	waiting := `{apiVersion: v1, kind: Pod, metadata: {name: lost-a, namespace: jenkins, labels: {batch.kubernetes.io/job-name: pipectl-cutover-jenkins}}, status: {phase: Pending},
spec: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [node-1]}]}]}}}}}`
	deafen := func(s *stage) {
		s.old.edit("/api/v1/nodes/node-1", func(o map[string]any) {
			sub(o, "status")["conditions"] = []any{map[string]any{"type": "Ready", "status": "Unknown"}}
		})
	}
	for name, c := range map[string]struct {
		pod  string
		lose func(*stage)
		verb Verb
	}{
		"it does not answer, and is aborted":           {running, deafen, Rollback},
		"it does not answer, and is resumed":           {running, deafen, Resume},
		"it is gone, and its replacement waits for it": {waiting, func(s *stage) { s.old.remove("/api/v1/nodes/node-1") }, Rollback},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				pre, err := s.precopy(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				s.on("copy verified", func() { s.noMover = true }) // of the Job that comes next
				ctx, closed := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { _, err := s.migrate(ctx, pre.Move, "run-1"); ended <- err }()
				s.await("the Job", func() bool { return s.old.get(oldJobs+"pipectl-cutover-jenkins") != nil })
				s.old.put(pod, object(c.pod))
				s.old.edit(oldRecord, func(o map[string]any) { // the mover stopped Jenkins, and was heard of no more
					sub(o, "data")[keyPhase] = string(Stopped)
					sub(o, "data")[keyCut] = `{"volumeId": "` + s.volume + `", "replicas": 1}`
				})
				s.old.edit(oldDeploy, func(o map[string]any) { sub(o, "spec")["replicas"] = 0 })
				s.await("Jenkins to end", func() bool { return !s.oldRuns() })
				c.lose(s)
				closed()
				<-ended
				began := time.Now()
				_, err = s.do(t.Context(), c.verb)
				if c.verb == Rollback && err != nil || c.verb == Resume && code(err) != "CutoverLost" {
					t.Errorf("got %v", err)
				}
				if took := time.Since(began); took < lostAfter || took > 2*lostAfter+startWithin {
					t.Errorf("took %s", took)
				}
				if !s.oldRuns() || s.state() != Precopied || s.old.get(pod) != nil {
					t.Errorf("the old one runs: %v, state %s, pod %v", s.oldRuns(), s.state(), s.old.get(pod))
				}
				if !strings.Contains(strings.Join(s.notes, "; "), "node node-1 does not answer") {
					t.Errorf("told: %q", s.notes)
				}
			})
		})
	}
}

func TestANodeThatAnswersAgainIsWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T, _ *stage) {
		s := silence{}
		for _, node := range []string{"a", "a", "", "a", "b"} {
			if s.tooLong(node) {
				t.Errorf("%q was given up", node)
			}
			time.Sleep(lostAfter - time.Second)
		}
		time.Sleep(time.Second)
		if !s.tooLong("b") {
			t.Error("it is waited for longer than lostAfter")
		}
	})
}

// TestFinalizeLetsTheOldApplicationSyncOnlyWhereGitHasItStopped keeps two controllers from running, and loses nothing of what was.
func TestFinalizeLetsTheOldApplicationSyncOnlyWhereGitHasItStopped(t *testing.T) {
	for name, c := range map[string]struct {
		status string
		heals  bool
	}{
		"Git has it stopped": {"Synced", true},
		"Git has it running": {"OutOfSync", false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				s.old.put(oldApp, object(`{apiVersion: argoproj.io/v1alpha1, kind: Application, metadata: {name: jenkins, namespace: argocd}, spec: {syncPolicy: {automated: {prune: true, selfHeal: true}}}}`))
				s.old.edit(oldDeploy, func(o map[string]any) {
					sub(sub(o, "metadata"), "annotations")["argocd.argoproj.io/tracking-id"] = "jenkins:apps/Deployment:jenkins/jenkins"
				})
				s.verified(t)
				if policy := jsonText(sub(sub(s.old.get(oldApp), "spec"), "syncPolicy")); strings.Contains(policy, "selfHeal\":true") && !strings.Contains(policy, "enabled") {
					t.Fatalf("not paused: %s", policy)
				}
				s.old.edit(oldApp, func(o map[string]any) {
					sub(o, "status")["resources"] = []any{map[string]any{"group": "apps", "kind": "Deployment", "namespace": "jenkins", "name": "jenkins", "status": c.status}}
				})
				if _, err := s.do(t.Context(), Finalize); err != nil {
					t.Fatal(err)
				}
				policy, told := jsonText(sub(sub(s.old.get(oldApp), "spec"), "syncPolicy")), strings.Join(s.notes, "; ")
				want := `{"automated":{"prune":true,"selfHeal":true}}`
				if c.heals != (policy == want) || c.heals == strings.Contains(told, `{"spec":{"syncPolicy":{"automated":{"prune":true,"selfHeal":true}}}}`) {
					t.Errorf("policy %s, told %s", policy, told)
				}
				if s.oldRuns() {
					t.Error("the old one runs")
				}
			})
		})
	}
}

func TestACutoverThatWasTurnedBackIsNotTakenForOneThatIsBegun(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		pre, err := s.precopy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.jenkins.Do(func(j *jenkinstest.Server) { j.Heavy = []string{"http://jenkins.invalid/job/slow/1/"} })
		m := s.migrateSpec(pre.Move)
		m.Jenkins.Builds.Then = "fail"
		env, undone := s.env("run-1"), false
		record := env.Record
		env.Record = func(e steps.Event) {
			undone = undone || e.Type == steps.ChangeFailed && e.Undone
			record(e)
		}
		if _, err := (migrateStep{s.base()}).Apply(t.Context(), env, m); err == nil || !undone || !s.oldRuns() {
			t.Errorf("%v, undone %v, the old one runs: %v", err, undone, s.oldRuns())
		}
	})
}
