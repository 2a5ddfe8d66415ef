package bindirsa_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/eks/types"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	"pipectl.dev/kube"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/bindirsa"
)

const (
	irsa = "cluster: {eks: {name: blog, region: ap-northeast-2}}\nroleName: runner\nserviceAccounts: [{namespace: kube-system, name: runner}]\n"
	pods = irsa + "podIdentity: true\n"

	podTrust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession"]}]}`
)

func podWorld(t *testing.T, seed int64, objects ...*corev1.ServiceAccount) (*cloudtest.World, steps.Definition, *cloudtest.Kube) {
	t.Helper()
	w, k := world(t, emulator.Options{Seed: seed})
	if len(objects) > 0 {
		k = w.Kube("blog", objects[0])
	}
	_, err := cloud.EKS(session(t, w)).CreateAddon(t.Context(), &eks.CreateAddonInput{ClusterName: aws.String("blog"), AddonName: aws.String("eks-pod-identity-agent")})
	if err != nil {
		t.Fatal(err)
	}
	return w, bindirsa.New(w.Open, k.Open), k
}

func associations(t *testing.T, w *cloudtest.World) []types.PodIdentityAssociation {
	t.Helper()
	api := cloud.EKS(session(t, w))
	list, err := api.ListPodIdentityAssociations(t.Context(), &eks.ListPodIdentityAssociationsInput{ClusterName: aws.String("blog")})
	if err != nil {
		t.Fatal(err)
	}
	var out []types.PodIdentityAssociation
	for _, row := range list.Associations {
		d, err := api.DescribePodIdentityAssociation(t.Context(), &eks.DescribePodIdentityAssociationInput{ClusterName: aws.String("blog"), AssociationId: row.AssociationId})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, *d.Association)
	}
	return out
}

func TestPodIdentityIsBoundKeptAndTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, k := podWorld(t, 31)
		before := w.Owned()
		in := cloudtest.Input(t, pods)
		raw, err := w.Apply(t.Context(), d, in)
		out := decode(t, raw, err)
		got := associations(t, w)
		if len(got) != 1 || aws.ToString(got[0].RoleArn) != out.RoleARN || out.Issuer != "" || out.Proof != nil {
			t.Errorf("got %s and %d associations, want one with the role, no issuer and no proof", raw, len(got))
		}
		if trust := trustOf(t, w, "runner"); !strings.Contains(trust, "sts:TagSession") || strings.Contains(trust, "oidc") {
			t.Errorf("trust policy %s", trust)
		}
		if a := annotation(t, k, "runner"); a != "" {
			t.Errorf("service account: %q, want it made and without the annotation of IRSA", a)
		}
		mark := w.Mark()
		again, err := w.Apply(t.Context(), d, in)
		reads, writes := w.Count(mark)
		if err != nil || writes != 0 || string(again) != string(raw) {
			t.Errorf("second run: %v, %d reads, %d writes, %s", err, reads, writes, again)
		}
		if err := w.Down(t.Context(), d, in, false); err != nil {
			t.Fatal(err)
		}
		if left := associations(t, w); len(left) > 0 || len(w.Owned()) != len(before) {
			t.Errorf("after down: %d associations, %v, want %v", len(left), w.Owned(), before)
		}
	})
}

func TestPodIdentityDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, _ := podWorld(t, 32)
		two := strings.Replace(pods, "name: runner}", "name: runner}, {namespace: kube-system, name: gone}", 1)
		if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, two)); err != nil {
			t.Fatal(err)
		}
		other := w.SeedRole("other", podTrust)
		for _, a := range associations(t, w) {
			if *a.ServiceAccount != "runner" {
				continue
			}
			_, err := cloud.EKS(session(t, w)).UpdatePodIdentityAssociation(t.Context(), &eks.UpdatePodIdentityAssociationInput{ClusterName: aws.String("blog"), AssociationId: a.AssociationId, RoleArn: &other})
			if err != nil {
				t.Fatal(err)
			}
		}
		var drift []string
		for _, c := range planned(t, w, d, cloudtest.Input(t, pods)).Changes {
			drift = append(drift, c.Drift...)
		}
		if text := strings.Join(drift, "\n"); !strings.Contains(text, "role: have "+other) || !strings.Contains(text, "kube-system/gone") {
			t.Errorf("drift %q, want the other role and the association that left the spec", drift)
		}
		raw, err := d.Apply(t.Context(), w.Env(), cloudtest.Input(t, pods))
		out := decode(t, raw, err)
		if got := associations(t, w); len(got) != 1 || *got[0].RoleArn != out.RoleARN {
			t.Errorf("%d associations are left: %v", len(got), got)
		}
	})
}

func TestFromIRSAToPodIdentityAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, k := podWorld(t, 33)
		for i, step := range []struct {
			spec         string
			associations int
			annotated    bool
		}{{irsa, 0, true}, {pods, 1, false}, {irsa, 0, true}, {pods, 1, false}} {
			raw, err := w.Apply(t.Context(), d, cloudtest.Input(t, step.spec))
			out := decode(t, raw, err)
			if n := len(associations(t, w)); n != step.associations {
				t.Errorf("%d: %d associations, want %d", i, n, step.associations)
			}
			if got := annotation(t, k, "runner"); (got == out.RoleARN) != step.annotated || (out.Proof != nil) != step.annotated {
				t.Errorf("%d: annotation %q, proof %v", i, got, out.Proof)
			}
		}
	})
}

func TestAnAnnotationOfOthersIsToldAndKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, k := podWorld(t, 34, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "runner", Annotations: map[string]string{"eks.amazonaws.com/role-arn": "arn:old"}}})
		if notes := strings.Join(planned(t, w, d, cloudtest.Input(t, pods)).Forecast.Notes, "\n"); !strings.Contains(notes, "arn:old") {
			t.Errorf("notes %q do not tell it", notes)
		}
		if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, pods)); err != nil || annotation(t, k, "runner") != "arn:old" {
			t.Errorf("%v, annotation %q, want it kept", err, annotation(t, k, "runner"))
		}
	})
}

func TestPodIdentityFailures(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*testing.T, *cloudtest.World)
		code    string
		exit    int
	}{
		"no agent": {func(t *testing.T, w *cloudtest.World) {
			_, err := cloud.EKS(session(t, w)).DeleteAddon(t.Context(), &eks.DeleteAddonInput{ClusterName: aws.String("blog"), AddonName: aws.String("eks-pod-identity-agent")})
			if err != nil {
				t.Fatal(err)
			}
			for { // EKS takes its time
				_, err := cloud.EKS(session(t, w)).DescribeAddon(t.Context(), &eks.DescribeAddonInput{ClusterName: aws.String("blog"), AddonName: aws.String("eks-pod-identity-agent")})
				if cloud.IsNotFound(err) {
					return
				}
				time.Sleep(10 * time.Second)
			}
		}, "NoPodIdentityAgent", 10},
		"an association of somebody else": {func(t *testing.T, w *cloudtest.World) {
			other := w.SeedRole("other", podTrust)
			_, err := cloud.EKS(session(t, w)).CreatePodIdentityAssociation(t.Context(), &eks.CreatePodIdentityAssociationInput{ClusterName: aws.String("blog"), Namespace: aws.String("kube-system"), ServiceAccount: aws.String("runner"), RoleArn: &other})
			if err != nil {
				t.Fatal(err)
			}
		}, "NotOurs", 12},
		"no permission": {func(_ *testing.T, w *cloudtest.World) {
			w.AddFault(emulator.Fault{Service: "eks", Action: "CreatePodIdentityAssociation", Kind: "access-denied"})
		}, "AccessDeniedException", 11},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, d, _ := podWorld(t, 35)
				c.prepare(t, w)
				mark := w.Mark()
				_, err := w.Apply(t.Context(), d, cloudtest.Input(t, pods))
				e := steps.Classify(err)
				if err == nil || e.Code != c.code || e.Category.ExitCode() != c.exit {
					t.Fatalf("got %v (%s, exit %d), want %s, exit %d", err, e.Code, e.Category.ExitCode(), c.code, c.exit)
				}
				if _, writes := w.Count(mark); c.code == "NoPodIdentityAgent" && writes > 0 {
					t.Errorf("%d writes before the missing agent was told", writes)
				}
				if got := associations(t, w); c.code == "NotOurs" && (len(got) != 1 || !strings.HasSuffix(*got[0].RoleArn, "/other")) {
					t.Errorf("somebody else's association is %v", got)
				}
			})
		})
	}
}

