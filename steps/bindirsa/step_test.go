package bindirsa_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/google/go-cmp/cmp"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/bindirsa"
	"pipectl.dev/steps/provisioneks"
)

const csi = `
cluster: {eks: {name: blog, region: ap-northeast-2}}
serviceAccounts: [{namespace: kube-system, name: ebs-csi-controller-sa}]
policyArns: [arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy]
`

const small = "{name: blog, network: {nat: none}}"

// world has a cluster, without nodes, and its inside.
func world(t *testing.T, o emulator.Options) (*cloudtest.World, *cloudtest.Kube) {
	t.Helper()
	w := cloudtest.New(t, o)
	if _, err := w.Apply(t.Context(), provisioneks.New(w.Open, nil), cloudtest.Input(t, small)); err != nil {
		t.Fatal(err)
	}
	return w, w.Kube("blog")
}

func decode(t *testing.T, raw []byte, err error) bindirsa.Outputs {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var out bindirsa.Outputs
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// bound is a world whose cluster has the service account of csi bound.
func bound(t *testing.T, seed int64) (*cloudtest.World, steps.Definition, steps.Input, bindirsa.Outputs) {
	t.Helper()
	w, k := world(t, emulator.Options{Seed: seed})
	d, in := bindirsa.New(w.Open, k.Open), cloudtest.Input(t, csi)
	raw, err := w.Apply(t.Context(), d, in)
	return w, d, in, decode(t, raw, err)
}

func session(t *testing.T, w *cloudtest.World) *cloud.Session {
	t.Helper()
	s, err := w.Open(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func annotation(t *testing.T, k *cloudtest.Kube, name string) string {
	t.Helper()
	sa, err := k.CoreV1().ServiceAccounts("kube-system").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return err.Error()
	}
	return sa.Annotations["eks.amazonaws.com/role-arn"]
}

func TestRoleIsBoundProvenKeptAndTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, k := world(t, emulator.Options{Seed: 11})
		d, in := bindirsa.New(w.Open, k.Open), cloudtest.Input(t, csi)
		before := w.Owned()
		raw, err := w.Apply(t.Context(), d, in)
		out := decode(t, raw, err)
		if out.Proof == nil || out.Proof.Refused != "default/default" || out.RoleARN == "" {
			t.Errorf("got %s, want a proof", raw)
		}
		if got := annotation(t, k, "ebs-csi-controller-sa"); got != out.RoleARN {
			t.Errorf("service account is bound to %q, want %q", got, out.RoleARN)
		}
		mark := w.Mark()
		again, err := w.Apply(t.Context(), d, in)
		reads, writes := w.Count(mark)
		t.Logf("nothing to do: %d reads", reads)
		if err != nil || writes != 0 || string(again) != string(raw) {
			t.Errorf("second run: %v, %d writes, %s", err, writes, again)
		}
		if err := w.Down(t.Context(), d, in, false); err != nil {
			t.Fatal(err)
		}
		if got := w.Owned(); len(got) != len(before) {
			t.Errorf("after down: %v, want %v", got, before)
		}
		if got := annotation(t, k, "ebs-csi-controller-sa"); !strings.Contains(got, "not found") {
			t.Errorf("the service account that we made is still there: %q", got)
		}
	})
}

func TestDriftOfTheRoleIsNamedAndMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, in, out := bound(t, 12)
		api := cloud.IAM(session(t, w))
		_, err := api.AttachRolePolicy(t.Context(), &iam.AttachRolePolicyInput{RoleName: &out.RoleName, PolicyArn: aws.String("arn:aws:iam::aws:policy/AmazonEKSClusterPolicy")})
		if err != nil {
			t.Fatal(err)
		}
		_, err = api.UpdateAssumeRolePolicy(t.Context(), &iam.UpdateAssumeRolePolicyInput{RoleName: &out.RoleName,
			PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)})
		if err != nil {
			t.Fatal(err)
		}
		p, err := d.Plan(t.Context(), w.Env(), in)
		if err != nil {
			t.Fatal(err)
		}
		if text := fmt.Sprint(p.Changes); !strings.Contains(text, "trust: have") || !strings.Contains(text, "AmazonEKSClusterPolicy") || p.Outputs != nil {
			t.Errorf("plan does not name the drift: %s", text)
		}
		if _, err := d.Apply(t.Context(), w.Env(), in); err != nil {
			t.Fatal(err)
		}
		raw, err := w.Apply(t.Context(), d, in)
		if again := decode(t, raw, err); !cmp.Equal(again, out) {
			t.Errorf("after mending: %s", cmp.Diff(out, again))
		}
	})
}

func TestRoleFollowsARecreatedCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, in, first := bound(t, 13)
		eks, cluster := provisioneks.New(w.Open, nil), cloudtest.Input(t, small)
		if err := w.Down(t.Context(), eks, cluster, false); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Apply(t.Context(), eks, cluster); err != nil {
			t.Fatal(err)
		}
		if drift := strings.Join(planned(t, w, d, in).Changes[0].Drift, "\n"); !strings.Contains(drift, "is not the cluster's") {
			t.Errorf("drift %q does not tell the stale issuer", drift)
		}
		raw, err := w.Apply(t.Context(), d, in)
		second := decode(t, raw, err)
		if second.RoleARN != first.RoleARN || second.Issuer == first.Issuer || second.Proof == nil {
			t.Errorf("got %+v after %+v, want the same role on the new issuer, proven", second, first)
		}
		if got := trustOf(t, w, first.RoleName); strings.Contains(got, strings.TrimPrefix(first.Issuer, "https://")) {
			t.Errorf("the stale issuer is still trusted: %s", got)
		}
	})
}

func TestDownWithoutTheClusterRemovesTheRole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, k := world(t, emulator.Options{Seed: 14})
		d := bindirsa.New(w.Open, k.Open)
		raw, err := w.Apply(t.Context(), d, cloudtest.Input(t, csi))
		decode(t, raw, err)
		if err := w.Down(t.Context(), provisioneks.New(w.Open, nil), cloudtest.Input(t, small), false); err != nil {
			t.Fatal(err)
		}
		partial := cloudtest.Input(t, csi)
		partial.Partial = []string{"cluster"}
		if err := w.Down(t.Context(), d, partial, false); err != nil {
			t.Fatal(err)
		}
		if left := w.Leftovers(nil); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

func TestServiceAccountOfOthersGetsItsAnnotationBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := world(t, emulator.Options{Seed: 15})
		k := w.Kube("blog", &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "ebs-csi-controller-sa", Annotations: map[string]string{"eks.amazonaws.com/role-arn": "arn:old"}}})
		d, in := bindirsa.New(w.Open, k.Open), cloudtest.Input(t, csi)
		raw, err := w.Apply(t.Context(), d, in)
		if out := decode(t, raw, err); annotation(t, k, "ebs-csi-controller-sa") != out.RoleARN {
			t.Error("not bound")
		}
		if err := w.Down(t.Context(), d, in, false); err != nil {
			t.Fatal(err)
		}
		if got := annotation(t, k, "ebs-csi-controller-sa"); got != "arn:old" {
			t.Errorf("got %q, want what was there before", got)
		}
	})
}

// A stage that applies the service account from a manifest owns it, though a role was bound to it, and even where that had to make it first.
func TestServiceAccountOfAnotherStageStaysItsOwn(t *testing.T) {
	for name, made := range map[string]string{"applied first": "", "made by the binding": "true"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, _ := world(t, emulator.Options{Seed: 16})
				owner := w.Env().Identity.String()
				notes := map[string]string{"pipectl.dev/identity": owner}
				if made != "" {
					notes["pipectl.dev/created"] = made
				}
				k := w.Kube("blog", &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "ebs-csi-controller-sa", Annotations: notes,
					ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "pipectl", Operation: metav1.ManagedFieldsOperationApply}, {Manager: "pipectl", Operation: metav1.ManagedFieldsOperationUpdate}}}})
				d, in := bindirsa.New(w.Open, k.Open), cloudtest.Input(t, csi)
				if _, err := w.Apply(t.Context(), d, in); err != nil {
					t.Fatal(err)
				}
				if err := w.Down(t.Context(), d, in, false); err != nil {
					t.Fatal(err)
				}
				sa, err := k.CoreV1().ServiceAccounts("kube-system").Get(t.Context(), "ebs-csi-controller-sa", metav1.GetOptions{})
				if err != nil || len(sa.Annotations) != 1 || sa.Annotations["pipectl.dev/identity"] != owner {
					t.Errorf("after down: %v, annotations %v, want it with its owner's alone", err, sa.Annotations)
				}
			})
		})
	}
}

func TestFailuresSayWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*testing.T, *cloudtest.World)
		spec    string
		code    string
		exit    int
	}{
		"no OIDC provider": {func(t *testing.T, w *cloudtest.World) {
			api := cloud.IAM(session(t, w))
			o, err := api.ListOpenIDConnectProviders(t.Context(), &iam.ListOpenIDConnectProvidersInput{})
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range o.OpenIDConnectProviderList {
				if _, err := api.DeleteOpenIDConnectProvider(t.Context(), &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: p.Arn}); err != nil {
					t.Fatal(err)
				}
			}
		}, csi, "NoOIDCProvider", 10},
		"a provider without the audience": {func(t *testing.T, w *cloudtest.World) {
			api := cloud.IAM(session(t, w))
			o, err := api.ListOpenIDConnectProviders(t.Context(), &iam.ListOpenIDConnectProvidersInput{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = api.RemoveClientIDFromOpenIDConnectProvider(t.Context(), &iam.RemoveClientIDFromOpenIDConnectProviderInput{OpenIDConnectProviderArn: o.OpenIDConnectProviderList[0].Arn, ClientID: aws.String("sts.amazonaws.com")})
			if err != nil {
				t.Fatal(err)
			}
		}, csi, "ProofFailed", 18},
		"a token that is refused for good": {func(_ *testing.T, w *cloudtest.World) {
			w.AddFault(emulator.Fault{Service: "sts", Action: "AssumeRoleWithWebIdentity", Kind: "access-denied", Times: -1})
		}, csi, "ProofFailed", 18},
		"a role of somebody else": {func(_ *testing.T, w *cloudtest.World) {
			w.SeedRole("theirs", `{"Version":"2012-10-17","Statement":[]}`)
		}, csi + "roleName: theirs\n", "NotOurs", 12},
		"a service account that must be there": {func(*testing.T, *cloudtest.World) {}, strings.Replace(csi, "ebs-csi-controller-sa}", "typo, create: false}", 1), "NoServiceAccount", 10},
		"no permission": {func(_ *testing.T, w *cloudtest.World) {
			w.AddFault(emulator.Fault{Service: "iam", Action: "CreateRole", Kind: "access-denied"})
		}, csi, "AccessDenied", 11},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, k := world(t, emulator.Options{Seed: 16})
				c.prepare(t, w)
				_, err := w.Apply(t.Context(), bindirsa.New(w.Open, k.Open), cloudtest.Input(t, c.spec))
				e := steps.Classify(err)
				if err == nil || e.Code != c.code || e.Category.ExitCode() != c.exit {
					t.Fatalf("got %v (%s, exit %d), want %s, exit %d", err, e.Code, e.Category.ExitCode(), c.code, c.exit)
				}
			})
		})
	}
}

func TestEveryWriteSurvivesALostResponse(t *testing.T) {
	for _, action := range []string{"CreateRole", "AttachRolePolicy", "TagRole", "AssumeRoleWithWebIdentity"} {
		for _, kind := range []string{"lost-response", "500", "throttle", "reset"} {
			t.Run(action+" "+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, k := world(t, emulator.Options{Seed: 17})
					w.AddFault(emulator.Fault{Service: "*", Action: action, Kind: kind})
					raw, err := w.Apply(t.Context(), bindirsa.New(w.Open, k.Open), cloudtest.Input(t, csi))
					if out := decode(t, raw, err); out.Proof == nil {
						t.Errorf("no proof: %s", raw)
					}
					w.NoDuplicates(t)
				})
			})
		}
	}
}

func TestProofIsGivenLaterWhereARunWasCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, k := world(t, emulator.Options{Seed: 18})
		w.AddFault(emulator.Fault{Service: "sts", Action: "AssumeRoleWithWebIdentity", Kind: "expired-token"})
		d, in := bindirsa.New(w.Open, k.Open), cloudtest.Input(t, csi)
		if _, err := w.Apply(t.Context(), d, in); err == nil {
			t.Fatal("want an error")
		}
		raw, err := w.Apply(t.Context(), d, in)
		if out := decode(t, raw, err); out.Proof == nil {
			t.Errorf("the second run gave no proof: %s", raw)
		}
	})
}

func TestTooManyServiceAccountsForOneTrustPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := cloudtest.New(t, emulator.Options{})
		text := "cluster: {eks: {name: blog, region: ap-northeast-2}}\nserviceAccounts:\n"
		for i := range 60 {
			text += fmt.Sprintf("  - {namespace: team-%d, name: worker}\n", i)
		}
		err := bindirsa.New(w.Open, nil).Preflight(t.Context(), w.Env(), cloudtest.Input(t, text))
		var e *steps.Error
		if !errors.As(err, &e) || e.Category != steps.Quota {
			t.Errorf("got %v, want a quota error before the first write", err)
		}
	})
}

func TestTooManyPoliciesForOneRole(t *testing.T) {
	eleven := csi
	for i := range 10 {
		eleven = strings.Replace(eleven, "policyArns: [", fmt.Sprintf("policyArns: [arn:aws:iam::111122223333:policy/p%d, ", i), 1)
	}
	for name, c := range map[string]struct {
		spec   string
		quotas map[string]float64
		want   string
	}{
		"ten":                      {strings.Replace(eleven, "arn:aws:iam::111122223333:policy/p0, ", "", 1), nil, ""},
		"eleven":                   {eleven, nil, "TooManyPolicies"},
		"eleven of a raised limit": {eleven, map[string]float64{"L-0DA4ABF3": 20}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 20, Quotas: c.quotas})
				err := bindirsa.New(w.Open, nil).Preflight(t.Context(), w.Env(), cloudtest.Input(t, c.spec))
				var e *steps.Error
				if got := errors.As(err, &e); got != (c.want != "") || got && (e.Code != c.want || e.Category != steps.Quota || !strings.Contains(e.Message, "11 policies, IAM takes 10")) {
					t.Errorf("got %v, want %q", err, c.want)
				}
			})
		})
	}
}
