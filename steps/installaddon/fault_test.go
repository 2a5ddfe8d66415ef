package installaddon_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/installaddon"
	"pipectl.dev/steps/provisioneks"
)

func TestAddonWaitsForTheFirstNodeThatIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{Seed: 27})
		if _, err := w.Apply(t.Context(), provisioneks.New(w.Open, nil), cloudtest.Input(t, small)); err != nil {
			t.Fatal(err)
		}
		k := w.Kube("blog")
		const late = 3 * time.Minute
		go func() {
			time.Sleep(late)
			if _, err := k.Clientset.CoreV1().Nodes().Create(t.Context(), cloudtest.Node("ip-10-0-1-5"), metav1.CreateOptions{}); err != nil {
				t.Error(err)
			}
		}()
		start := time.Now()
		var asked time.Duration
		w.OnCall("eks", "CreateAddon", func() { asked = time.Since(start) })
		raw, err := w.Apply(t.Context(), installaddon.New(w.Open, k.Open), cloudtest.Input(t, "{cluster: {eks: {name: blog, region: ap-northeast-2}}, name: coredns}"))
		if out := decode(t, raw, err); out.Status != "ACTIVE" || asked < late {
			t.Errorf("got %+v, asked of EKS after %s, want a node first", out, asked)
		}
	})
}

func TestRefusalsOfCreateAddon(t *testing.T) {
	for name, c := range map[string]struct {
		code, message string
		times         int
		want          string // of the error; "" where it passes by itself
	}{
		"a role that EKS does not know yet":    {"InvalidParameterException", "The role arn:aws:iam::111122223333:role/csi does not exist or could not be assumed", 4, ""},
		"a role that is wrong":                 {"InvalidParameterException", "The role arn:aws:iam::111122223333:role/csi does not exist or could not be assumed", -1, "could not be assumed"},
		"a service account that is taken":      {"ResourceInUseException", "Service account ebs-csi-controller-sa already has a pod identity association", -1, "pod identity association"},
		"a configuration that does not fit":    {"InvalidParameterException", "ConfigurationValue provided in request is not supported: Json schema validation failed", -1, "not supported"},
		"a cluster that is not ready for them": {"InvalidRequestException", "Cluster 'blog' is not in ACTIVE status", -1, "not in ACTIVE status"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, d, text := world(t, emulator.Options{Seed: 28})
				w.AddFault(emulator.Fault{Service: "eks", Action: "CreateAddon", Kind: "refuse", Code: c.code, Message: c.message, Times: c.times})
				raw, err := w.Apply(t.Context(), d, cloudtest.Input(t, text))
				if c.want == "" {
					decode(t, raw, err)
					return
				}
				if err == nil || !strings.Contains(err.Error(), c.want) || steps.Classify(err).Code != c.code {
					t.Errorf("got %v, want EKS's words %q", err, c.want)
				}
			})
		})
	}
}

func TestConflictWithAnotherToolIsExplained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, text := world(t, emulator.Options{Seed: 29})
		w.OnCall("eks", "CreateAddon", func() {
			go func() {
				time.Sleep(5 * time.Second)
				w.FailAddon("blog", "aws-ebs-csi-driver")
			}()
		})
		_, err := w.Apply(t.Context(), d, cloudtest.Input(t, text+"conflicts: none\n"))
		if err == nil {
			t.Fatal("want the conflict")
		}
		if e := steps.Classify(err); e.Code != "AddonFailed" || !strings.Contains(strings.Join(e.Hints, " "), "conflicts: overwrite") || !strings.Contains(e.Message, "ConfigurationConflict") {
			t.Errorf("got %v, hints %q", err, e.Hints)
		}
	})
}
