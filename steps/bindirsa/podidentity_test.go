package bindirsa_test

import (
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
