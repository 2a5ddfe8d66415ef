package bindirsa

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/cloud"
)

const (
	here  = "oidc.eks.ap-northeast-2.amazonaws.com/id/AAAA"
	there = "oidc.eks.ap-northeast-2.amazonaws.com/id/BBBB"
)

func federated(issuer, condition string) string {
	return `{"Effect":"Allow","Action":"sts:AssumeRoleWithWebIdentity","Principal":{"Federated":"arn:aws:iam::111122223333:oidc-provider/` + issuer + `"},"Condition":` + condition + `}`
}

func TestFaultsOfATrustStatement(t *testing.T) {
	for name, c := range map[string]struct {
		statement string
		want      []string // a part of each fault, in order
	}{
		"sub and aud of the cluster":              {federated(here, `{"StringEquals":{"`+here+`:sub":"system:serviceaccount:a:b","`+here+`:aud":"sts.amazonaws.com"}}`), nil},
		"keys are read in any case":               {federated(here, `{"StringEquals":{"`+strings.ToUpper(here)+`:SUB":["x"],"`+here+`:aud":"sts.amazonaws.com"}}`), nil},
		"no sub":                                  {federated(here, `{"StringEquals":{"`+here+`:aud":"sts.amazonaws.com"}}`), []string{"no condition on sub"}},
		"no aud":                                  {federated(here, `{"StringEquals":{"`+here+`:sub":"x"}}`), []string{"no condition on aud"}},
		"neither":                                 {federated(here, `{}`), []string{"no condition on aud", "no condition on sub"}},
		"what is excluded does not say who":       {federated(here, `{"StringNotEquals":{"`+here+`:sub":"x"},"StringEquals":{"`+here+`:aud":"y"}}`), []string{"no condition on sub"}},
		"a wildcard that matches":                 {federated(here, `{"StringLike":{"`+here+`:sub":"system:serviceaccount:a:*"},"StringEquals":{"`+here+`:aud":"y"}}`), []string{`wildcard in sub: "system:serviceaccount:a:*"`}},
		"a wildcard that matches nobody":          {federated(here, `{"StringEquals":{"`+here+`:sub":"system:serviceaccount:a:*","`+here+`:aud":"y"}}`), []string{"by the letter"}},
		"the issuer of a cluster before this":     {federated(there, `{"StringEquals":{"`+there+`:sub":"x","`+there+`:aud":"y"}}`), []string{there + " is not the cluster's"}},
		"conditions that are on another issuer":   {federated(here, `{"StringEquals":{"`+there+`:sub":"x","`+there+`:aud":"y"}}`), []string{"no condition on aud", "no condition on sub"}},
		"a service":                               {`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":["ec2.amazonaws.com"]}}`, []string{"its principal is ec2.amazonaws.com"}},
		"another account":                         {`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"arn:aws:iam::999999999999:root"}}`, []string{"arn:aws:iam::999999999999:root"}},
		"everybody":                               {`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":"*"}`, []string{"everybody"}},
		"everybody, as AWS":                       {`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"*"}}`, []string{"everybody"}},
		"a provider that is not OIDC":             {`{"Effect":"Allow","Action":"sts:AssumeRoleWithSAML","Principal":{"Federated":"arn:aws:iam::1:saml-provider/x"}}`, []string{"saml-provider/x"}},
		"a web identity provider of another kind": {`{"Effect":"Allow","Action":"sts:AssumeRoleWithWebIdentity","Principal":{"Federated":"accounts.google.com"}}`, []string{"accounts.google.com"}},
	} {
		t.Run(name, func(t *testing.T) {
			have, err := statements(`{"Statement":` + c.statement + `}`)
			if err != nil {
				t.Fatal(err)
			}
			got := have[0].faults(here)
			if len(got) != len(c.want) {
				t.Fatalf("got %q, want %q", got, c.want)
			}
			for i, part := range c.want {
				if !strings.Contains(got[i], part) {
					t.Errorf("got %q, want %q in it", got[i], part)
				}
			}
		})
	}
}

func TestWhatOthersWroteInATrustPolicyStays(t *testing.T) {
	s := &state{issuer: here, caller: cloud.Caller{Account: "111122223333", Partition: "aws"}, spec: Spec{ServiceAccounts: []ServiceAccount{{Namespace: "a", Name: "b"}}}}
	theirs := `{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"ec2.amazonaws.com"},"Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true"}}}`
	bluegreen := federated(there, `{"StringEquals":{"`+there+`:sub":"x","`+there+`:aud":"y"}}`)
	stale := strings.Replace(bluegreen, `{"Effect"`, `{"Sid":"`+sid+`","Effect"`, 1)
	wide := federated(here, `{}`)
	have, err := statements(`{"Version":"2012-10-17","Statement":[` + strings.Join([]string{theirs, bluegreen, stale, wide}, ",") + `]}`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := statements(s.trustWith(have))
	if err != nil {
		t.Fatal(err)
	}
	var raws []string
	for _, st := range got[1:] {
		raws = append(raws, string(st.raw))
	}
	if diff := cmp.Diff([]string{theirs, bluegreen}, raws); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	if f := got[0].faults(here); got[0].Sid != sid || len(f) > 0 {
		t.Errorf("ours: %s has %q", got[0].raw, f)
	}
	if n := len(s.lint("r", have, "kept")); n != 2 {
		t.Errorf("%d statements told, want the two that stay", n)
	}
}
