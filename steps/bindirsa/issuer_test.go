package bindirsa_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/cloud/cloudtest"
	emulator "pipectl.dev/rehearsal/aws"
	"pipectl.dev/steps"
	"pipectl.dev/steps/bindirsa"
)

const (
	own = `
cluster: {context: kubeadm}
issuer: {bucket: issuers}
roleName: backup
serviceAccounts: [{namespace: default, name: backup}]
`
	ownIssuer    = "https://s3.ap-northeast-2.amazonaws.com/issuers"
	ownDiscovery = ".well-known/openid-configuration"
	ownKeys      = "openid/v1/jwks"
)

// ownWorld has a cluster that EKS does not know, and a bucket that lets everybody read the documents of its issuer.
func ownWorld(t *testing.T, issuer string) (*cloudtest.World, *cloudtest.Kube) {
	t.Helper()
	w := cloudtest.New(t, emulator.Options{Seed: 41})
	if err := errors.Join(w.MakeBucket("issuers"), w.Publish("issuers", ownDiscovery, ownKeys)); err != nil {
		t.Fatal(err)
	}
	k := w.Kube("mine")
	k.SelfManaged("kubeadm", issuer)
	return w, k
}

func keysIn(t *testing.T, w *cloudtest.World) []string {
	t.Helper()
	return slices.Sorted(func(yield func(string) bool) {
		for key := range w.Objects("issuers") {
			if !yield(key) {
				return
			}
		}
	})
}

func TestClusterOfOnesOwnGetsAnIssuerAndAProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, k := ownWorld(t, ownIssuer)
		d, in := bindirsa.New(w.Open, k.Open), cloudtest.Input(t, own)
		raw, err := w.Apply(t.Context(), d, in)
		if out := decode(t, raw, err); out.Proof == nil || out.Issuer != ownIssuer {
			t.Errorf("got %s, want a proof on %s", raw, ownIssuer)
		}
		if diff := cmp.Diff([]string{ownDiscovery, ownKeys}, keysIn(t, w)); diff != "" {
			t.Errorf("published (-want +got):\n%s", diff)
		}
		var doc map[string]any
		if err := json.Unmarshal(w.Objects("issuers")[ownDiscovery].Body, &doc); err != nil || doc["issuer"] != ownIssuer || doc["jwks_uri"] != ownIssuer+"/"+ownKeys {
			t.Errorf("discovery document: %v %v", err, doc)
		}
		mark, asked := w.Mark(), k.Asked("/"+ownKeys)
		again, err := w.Apply(t.Context(), d, in)
		if n := k.Asked("/"+ownKeys) - asked; n != 1 {
			t.Errorf("the keys were asked for %d times, want once for all that is published", n)
		}
		if _, writes := w.Count(mark); err != nil || writes != 0 || string(again) != string(raw) {
			t.Errorf("second run: %v, %d writes, %s", err, writes, again)
		}
		if err := w.Down(t.Context(), d, in, false); err != nil {
			t.Fatal(err)
		}
		if left := append(keysIn(t, w), w.Owned()...); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

func TestRotatedKeysArePublishedAgainByTheirIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, k := ownWorld(t, ownIssuer)
		d, in := bindirsa.New(w.Open, k.Open), cloudtest.Input(t, own)
		if _, err := w.Apply(t.Context(), d, in); err != nil {
			t.Fatal(err)
		}
		before := string(w.Objects("issuers")[ownKeys].Body)
		if err := w.RotateKeys(); err != nil {
			t.Fatal(err)
		}
		p, err := d.Plan(t.Context(), w.Env(), in)
		if text := fmt.Sprint(p.Changes); err != nil || !strings.Contains(text, "kid: have [") {
			t.Errorf("plan does not tell that the key ids differ: %v %s", err, text)
		}
		if _, err := d.Apply(t.Context(), w.Env(), in); err != nil {
			t.Fatal(err)
		}
		if after := string(w.Objects("issuers")[ownKeys].Body); after == before {
			t.Error("the new key is not published")
		}
	})
}

func TestAnIssuerThatCannotWorkSaysWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		issuer, spec string
		prepare      func(*testing.T, *cloudtest.World)
		code, says   string
		exit         int
	}{
		"the API server signs for another issuer": {issuer: "https://kubernetes.default.svc.cluster.local", spec: own, code: "OtherIssuer", says: "--service-account-issuer=" + ownIssuer, exit: 10},
		"no bucket": {issuer: "https://s3.ap-northeast-2.amazonaws.com/nowhere", spec: strings.Replace(own, "issuers", "nowhere", 1), code: "NoBucket", says: "aws s3 mb s3://nowhere", exit: 10},
		"a bucket that nobody may read": {issuer: "https://s3.ap-northeast-2.amazonaws.com/private", spec: strings.Replace(own, "issuers", "private", 1),
			prepare: func(t *testing.T, w *cloudtest.World) {
				if err := w.MakeBucket("private"); err != nil {
					t.Fatal(err)
				}
			}, code: "ProofFailed", says: `s3:GetObject to "*" on arn:aws:s3:::private/.well-known/openid-configuration and arn:aws:s3:::private/openid/v1/jwks`, exit: 18},
		"an issuer that nobody has registered": {issuer: ownIssuer, spec: strings.Replace(own, "bucket: issuers", "url: "+ownIssuer, 1), code: "NoOIDCProvider", says: "issuer.bucket", exit: 10},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, k := ownWorld(t, c.issuer)
				if c.prepare != nil {
					c.prepare(t, w)
				}
				_, err := w.Apply(t.Context(), bindirsa.New(w.Open, k.Open), cloudtest.Input(t, c.spec))
				e := steps.Classify(err)
				if err == nil || e.Code != c.code || e.Category.ExitCode() != c.exit || !strings.Contains(err.Error()+strings.Join(e.Hints, " "), c.says) {
					t.Errorf("got %v %q (%s, exit %d), want %s, exit %d, saying %q", err, e.Hints, e.Code, e.Category.ExitCode(), c.code, c.exit, c.says)
				}
			})
		})
	}
}

func TestWhatOthersPublishedIsUsedAndLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, k := ownWorld(t, ownIssuer)
		d := bindirsa.New(w.Open, k.Open)
		theirs := w.Env()
		theirs.Identity.Pipeline = "theirs"
		if _, err := d.Apply(t.Context(), theirs, cloudtest.Input(t, strings.Replace(own, "backup", "first", 1))); err != nil {
			t.Fatal(err)
		}
		in := cloudtest.Input(t, strings.Replace(own, "name: backup}", "name: other}", 1))
		if _, err := w.Apply(t.Context(), d, in); err != nil {
			t.Fatal(err)
		}
		if err := w.Down(t.Context(), d, in, false); err != nil {
			t.Fatal(err)
		}
		if got := append(keysIn(t, w), w.Owned()...); len(got) != 4 {
			t.Errorf("left %v, want their two objects, provider and role", got)
		}
		if err := w.RotateKeys(); err != nil {
			t.Fatal(err)
		}
		_, err := w.Apply(t.Context(), d, in)
		if e := steps.Classify(err); err == nil || e.Category.ExitCode() != 12 {
			t.Errorf("keys that others published are written over: %v", err)
		}
	})
}

func TestIssuerIsCheckedAtLoad(t *testing.T) {
	for name, c := range map[string]struct{ spec, path string }{
		"an EKS cluster with an issuer":         {"cluster: {eks: {name: b, region: r}}\nissuer: {bucket: b}", "issuer"},
		"a context without an issuer":           {"cluster: {context: k}", "cluster"},
		"an issuer of nothing":                  {"cluster: {context: k}\nissuer: {}", "issuer"},
		"a URL with a slash at its end":         {"cluster: {context: k}\nissuer: {url: 'https://x/'}", "issuer.url"},
		"a URL of S3 that names another bucket": {"cluster: {context: k}\nissuer: {bucket: b, url: 'https://s3.eu-west-1.amazonaws.com/c'}", "issuer.url"},
	} {
		t.Run(name, func(t *testing.T) {
			ps := bindirsa.New(nil, nil).Check(cloudtest.Input(t, c.spec+"\nserviceAccounts: [{namespace: n, name: a}]"))
			if len(ps) != 1 || ps[0].Path != c.path {
				t.Errorf("got %v, want one problem at %s", ps, c.path)
			}
		})
	}
}

func TestPublisherWhoMayNotIsToldBeforeTheFirstWrite(t *testing.T) {
	const user = "arn:aws:iam::111122223333:user/rehearsal"
	may := []string{"sts:*", "servicequotas:*", "iam:SimulatePrincipalPolicy", "iam:Get*", "iam:List*", "iam:Tag*", "iam:Create*", "iam:Delete*", "iam:Update*", "iam:Put*", "iam:Attach*", "iam:Detach*", "iam:Add*", "s3:GetObject"}
	for name, c := range map[string]struct {
		policy []string
		want   string
	}{
		"the bucket":   {append(slices.Clone(may), "s3:DeleteObject"), "s3:PutObject"},
		"the provider": {append(slices.DeleteFunc(slices.Clone(may), func(a string) bool { return a == "iam:Add*" }), "s3:*"), "iam:AddClientIDToOpenIDConnectProvider"},
		"nothing":      {append(slices.Clone(may), "s3:*"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := cloudtest.New(t, emulator.Options{Seed: 42, Policies: map[string][]string{user: c.policy}})
				if err := errors.Join(w.MakeBucket("issuers"), w.Publish("issuers", ownDiscovery, ownKeys)); err != nil {
					t.Fatal(err)
				}
				k := w.Kube("mine")
				k.SelfManaged("kubeadm", ownIssuer)
				err := bindirsa.New(w.Open, k.Open).Preflight(t.Context(), w.Env(), cloudtest.Input(t, own))
				if c.want == "" {
					if err != nil {
						t.Error(err)
					}
					return
				}
				if e := steps.Classify(err); err == nil || e.Category.ExitCode() != 11 || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want exit 11 and %s named", err, c.want)
				}
			})
		})
	}
}
