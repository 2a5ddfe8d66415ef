package installaddon_test

import (
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/cloud"
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

// EKS calls an add-on DEGRADED that does not run yet, and looks again only after a quarter of an hour: that is no failure, and what stays
// so is told with EKS's own reasons.
func TestDegradedMayPassAndIsToldWhenItDoesNot(t *testing.T) {
	for name, passes := range map[string]bool{"the role is trusted in time": true, "it never is": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, d, text := world(t, emulator.Options{Seed: 30})
				s, err := w.Open(t.Context(), "")
				if err != nil {
					t.Fatal(err)
				}
				role, trust := strings.TrimSpace(text[strings.LastIndex(text, "/")+1:]), ""
				was, err := cloud.IAM(s).GetRole(t.Context(), &iam.GetRoleInput{RoleName: &role})
				if err != nil {
					t.Fatal(err)
				}
				if trust, err = url.QueryUnescape(*was.Role.AssumeRolePolicyDocument); err != nil {
					t.Fatal(err)
				}
				set := func(doc string) {
					if _, err := cloud.IAM(s).UpdateAssumeRolePolicy(t.Context(), &iam.UpdateAssumeRolePolicyInput{RoleName: &role, PolicyDocument: &doc}); err != nil {
						t.Error(err)
					}
				}
				set(strings.Replace(trust, "ebs-csi-controller-sa", "another", 1))
				time.Sleep(time.Minute) // until IAM has spread it
				go func() {
					if time.Sleep(5 * time.Minute); passes {
						set(trust)
					}
				}()
				start := time.Now()
				raw, err := w.Apply(t.Context(), d, cloudtest.Input(t, text))
				if passes {
					if out := decode(t, raw, err); out.Status != "ACTIVE" || time.Since(start) < 5*time.Minute {
						t.Errorf("got %+v after %s", out, time.Since(start))
					}
				} else if err == nil || !strings.Contains(err.Error(), "DEGRADED") && !strings.Contains(err.Error(), "InsufficientNumberOfReplicas") {
					t.Errorf("got %v, want EKS's reason", err)
				}
				w.NoDuplicates(t)
			})
		})
	}
}