// pod puts a running pod of the service account into the cluster, as a workload would.
func pod(t *testing.T, k *cloudtest.Kube, name, account string) {
	t.Helper()
	if _, err := k.CoreV1().Pods("kube-system").Create(t.Context(), cloudtest.Pod("kube-system", name, account), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func count(p steps.ErasedPlan, verb string) (n int) {
	for _, c := range p.Changes {
		if string(c.Action) == verb {
			n++
		}
	}
	return n
}

// asked counts the calls of EKS Auth that were answered with a role.
func asked(w *cloudtest.World) (n int) {
	for _, c := range w.Calls() {
		if c.Service == "eks-auth" && c.OK() {
			n++
		}
	}
	return n
}

func TestPodIdentityIsProvenWithTheTokenOfAPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, k := podWorld(t, 36)
		in := cloudtest.Input(t, pods)
		pod(t, k, "other", "default")
		ended := cloudtest.Pod("kube-system", "ended", "runner")
		ended.Status.Phase = corev1.PodSucceeded
		if err := k.Tracker().Add(ended); err != nil {
			t.Fatal(err)
		}
		raw, err := w.Apply(t.Context(), d, in)
		if out := decode(t, raw, err); out.Proof != nil || asked(w) != 0 {
			t.Errorf("no pod of it runs: %s, %d sessions", raw, asked(w))
		}
		p := planned(t, w, d, in)
		if notes := strings.Join(p.Forecast.Notes, "\n"); !strings.Contains(notes, "no pod runs as kube-system/runner yet") || count(p, "keep") != len(p.Changes) {
			t.Errorf("the plan: notes %q, changes %v, want the missing proof told and nothing to do", notes, p.Changes)
		}

		pod(t, k, "runner-0", "runner")
		if p := planned(t, w, d, in); count(p, "create") != 1 {
			t.Errorf("a pod runs: %v, want a proof to be made", p.Changes)
		}
		raw, err = w.Apply(t.Context(), d, in)
		if out := decode(t, raw, err); out.Proof == nil || out.Proof.Audience != "pods.eks.amazonaws.com" || asked(w) != 1 {
			t.Errorf("a pod runs: %s, %d sessions, want it proven", raw, asked(w))
		}
		mark := w.Mark()
		again, err := w.Apply(t.Context(), d, in)
		if _, writes := w.Count(mark); err != nil || writes != 0 || string(again) != string(raw) || asked(w) != 1 {
			t.Errorf("second run: %v, %d writes, %d sessions, %s", err, writes, asked(w), again)
		}

		// Another role behind the association was never proven.
		if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, strings.Replace(pods, "roleName: runner", "roleName: second", 1))); err != nil || asked(w) != 2 {
			t.Errorf("another role: %v, %d sessions, want a proof of its own", err, asked(w))
		}
	})
}

