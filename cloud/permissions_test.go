package cloud

import "testing"

// The kinds are those of the Service Authorization Reference: a caller whose policy is held to them must not be called short of a permission.
func TestPermissionsAreTriedOnTheKindThatTheActionKnows(t *testing.T) {
	s, who := &Session{Region: "ap-northeast-2"}, Caller{Partition: "aws", Account: "111122223333"}
	for action, want := range map[string]string{
		"ec2:CreateNatGateway":                    "ec2:ap-northeast-2:111122223333:natgateway/*",
		"ec2:AllocateAddress":                     "ec2:ap-northeast-2:111122223333:elastic-ip/*",
		"ec2:CreateLaunchTemplateVersion":         "ec2:ap-northeast-2:111122223333:launch-template/*",
		"ec2:CreateRoute":                         "ec2:ap-northeast-2:111122223333:route-table/*",
		"ec2:ReplaceRouteTableAssociation":        "ec2:ap-northeast-2:111122223333:route-table/*",
		"ec2:RevokeSecurityGroupIngress":          "ec2:ap-northeast-2:111122223333:security-group/*",
		"ec2:RunInstances":                        "ec2:ap-northeast-2:111122223333:instance/*",
		"ec2:DeleteTags":                          "ec2:ap-northeast-2:111122223333:*/*",
		"eks:CreateNodegroup":                     "eks:ap-northeast-2:111122223333:cluster/*",
		"eks:ListNodegroups":                      "eks:ap-northeast-2:111122223333:cluster/*",
		"eks:UpdateNodegroupVersion":              "eks:ap-northeast-2:111122223333:nodegroup/*",
		"eks:CreateAddon":                         "eks:ap-northeast-2:111122223333:cluster/*",
		"eks:UpdateAddon":                         "eks:ap-northeast-2:111122223333:addon/*",
		"eks:CreateAccessEntry":                   "eks:ap-northeast-2:111122223333:cluster/*",
		"eks:DeleteAccessEntry":                   "eks:ap-northeast-2:111122223333:access-entry/*",
		"eks:AssociateAccessPolicy":               "eks:ap-northeast-2:111122223333:access-entry/*",
		"eks:ListAssociatedAccessPolicies":        "eks:ap-northeast-2:111122223333:access-entry/*",
		"eks:CreatePodIdentityAssociation":        "eks:ap-northeast-2:111122223333:cluster/*",
		"eks:DeletePodIdentityAssociation":        "eks:ap-northeast-2:111122223333:podidentityassociation/*",
		"eks:TagResource":                         "eks:ap-northeast-2:111122223333:cluster/*",
		"iam:PassRole":                            "iam::111122223333:role/*",
		"iam:CreateOpenIDConnectProvider":         "iam::111122223333:oidc-provider/oidc.eks.ap-northeast-2.amazonaws.com/id/*",
		"elasticloadbalancing:DeleteLoadBalancer": "elasticloadbalancing:ap-northeast-2:111122223333:loadbalancer/*",
		"elasticloadbalancing:DeleteTargetGroup":  "elasticloadbalancing:ap-northeast-2:111122223333:targetgroup/*",
		"logs:DeleteLogGroup":                     "logs:ap-northeast-2:111122223333:log-group:*",
	} {
		if got := s.resourceOf(who, action); got != "arn:aws:"+want {
			t.Errorf("%s is tried on %s, want arn:aws:%s", action, got, want)
		}
	}
}
