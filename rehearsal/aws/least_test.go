package aws

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const owner = "pipectl.dev/identity"

func TestLeastPolicyHoldsWritesToTheOwnerTag(t *testing.T) {
	ours := map[string][]string{"aws:ResourceTag/" + owner: {"111122223333/ap-northeast-2/blog"}}
	calls := []Call{
		{Step: "provision-eks", Needs: []Authorization{{Action: "ec2:DescribeVpcs", Resource: "*"}}},
		{Step: "provision-eks", Needs: []Authorization{{Action: "ec2:DeleteVpc", Resource: "arn:aws:ec2:ap-northeast-2:111122223333:vpc/vpc-1", Write: true, Context: ours}}},
		{Step: "provision-eks", Needs: []Authorization{{Action: "ec2:DeleteSubnet", Resource: "arn:aws:ec2:ap-northeast-2:111122223333:subnet/subnet-1", Write: true, Context: ours}}},
		{Step: "provision-eks", Needs: []Authorization{{Action: "iam:GetRole", Resource: "arn:aws:iam::111122223333:role/blog-node-0123abcd", Context: ours}}},
		{Needs: []Authorization{{Action: "ssm:PutParameter", Resource: "arn:aws:ssm:ap-northeast-2:111122223333:parameter/pipectl/a/lock/1", Write: true}}},
	}
	want := Policy{Version: "2012-10-17", Statement: []PolicyStatement{
		{Sid: "ProvisionEks", Effect: "Allow", Action: []string{"ec2:DeleteSubnet", "ec2:DeleteVpc"}, Resource: []string{"arn:aws:ec2:ap-northeast-2:*:subnet/*", "arn:aws:ec2:ap-northeast-2:*:vpc/*"},
			Condition: map[string]map[string][]string{"StringLike": {"aws:ResourceTag/" + owner: {"*/ap-northeast-2/blog"}}}},
		{Sid: "ProvisionEks2", Effect: "Allow", Action: []string{"ec2:DescribeVpcs"}, Resource: []string{"*"}},
		{Sid: "ProvisionEks3", Effect: "Allow", Action: []string{"iam:GetRole"}, Resource: []string{"arn:aws:iam::*:role/blog-node-*"}},
		{Sid: "Run", Effect: "Allow", Action: []string{"ssm:PutParameter"}, Resource: []string{"arn:aws:ssm:ap-northeast-2:*:parameter/pipectl/*"}},
	}}
	if diff := cmp.Diff(want, LeastPolicy(calls, owner)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestIdentityPoliciesDecide(t *testing.T) {
	const doc = `{"Statement":[
		{"Effect":"Allow","Action":"ec2:Delete*","Resource":"arn:aws:ec2:*:*:vpc/*","Condition":{"StringEquals":{"aws:ResourceTag/team":"web"}}},
		{"Effect":"Allow","Action":["iam:getrole"],"Resource":"arn:aws:iam::*:role/blog-*"},
		{"Effect":"Deny","Action":"ec2:DeleteVpc","Resource":"*","Condition":{"StringLike":{"aws:ResourceTag/keep":"*"}}}]}`
	statements, err := parsePolicy(doc)
	if err != nil {
		t.Fatal(err)
	}
	const vpc = "arn:aws:ec2:ap-northeast-2:111122223333:vpc/vpc-1"
	web := map[string][]string{"aws:ResourceTag/team": {"web"}}
	for name, c := range map[string]struct {
		ask  Authorization
		want bool
	}{
		"all holds":                    {Authorization{Action: "ec2:DeleteVpc", Resource: vpc, Context: web}, true},
		"the tag has another value":    {Authorization{Action: "ec2:DeleteVpc", Resource: vpc, Context: map[string][]string{"aws:ResourceTag/team": {"db"}}}, false},
		"there is no tag":              {Authorization{Action: "ec2:DeleteVpc", Resource: vpc}, false},
		"a key's case does not matter": {Authorization{Action: "ec2:DeleteVpc", Resource: vpc, Context: map[string][]string{"AWS:resourcetag/team": {"web"}}}, true},
		"a tag's case does":            {Authorization{Action: "ec2:DeleteVpc", Resource: vpc, Context: map[string][]string{"aws:ResourceTag/Team": {"web"}}}, false},
		"another kind of resource":     {Authorization{Action: "ec2:DeleteSubnet", Resource: "arn:aws:ec2:ap-northeast-2:111122223333:subnet/subnet-1", Context: web}, false},
		"an action's case":             {Authorization{Action: "iam:GetRole", Resource: "arn:aws:iam::111122223333:role/blog-node"}, true},
		"a deny wins":                  {Authorization{Action: "ec2:DeleteVpc", Resource: vpc, Context: map[string][]string{"aws:ResourceTag/team": {"web"}, "aws:ResourceTag/keep": {"yes"}}}, false},
		"nobody speaks of it":          {Authorization{Action: "eks:CreateCluster", Resource: "*"}, false},
	} {
		if got := evaluate(statements, c.ask); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}
