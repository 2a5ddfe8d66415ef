package jenkinshome

import (
	"strings"
	"testing"

	"pipectl.dev/steps"
	"pipectl.dev/steps/jenkinshome/jenkins/jenkinstest"
)

// TestTheOldWorkloadOnTheClaimIsTheNewJenkins: where source and target are one cluster, the chart's existingClaim makes the old workload the
// new one. There is nothing else then that a rollback could start.
func TestTheOldWorkloadOnTheClaimIsTheNewJenkins(t *testing.T) {
	bubble(t, func(t *testing.T, s *stage) {
		s.claimed()
		move := s.cutOver(t)
		s.old.edit(oldDeploy, func(o map[string]any) { sub(o, "spec")["replicas"] = 1 })
		s.await("Jenkins", s.oldRuns)
		s.editPod(`{volumes: [{name: home, persistentVolumeClaim: {claimName: jenkins-ebs}}]}`)
		v := s.verifySpec(move)
		v.Cluster, v.Workload = steps.ClusterRef{Context: "old"}, "deployment/jenkins"
		job := s.jenkins.Jobs["a"]
		s.jenkins.Do(func(j *jenkinstest.Server) { delete(j.Jobs, "a") })
		if _, err := (verifyStep{s.base()}).Apply(t.Context(), s.env("run-1"), v); code(err) != "JenkinsDiffers" || !strings.Contains(err.Error(), backInPlace) {
			t.Errorf("one that differs: %v", err)
		}
		a, k := s.openers()
		p := s.precopySpec()
		if _, err := NewManager(a, k, Options{}).Do(t.Context(), s.env("run-2"), Stages{Precopy: &p, Verify: &v}, Rollback); code(err) != "SameWorkload" {
			t.Errorf("abort: %v", err)
		}
		if s.state() != Moved || !s.oldRuns() || s.old.get(sameClaim) == nil {
			t.Errorf("touched: %s, runs: %v", s.state(), s.oldRuns())
		}
		s.jenkins.Do(func(j *jenkinstest.Server) { j.Jobs["a"] = job })
		if _, err := (verifyStep{s.base()}).Apply(t.Context(), s.env("run-1"), v); err != nil || s.state() != Verified {
			t.Errorf("one that is equal: %v, %s", err, s.state())
		}
		if notes := strings.Join(s.notes, "\n"); strings.Contains(notes, "runs too") {
			t.Errorf("it is taken for a second Jenkins: %s", notes)
		}
	})
}
