package bindirsa_test

import (
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/bindirsa"
)

const forEC2 = `{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}`

func trustOf(t *testing.T, w *cloudtest.World, role string) string {
	t.Helper()
	o, err := cloud.IAM(session(t, w)).GetRole(t.Context(), &iam.GetRoleInput{RoleName: &role})
	if err != nil {
		t.Fatal(err)
	}
	doc, err := url.PathUnescape(aws.ToString(o.Role.AssumeRolePolicyDocument))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func setTrust(t *testing.T, w *cloudtest.World, role, doc string) {
	t.Helper()
	_, err := cloud.IAM(session(t, w)).UpdateAssumeRolePolicy(t.Context(), &iam.UpdateAssumeRolePolicyInput{RoleName: &role, PolicyDocument: &doc})
	if err != nil {
		t.Fatal(err)
	}
}

func planned(t *testing.T, w *cloudtest.World, d steps.Definition, in steps.Input) steps.ErasedPlan {
	t.Helper()
	p, err := d.Plan(t.Context(), w.Env(), in)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestStatementsOfOthersAreToldAndKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, in, out := bound(t, 21)
		ours := trustOf(t, w, out.RoleName)
		both := `{"Version":"2012-10-17","Statement":[` + forEC2 + "," + strings.Split(ours, `"Statement":[`)[1]
		setTrust(t, w, out.RoleName, both)
		p := planned(t, w, d, in)
		if notes := strings.Join(p.Forecast.Notes, "\n"); p.Outputs == nil || !strings.Contains(notes, "ec2.amazonaws.com") || !strings.Contains(notes, "kept") {
			t.Errorf("plan: outputs %s, notes %q; want nothing to do, and the statement told", p.Outputs, notes)
		}
		setTrust(t, w, out.RoleName, `{"Version":"2012-10-17","Statement":[`+forEC2+`]}`)
		if _, err := d.Apply(t.Context(), w.Env(), in); err != nil {
			t.Fatal(err)
		}
		if got := trustOf(t, w, out.RoleName); !strings.Contains(got, "ec2.amazonaws.com") || !strings.Contains(got, "PipectlServiceAccounts") {
			t.Errorf("trust policy is %s, want theirs and ours", got)
		}
	})
}

func TestTrustOfAForeignRoleIsToldAndLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, k := world(t, emulator.Options{Seed: 22})
		w.SeedRole("theirs", `{"Version":"2012-10-17","Statement":[`+forEC2+`]}`)
		d, in := bindirsa.New(w.Open, k.Open), cloudtest.Input(t, csi+"roleName: theirs\n")
		before := trustOf(t, w, "theirs")
		p := planned(t, w, d, in)
		if notes := strings.Join(p.Forecast.Notes, "\n"); !strings.Contains(notes, "ec2.amazonaws.com") || p.Changes[0].Action != "refuse" {
			t.Errorf("plan: %s, notes %q; want a refusal and the statement", p.Changes[0].Action, notes)
		}
		if _, err := d.Apply(t.Context(), w.Env(), in); err == nil || trustOf(t, w, "theirs") != before {
			t.Errorf("error %v, trust policy %s; want it refused and unchanged", err, trustOf(t, w, "theirs"))
		}
	})
}

func TestAWidenedStatementOfOursIsToldAndMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, in, out := bound(t, 23)
		setTrust(t, w, out.RoleName, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRoleWithWebIdentity","Principal":{"Federated":"arn:aws:iam::111122223333:oidc-provider/`+
			strings.TrimPrefix(out.Issuer, "https://")+`"}}]}`)
		if drift := strings.Join(planned(t, w, d, in).Changes[0].Drift, "\n"); !strings.Contains(drift, "no condition on sub") || !strings.Contains(drift, `"Federated"`) {
			t.Errorf("drift %q, want what is wrong and the statement", drift)
		}
		if _, err := d.Apply(t.Context(), w.Env(), in); err != nil {
			t.Fatal(err)
		}
		if p := planned(t, w, d, in); p.Outputs == nil || len(p.Forecast.Notes) > 0 {
			t.Errorf("after mending: %v, notes %q", p.Changes, p.Forecast.Notes)
		}
	})
}

func TestWildcardsAdmitWhatMatchesAndNobodyElse(t *testing.T) {
	const text = "cluster: {eks: {name: blog, region: ap-northeast-2}}\nserviceAccounts: [{namespace: team-a, name: 'ci-*', wildcard: true}]\n"
	synctest.Test(t, func(t *testing.T) {
		w, _ := world(t, emulator.Options{Seed: 25})
		k := w.Kube("blog", &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "ci-web"}})
		d, in := bindirsa.New(w.Open, k.Open), cloudtest.Input(t, text)
		mark := w.Mark()
		raw, err := w.Apply(t.Context(), d, in)
		if out := decode(t, raw, err); out.Proof == nil || !strings.Contains(trustOf(t, w, out.RoleName), "StringLike") {
			t.Errorf("got %s, want it proven", raw)
		}
		tried := 0
		for _, c := range w.Since(mark) {
			if c.Action == "AssumeRoleWithWebIdentity" {
				tried++
			}
		}
		if tried < 2 {
			t.Errorf("%d tokens were tried, want one that matches and one that does not", tried)
		}
		sa, err := k.CoreV1().ServiceAccounts("team-a").Get(t.Context(), "ci-web", metav1.GetOptions{})
		if err != nil || len(sa.Annotations) > 0 {
			t.Errorf("%v: annotations %v, want none: a wildcard names nobody", err, sa.Annotations)
		}
		if err := w.Down(t.Context(), d, in, false); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWildcardsAreRefusedUnlessAskedFor(t *testing.T) {
	for name, c := range map[string]struct{ account, want string }{
		"not asked for":     {"{namespace: a, name: '*'}", "only where they are asked for"},
		"asked for in vain": {"{namespace: a, name: b, wildcard: true}", "neither"},
		"every namespace":   {"{namespace: '*', name: 'ci', wildcard: true}", "every namespace"},
		"not a name":        {"{namespace: a, name: 'c[ab]*', wildcard: true}", "no service account has such a name"},
	} {
		t.Run(name, func(t *testing.T) {
			d := bindirsa.New(nil, nil)
			ps := d.Check(cloudtest.Input(t, "cluster: {eks: {name: blog, region: ap-northeast-2}}\nserviceAccounts: ["+c.account+"]\n"))
			if len(ps) != 1 || !strings.Contains(ps.Error(), c.want) {
				t.Errorf("got %v, want %q", ps, c.want)
			}
		})
	}
}

// IAM takes a moment to see a provider that was made a moment ago; one that does not exist it never sees, which must not take long to tell.
func TestPrincipalThatIAMDoesNotSeeYetIsWaitedFor(t *testing.T) {
	for name, c := range map[string]struct {
		times int
		fails bool
	}{"it is seen after a while": {4, false}, "it is never seen": {-1, true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, k := world(t, emulator.Options{Seed: 24})
				w.AddFault(emulator.Fault{Service: "iam", Action: "CreateRole", Kind: "refuse", Code: "MalformedPolicyDocument", Message: `Invalid principal in policy: "FEDERATED":"arn:aws:iam::111122223333:oidc-provider/x"`, Times: c.times})
				start := time.Now()
				_, err := w.Apply(t.Context(), bindirsa.New(w.Open, k.Open), cloudtest.Input(t, csi))
				if (err != nil) != c.fails || c.fails && !strings.Contains(err.Error(), "Invalid principal") {
					t.Errorf("got %v", err)
				}
				if took := time.Since(start); took > 2*time.Minute {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}