func TestEachRefusalOfAPodHasItsRemedy(t *testing.T) {
	for name, c := range map[string]struct {
		code, message string
		times         int
		want, hint    string // code of the error and its hint; "" where it passes by itself
	}{
		"a trust policy that shuts the cluster out": {"AccessDeniedException", "Unauthorized Exception! EKS does not have permissions to assume the associated role.", -1, "ProofFailed", "sts:TagSession"},
		"a trust policy that is still spreading":    {"AccessDeniedException", "Unauthorized Exception! EKS does not have permissions to assume the associated role.", 3, "", ""},
		"an association that is still spreading":    {"ResourceNotFoundException", "No pod identity association found", 2, "", ""},
		"an association that went":                  {"ResourceNotFoundException", "No pod identity association found", -1, "ProofFailed", "no association for this service account"},
		"a token of another cluster":                {"InvalidTokenException", "The token included in the request is invalid", -1, "ProofFailed", "made anew meanwhile"},
		"a token that ended":                        {"ExpiredTokenException", "The token included in the request is expired: current date/time", -1, "ProofFailed", "clock of the API server"},
		"credentials that ended":                    {"ExpiredTokenException", "The security token included in the request is expired", -1, "ExpiredTokenException", ""},
		"a caller who may not":                      {"AccessDeniedException", "User: x is not authorized to perform: eks-auth:AssumeRoleForPodIdentity", -1, "AccessDeniedException", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, d, k := podWorld(t, 37)
				pod(t, k, "runner-0", "runner")
				w.AddFault(emulator.Fault{Service: "eks-auth", Action: "AssumeRoleForPodIdentity", Kind: "refuse", Code: c.code, Message: c.message, Times: c.times})
				raw, err := w.Apply(t.Context(), d, cloudtest.Input(t, pods))
				if c.want == "" {
					if out := decode(t, raw, err); out.Proof == nil {
						t.Errorf("got %s, want it proven in the end", raw)
					}
					return
				}
				e := steps.Classify(err)
				if err == nil || e.Code != c.want || !strings.Contains(strings.Join(e.Hints, " "), c.hint) {
					t.Fatalf("got %v (%s), hints %q, want %s, %q", err, e.Code, e.Hints, c.want, c.hint)
				}
				if exit := e.Category.ExitCode(); c.want == "ProofFailed" && exit != 18 || c.want != "ProofFailed" && exit != 11 {
					t.Errorf("exit %d", exit)
				}
			})
		})
	}
}

// TestEKSAuthTakesNoOtherToken holds the emulator to what makes the proof one: a token of anything but a pod of this cluster's is refused.
func TestEKSAuthTakesNoOtherToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, k := podWorld(t, 38)
		own, foreign := cloudtest.Pod("kube-system", "runner-0", "runner"), cloudtest.Pod("kube-system", "other", "default")
		if err := errors.Join(k.Tracker().Add(own), k.Tracker().Add(foreign)); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Apply(t.Context(), d, cloudtest.Input(t, pods)); err != nil {
			t.Fatal(err)
		}
		client, err1 := k.Open(t.Context(), steps.ClusterRef{EKS: &steps.EKSCluster{Name: "blog"}})
		elsewhere, err2 := w.Kube("elsewhere", own, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "runner"}}).Open(t.Context(), steps.ClusterRef{EKS: &steps.EKSCluster{Name: "elsewhere"}})
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		token := func(c *kube.Client, p *corev1.Pod, audience string) string {
			text, _, err := c.PodToken(t.Context(), p, []string{audience}, 10*time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			return text
		}
		unbound, _, err := client.ServiceAccountToken(t.Context(), "kube-system", "runner", []string{"pods.eks.amazonaws.com"}, 10*time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		stolen := *foreign
		stolen.Spec.ServiceAccountName = "runner"
		if _, _, err := client.PodToken(t.Context(), &stolen, []string{"pods.eks.amazonaws.com"}, 10*time.Minute); err == nil {
			t.Error("a token of one service account is bound to a pod of another")
		}
		for name, c := range map[string]struct{ cluster, token, code string }{
			"a pod of it":               {"blog", token(client, own, "pods.eks.amazonaws.com"), ""},
			"no pod":                    {"blog", unbound, "InvalidTokenException"},
			"another audience":          {"blog", token(client, own, "sts.amazonaws.com"), "InvalidTokenException"},
			"another cluster's":         {"blog", token(elsewhere, own, "pods.eks.amazonaws.com"), "InvalidTokenException"},
			"no token":                  {"blog", "a.b.c", "InvalidTokenException"},
			"a pod of another account":  {"blog", token(client, foreign, "pods.eks.amazonaws.com"), "ResourceNotFoundException"},
			"a cluster that is not one": {"none", unbound, "ResourceNotFoundException"},
		} {
			got, err := session(t, w).AssumeRoleForPodIdentity(t.Context(), c.cluster, c.token)
			if cloud.Code(err) != c.code || (err == nil) != (c.code == "") || (err == nil) != strings.Contains(got.Role, ":assumed-role/runner/eks-blog-runner-0-") {
				t.Errorf("%s: got %v, role %q, want %q", name, err, got.Role, c.code)
			}
		}
	})
}
