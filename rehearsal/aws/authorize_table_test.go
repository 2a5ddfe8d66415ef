package aws

import (
	"slices"
	"strings"
	"testing"

	"pipectl.dev/cloud/cloudtest/calls"
)

// resourceless are calls of ours that are authorized on * alone, as the Service Authorization Reference has it, but for the last ones.
var resourceless = []string{
	"ec2:Describe*", "eks:CreateCluster", "eks:DescribeAddonVersions", "eks:DescribeClusterVersions", "eks:ListClusters",
	"elasticloadbalancing:Describe*", "iam:ListOpenIDConnectProviders", "iam:ListRoles", "logs:DescribeLogGroups",
	"servicequotas:GetAWSDefaultServiceQuota", "servicequotas:GetServiceQuota", "sts:GetCallerIdentity",
	"ec2:DisassociateRouteTable",    // names an association, which is no resource
	"iam:SimulatePrincipalPolicy",   // the caller is another one wherever a policy is used
	"sts:AssumeRoleWithWebIdentity", // is not signed: the role's trust policy decides
}

func TestEveryCallOfOursKnowsItsResources(t *testing.T) {
	found := calls.In(t, "../../steps/*/*.go", "../../cloud/*.go", "../../results/*.go", "../../engine/*.go", "../../cmd/pipectl/*.go")
	for _, c := range found {
		action := c.IAM()
		alone := slices.ContainsFunc(resourceless, func(p string) bool { return likes(p, action) })
		switch known := len(needsOf[action]) > 0; {
		case !known && !alone:
			t.Errorf("%s calls %s, whose resources are not in needsOf: a policy would be held to nothing", c.File, action)
		case known && slices.Contains(resourceless, action):
			t.Errorf("%s is in needsOf and in resourceless", action)
		}
	}
	if len(found) < 100 {
		t.Errorf("only %d calls found", len(found))
	}
}

// What a call is held to: a policy that allows one resource of its kind, or one tag, must be told which.
func TestCallsAreAuthorizedOnWhatTheyName(t *testing.T) {
	c := New(Options{NoLag: true})
	t.Cleanup(c.Close)
	c.logs["/aws/eks/blog/cluster"] = &logGroup{name: "/aws/eks/blog/cluster", tags: map[string]string{"pipectl.dev/identity": "me"}}
	c.balancers = append(c.balancers, &balancer{name: "web", kind: "classic", tags: map[string]string{"kubernetes.io/cluster/blog": "owned"}})
	const group, key = "arn:aws:logs:ap-northeast-2:111122223333:log-group:/aws/eks/blog/cluster", "arn:aws:kms:ap-northeast-2:111122223333:key/k"
	encrypted := map[string]any{"encryptionConfig": []any{map[string]any{"provider": map[string]any{"keyArn": key}}}}
	for name, x := range map[string]struct {
		req  request
		want []string // action resource, and a condition key that it must have
	}{
		"a log group":                {request{service: "logs", action: "DeleteLogGroup", body: map[string]any{"logGroupName": "/aws/eks/blog/cluster"}}, []string{"logs:DeleteLogGroup " + group + " aws:ResourceTag/pipectl.dev/identity"}},
		"a log group that is made":   {request{service: "logs", action: "CreateLogGroup", body: map[string]any{"logGroupName": "/aws/eks/blog/cluster", "tags": map[string]any{"a": "b"}}}, []string{"logs:CreateLogGroup " + group + " aws:RequestTag/a", "logs:TagResource " + group + " aws:RequestTag/a"}},
		"a classic load balancer":    {request{service: "elb", action: "DeleteLoadBalancer", form: map[string][]string{"LoadBalancerName": {"web"}}}, []string{"elasticloadbalancing:DeleteLoadBalancer arn:aws:elasticloadbalancing:ap-northeast-2:111122223333:loadbalancer/web aws:ResourceTag/kubernetes.io/cluster/blog"}},
		"a key":                      {request{service: "kms", action: "DescribeKey", body: map[string]any{"KeyId": key}}, []string{"kms:DescribeKey " + key}},
		"Secrets that are encrypted": {request{service: "eks", action: "AssociateEncryptionConfig", vars: map[string]string{"name": "blog"}, body: encrypted}, []string{"eks:AssociateEncryptionConfig arn:aws:eks:ap-northeast-2:111122223333:cluster/blog", "kms:CreateGrant " + key, "kms:DescribeKey " + key}},
		"tags of a node group":       {request{service: "eks", action: "TagResource", vars: map[string]string{"resourceArn": "arn:aws:eks:ap-northeast-2:111122223333:nodegroup/blog/main/1"}, body: map[string]any{"tags": map[string]any{"a": "b"}}}, []string{"eks:TagResource arn:aws:eks:ap-northeast-2:111122223333:nodegroup/blog/main/1 aws:RequestTag/a"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.authorizations(&x.req, true)
			if len(got) != len(x.want) {
				t.Fatalf("got %+v, want %q", got, x.want)
			}
			for i, w := range x.want {
				part := strings.SplitN(w, " ", 3)
				if got[i].Action != part[0] || got[i].Resource != part[1] || len(part) > 2 && len(got[i].Context[part[2]]) == 0 {
					t.Errorf("got %+v, want %s", got[i], w)
				}
			}
		})
	}
}
