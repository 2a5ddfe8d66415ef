package aws_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	emu "pipectl.dev/rehearsal/aws"
)

func TestRoles(t *testing.T) {
	_, c := start(t, emu.Options{NoLag: true, PageSize: 2})
	ctx, name := t.Context(), aws.String("r")
	in := &iam.CreateRoleInput{RoleName: name, Path: aws.String("/team/"), AssumeRolePolicyDocument: trust("ec2.amazonaws.com"), Tags: []iamtypes.Tag{{Key: aws.String("a"), Value: aws.String("1")}}}
	must(c.iam.CreateRole(ctx, in))(t)
	_, err := c.iam.CreateRole(ctx, in)
	if got := code(t, err); got != "EntityAlreadyExists" {
		t.Errorf("the same name: got %q", got)
	}
	must(c.iam.TagRole(ctx, &iam.TagRoleInput{RoleName: name, Tags: []iamtypes.Tag{{Key: aws.String("b"), Value: aws.String("2")}}}))(t)
	must(c.iam.UntagRole(ctx, &iam.UntagRoleInput{RoleName: name, TagKeys: []string{"a"}}))(t)
	out := must(c.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: name}))(t).Role
	doc, _ := url.QueryUnescape(*out.AssumeRolePolicyDocument)
	if *out.Arn != "arn:aws:iam::111122223333:role/team/r" || doc != *in.AssumeRolePolicyDocument || len(out.Tags) != 1 || *out.Tags[0].Key != "b" {
		t.Errorf("got %s, %s, tags %v", *out.Arn, doc, out.Tags)
	}
	for _, p := range []string{"A", "B", "C"} {
		must(c.iam.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: name, PolicyArn: aws.String("arn:aws:iam::aws:policy/" + p)}))(t)
	}
	n := 0
	for p := iam.NewListAttachedRolePoliciesPaginator(c.iam, &iam.ListAttachedRolePoliciesInput{RoleName: name}); p.HasMorePages(); {
		n += len(must(p.NextPage(ctx))(t).AttachedPolicies)
	}
	if n != 3 {
		t.Errorf("%d policies over pages", n)
	}
	inline := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`
	must(c.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: name, PolicyName: aws.String("p"), PolicyDocument: &inline}))(t)
	_, err = c.iam.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: name})
	if got := code(t, err); got != "DeleteConflict" {
		t.Errorf("deleting it with policies: got %q", got)
	}
	_, err = c.iam.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: name, PolicyArn: aws.String("arn:aws:iam::111122223333:policy/none")})
	if got := code(t, err); got != "NoSuchEntity" {
		t.Errorf("a policy of nobody: got %q", got)
	}
}

func TestTrustPoliciesAreChecked(t *testing.T) {
	_, c := start(t, emu.Options{NoLag: true})
	long := strings.Repeat(`"system:serviceaccount:namespace:account-of-some-length",`, 40)
	for name, tt := range map[string]struct{ doc, want string }{
		"not JSON":           {"{", "MalformedPolicyDocument"},
		"no principal":       {`{"Statement":[{"Effect":"Allow","Action":"sts:AssumeRole"}]}`, "MalformedPolicyDocument"},
		"another action":     {`{"Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"s3:Get"}]}`, "MalformedPolicyDocument"},
		"a role of nobody":   {`{"Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:role/none"},"Action":"sts:AssumeRole"}]}`, "MalformedPolicyDocument"},
		"a resource":         {`{"Statement":[{"Effect":"Allow","Resource":"*","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`, "MalformedPolicyDocument"},
		"more than 2048":     {`{"Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"x:sub":[` + long + `"y"]}}}]}`, "LimitExceeded"},
		"a single statement": {`{"Statement":{"Effect":"Allow","Principal":{"Service":["ec2.amazonaws.com"]},"Action":["sts:AssumeRole"]}}`, ""},
	} {
		_, err := c.iam.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String(strings.ReplaceAll(name, " ", "-")), AssumeRolePolicyDocument: &tt.doc})
		if got := code(t, err); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

