package rehearsal

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"pipectl.dev/steps"
)

// hookFiles are the shipped manifests of the hook.
const hookFiles = "../argocd/hooks"

// hookFile is one of them.
func hookFile(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(hookFiles, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestAHookEnds reads the shipped hooks: each has a deadline, since Argo CD has none, and waits for others less long than that.
func TestAHookEnds(t *testing.T) {
	for _, name := range []string{"presync-pod.yaml", "postsync-pod.yaml", "presync-job.yaml", "postsync-job.yaml"} {
		var hook struct {
			Kind string `json:"kind"`
			Spec struct {
				corev1.PodSpec          `json:",inline"`       // of a Pod
				Template                corev1.PodTemplateSpec `json:"template"`
				TTLSecondsAfterFinished *int32                 `json:"ttlSecondsAfterFinished"`
			} `json:"spec"`
		}
		if err := yaml.Unmarshal([]byte(hookFile(t, name)), &hook); err != nil {
			t.Fatal(err)
		}
		containers := hook.Spec.Containers
		if hook.Kind == "Job" {
			containers = hook.Spec.Template.Spec.Containers
		}
		args := containers[0].Args
		at := slices.Index(args, "--lock-wait")
		if at < 0 || hook.Spec.ActiveDeadlineSeconds == nil || hook.Spec.TTLSecondsAfterFinished != nil {
			t.Errorf("%s: args %v, deadline %v, time to live %v", name, args, hook.Spec.ActiveDeadlineSeconds, hook.Spec.TTLSecondsAfterFinished)
			continue
		}
		patience, err := time.ParseDuration(args[at+1])
		if err != nil || patience >= time.Duration(*hook.Spec.ActiveDeadlineSeconds)*time.Second {
			t.Errorf("%s: waits for others %s of %d s, %v", name, args[at+1], *hook.Spec.ActiveDeadlineSeconds, err)
		}
	}
}

// TestAJobIsNotTriedAgainInVain reads the shipped Jobs: what pipectl ends with where trying again mends nothing ends the Job.
func TestAJobIsNotTriedAgainInVain(t *testing.T) {
	for _, name := range []string{"presync-job.yaml", "postsync-job.yaml"} {
		var job batchv1.Job
		if err := yaml.UnmarshalStrict([]byte(hookFile(t, name)), &job); err != nil {
			t.Fatal(err)
		}
		var ends []int32
		for _, r := range job.Spec.PodFailurePolicy.Rules {
			if r.Action == batchv1.PodFailurePolicyActionFailJob && r.OnExitCodes.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn {
				ends = append(ends, r.OnExitCodes.Values...)
			}
		}
		for category, end := range map[steps.Category]bool{
			steps.Internal: true, steps.BadInput: true, steps.Precondition: true, steps.Quota: true, steps.Credentials: true, steps.Permission: true,
			steps.Approval: true, steps.Verification: true,
			steps.Conflict: false, steps.Transient: false, steps.Timeout: false, steps.Partial: false, steps.Unhealthy: false, steps.Interrupted: false,
		} {
			if got := slices.Contains(ends, int32(category.ExitCode())); got != end {
				t.Errorf("%s: exit %d (%s) ends it: %v, want %v", name, category.ExitCode(), category, got, end)
			}
		}
	}
}
