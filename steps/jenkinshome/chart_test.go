package jenkinshome

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWhoOwnsAWorkload(t *testing.T) {
	chart := map[string]string{"app.kubernetes.io/instance": "ci", "app.kubernetes.io/managed-by": "Helm"}
	for name, c := range map[string]struct {
		notes, labels map[string]string
		want          string
	}{
		"Argo CD, by annotation":               {map[string]string{"argocd.argoproj.io/tracking-id": "jenkins:apps/StatefulSet:ci/ci-jenkins"}, chart, "jenkins"},
		"one outside of Argo CD's namespace":   {map[string]string{"argocd.argoproj.io/tracking-id": "team-a_jenkins:apps/StatefulSet:ci/ci-jenkins"}, chart, "jenkins"},
		"an older Argo CD, which renders Helm": {nil, chart, "ci"},
		"Helm":                                 {map[string]string{"meta.helm.sh/release-name": "ci"}, chart, ""},
		"nobody":                               {nil, nil, ""},
	} {
		if got := applicationOf(&metav1.ObjectMeta{Annotations: c.notes, Labels: c.labels}); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// TestAChartThatAnOlderArgoCDRendersIsPaused moves a workload that nothing but a label ties to an Application, which may not exist.
func TestAChartThatAnOlderArgoCDRendersIsPaused(t *testing.T) {
	for name, exists := range map[string]bool{"the Application exists": true, "the label says something else": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *stage) {
				if exists {
					s.old.put(oldApp, object(`{apiVersion: argoproj.io/v1alpha1, kind: Application, metadata: {name: jenkins, namespace: argocd}, spec: {syncPolicy: {automated: {selfHeal: true}}}}`))
				}
				s.old.edit(oldDeploy, func(o map[string]any) {
					sub(o, "metadata")["labels"] = map[string]any{"app.kubernetes.io/instance": "jenkins", "app.kubernetes.io/managed-by": "Helm"}
				})
				var granted []string
				s.on(string(doStop), func() { granted = s.old.list("/apis/rbac.authorization.k8s.io/v1/namespaces/argocd/") })
				s.moved(t)
				if exists != (len(granted) > 0) {
					t.Errorf("granted in Argo CD's namespace: %v", granted)
				}
				if !exists {
					return
				}
				if auto := sub(sub(sub(s.old.get(oldApp), "spec"), "syncPolicy"), "automated"); auto["selfHeal"] == true && auto["enabled"] != false {
					t.Errorf("the Application heals: %v", auto)
				}
			})
		})
	}
}

func TestWhenTheKubeletSweepsTheHome(t *testing.T) {
	always, mismatch := corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch
	group := func(n int64, p *corev1.PodFSGroupChangePolicy) *corev1.PodSecurityContext {
		return &corev1.PodSecurityContext{FSGroup: &n, FSGroupChangePolicy: p}
	}
	for name, c := range map[string]struct {
		context *corev1.PodSecurityContext
		want    string
	}{
		"no context":            {nil, ""},
		"no fsGroup":            {&corev1.PodSecurityContext{FSGroupChangePolicy: &always}, ""},
		"the chart before 2026": {group(1000, nil), "fsGroupChangePolicy is not OnRootMismatch"},
		"always":                {group(1000, &always), "fsGroupChangePolicy is not OnRootMismatch"},
		"the chart now":         {group(1000, &mismatch), ""},
		"another group":         {group(2000, &mismatch), "fsGroup is 2000, and the home's group 1000"},
	} {
		got := sweeps(&corev1.PodSpec{SecurityContext: c.context}, 1000)
		if got != c.want && (c.want == "" || !strings.Contains(got, c.want)) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestTheUserThatJenkinsRunsAs(t *testing.T) {
	id := func(n int64) *int64 { return &n }
	pod := &corev1.Pod{Spec: corev1.PodSpec{SecurityContext: &corev1.PodSecurityContext{RunAsUser: id(7)}}}
	for _, c := range []struct {
		h    home
		want int64
	}{
		{home{Pod: &corev1.Pod{}}, 1000},
		{home{Pod: pod}, 7},
		{home{Pod: pod, Container: corev1.Container{SecurityContext: &corev1.SecurityContext{RunAsUser: id(0)}}}, 0},
	} {
		if got := c.h.user(); got != c.want {
			t.Errorf("got %d, want %d", got, c.want)
		}
	}
}