func TestProvidersHaveALimit(t *testing.T) {
	_, c := start(t, emu.Options{Quotas: map[string]float64{"L-858F3967": 2}})
	create := func(u string) string {
		_, err := c.iam.CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{Url: &u, ClientIDList: []string{"sts.amazonaws.com"}})
		return code(t, err)
	}
	for _, tt := range []struct{ url, want string }{{"http://a", "ValidationError"}, {"https://a", ""}, {"https://a", "EntityAlreadyExists"}, {"https://oidc.eks.x.amazonaws.com/id/NONE", "OpenIdIdpCommunicationError"}, {"https://b", ""}, {"https://c", "LimitExceeded"}} {
		if got := create(tt.url); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.url, got, tt.want)
		}
	}
	if out := must(c.iam.ListOpenIDConnectProviders(t.Context(), nil))(t); len(out.OpenIDConnectProviderList) != 2 {
		t.Errorf("got %d providers", len(out.OpenIDConnectProviderList))
	}
}

func TestAssumeRoleAsksTheTrustPolicy(t *testing.T) {
	cloud, c := start(t, emu.Options{NoLag: true, EvaluateRoles: true})
	mine := cloud.SeedRole("mine", `{"Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/rehearsal"},"Action":"sts:AssumeRole"}]}`, "arn:aws:iam::aws:policy/ReadOnlyAccess")
	theirs := cloud.SeedRole("theirs", `{"Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::999999999999:root"},"Action":"sts:AssumeRole"}]}`)
	_, err := c.sts.AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &theirs, RoleSessionName: aws.String("s")})
	if got := code(t, err); got != "AccessDenied" {
		t.Errorf("a foreign role: got %q", got)
	}
	out := must(c.sts.AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &mine, RoleSessionName: aws.String("s")}))(t)
	s := connect(config(cloud.RoundTripper(), aws.Credentials{AccessKeyID: *out.Credentials.AccessKeyId, SecretAccessKey: *out.Credentials.SecretAccessKey, SessionToken: *out.Credentials.SessionToken}))
	must(s.ec2.DescribeVpcs(t.Context(), nil))(t)
	_, err = s.iam.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("x"), AssumeRolePolicyDocument: trust("ec2.amazonaws.com")})
	if got := code(t, err); got != "AccessDenied" {
		t.Errorf("a write with a read-only role: got %q", got)
	}
	sim := must(c.iam.SimulatePrincipalPolicy(t.Context(), &iam.SimulatePrincipalPolicyInput{PolicySourceArn: &mine, ActionNames: []string{"ec2:DescribeVpcs", "ec2:CreateVpc"}}))(t)
	if got := []iamtypes.PolicyEvaluationDecisionType{sim.EvaluationResults[0].EvalDecision, sim.EvaluationResults[1].EvalDecision}; !slices.Equal(got, []iamtypes.PolicyEvaluationDecisionType{"allowed", "implicitDeny"}) {
		t.Errorf("simulation: got %v", got)
	}
}

func TestParameters(t *testing.T) {
	cloud, c := start(t, emu.Options{PageSize: 2})
	ctx := t.Context()
	put := func(name, value string, overwrite bool) (int64, string) {
		out, err := c.ssm.PutParameter(ctx, &ssm.PutParameterInput{Name: &name, Value: &value, Type: ssmtypes.ParameterTypeString, Overwrite: &overwrite})
		if err != nil {
			return 0, code(t, err)
		}
		return out.Version, ""
	}
	lock := "/pipectl/id/stage/lock/1"
	for i, tt := range []struct {
		overwrite bool
		version   int64
		want      string
	}{{false, 1, ""}, {false, 0, "ParameterAlreadyExists"}, {true, 2, ""}} {
		if v, got := put(lock, fmt.Sprint(i), tt.overwrite); v != tt.version || got != tt.want {
			t.Errorf("put %d: got version %d, %q", i, v, got)
		}
	}
	for _, n := range []string{"2", "3", "4"} {
		put("/pipectl/id/stage/lock/"+n, "x", false)
	}
	n := 0
	for p := ssm.NewGetParametersByPathPaginator(c.ssm, &ssm.GetParametersByPathInput{Path: aws.String("/pipectl/id"), Recursive: aws.Bool(true)}); p.HasMorePages(); {
		n += len(must(p.NextPage(ctx))(t).Parameters)
	}
	if flat := must(c.ssm.GetParametersByPath(ctx, &ssm.GetParametersByPathInput{Path: aws.String("/pipectl/id")}))(t); n != 4 || len(flat.Parameters) != 0 {
		t.Errorf("by path: %d recursive, %d flat", n, len(flat.Parameters))
	}
	cloud.SeedParameter("/blog/git-token", "hunter2", true)
	for decrypt, want := range map[bool]bool{true: true, false: false} {
		out := must(c.ssm.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/blog/git-token"), WithDecryption: &decrypt}))(t)
		if (*out.Parameter.Value == "hunter2") != want {
			t.Errorf("with decryption %t: got %q", decrypt, *out.Parameter.Value)
		}
	}
	must(c.ssm.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: &lock}))(t)
	_, err := c.ssm.GetParameter(ctx, &ssm.GetParameterInput{Name: &lock})
	if got := code(t, err); got != "ParameterNotFound" {
		t.Errorf("deleted: got %q", got)
	}
	ami := must(c.ssm.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/aws/service/eks/optimized-ami/1.34/amazon-linux-2023/x86_64/standard/recommended/release_version")}))(t)
	if !strings.HasPrefix(*ami.Parameter.Value, "1.34.") {
		t.Errorf("AMI release: got %q", *ami.Parameter.Value)
	}
	for _, call := range cloud.Calls() {
		if call.Action == "PutParameter" && call.Class != "lock" {
			t.Errorf("%s is of class %q", call, call.Class)
		}
		if strings.Contains(call.String(), "hunter2") || strings.Contains(call.Params, "Value=") {
			t.Errorf("the ledger shows a value: %s", call)
		}
	}
}

func TestQuotas(t *testing.T) {
	_, c := start(t, emu.Options{Quotas: map[string]float64{"L-F678F1CE": 7}})
	get := func(service, quota string) (float64, string) {
		out, err := c.quotas.GetServiceQuota(t.Context(), &servicequotas.GetServiceQuotaInput{ServiceCode: &service, QuotaCode: &quota})
		if err != nil {
			return 0, code(t, err)
		}
		return *out.Quota.Value, ""
	}
	if v, _ := get("vpc", "L-F678F1CE"); v != 7 {
		t.Errorf("VPCs: got %v", v)
	}
	if v, _ := get("ec2", "L-0263D0A3"); v != 5 {
		t.Errorf("addresses: got %v", v)
	}
	if _, got := get("vpc", "L-NONE"); got != "NoSuchResourceException" {
		t.Errorf("an unknown quota: got %q", got)
	}
	dflt := must(c.quotas.GetAWSDefaultServiceQuota(t.Context(), &servicequotas.GetAWSDefaultServiceQuotaInput{ServiceCode: aws.String("vpc"), QuotaCode: aws.String("L-F678F1CE")}))(t)
	if *dflt.Quota.Value != 5 {
		t.Errorf("default: got %v", *dflt.Quota.Value)
	}
	if out := must(c.quotas.ListServiceQuotas(t.Context(), &servicequotas.ListServiceQuotasInput{ServiceCode: aws.String("iam")}))(t); len(out.Quotas) != 4 {
		t.Errorf("IAM quotas: got %d", len(out.Quotas))
	}
}
