package provisioneks

// actions are all that this step may call in its life, from the first look to `down`. A test compares them with what it does call.
var actions = []string{
	"ec2:AllocateAddress", "ec2:AssociateRouteTable", "ec2:AttachInternetGateway", "ec2:CreateInternetGateway", "ec2:CreateLaunchTemplate",
	"ec2:CreateLaunchTemplateVersion", "ec2:CreateNatGateway", "ec2:CreateRoute", "ec2:CreateRouteTable", "ec2:CreateSubnet", "ec2:CreateTags", "ec2:CreateVpc",
	"ec2:DeleteInternetGateway", "ec2:DeleteLaunchTemplate", "ec2:DeleteNatGateway", "ec2:DeleteNetworkInterface", "ec2:DeleteRoute", "ec2:DeleteRouteTable", "ec2:DeleteSecurityGroup",
	"ec2:DeleteSubnet", "ec2:DeleteTags", "ec2:DeleteVpc", "ec2:DescribeAddresses", "ec2:DescribeAvailabilityZones", "ec2:DescribeInstanceTypeOfferings", "ec2:DescribeInstanceTypes",
	"ec2:DescribeInternetGateways", "ec2:DescribeLaunchTemplateVersions", "ec2:DescribeLaunchTemplates", "ec2:DescribeNatGateways",
	"ec2:DescribeNetworkInterfaces", "ec2:DescribeRouteTables", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcAttribute", "ec2:DescribeVpcs",
	"ec2:DetachInternetGateway", "ec2:DisassociateRouteTable", "ec2:ModifyLaunchTemplate", "ec2:ModifySubnetAttribute", "ec2:ModifyVpcAttribute",
	"ec2:ReleaseAddress", "ec2:ReplaceRoute", "ec2:ReplaceRouteTableAssociation", "ec2:RevokeSecurityGroupIngress", "ec2:RunInstances",
	"eks:AssociateAccessPolicy", "eks:CreateAccessEntry", "eks:CreateCluster", "eks:CreateNodegroup", "eks:DeleteCluster", "eks:DeleteNodegroup",
	"eks:DeleteAccessEntry", "eks:DescribeAccessEntry", "eks:DescribeAddon", "eks:DescribeCluster", "eks:DescribeClusterVersions", "eks:DescribeNodegroup", "eks:DescribeUpdate",
	"eks:DisassociateAccessPolicy", "eks:UpdateAccessEntry",
	"eks:ListAccessEntries", "eks:ListAssociatedAccessPolicies", "eks:ListNodegroups", "eks:TagResource", "eks:UntagResource", "eks:UpdateClusterConfig", "eks:UpdateClusterVersion",
	"eks:UpdateNodegroupConfig", "eks:UpdateNodegroupVersion",
	"iam:AddClientIDToOpenIDConnectProvider", "iam:AttachRolePolicy", "iam:CreateOpenIDConnectProvider", "iam:CreateRole", "iam:DeleteOpenIDConnectProvider",
	"iam:DeleteRole", "iam:DeleteRolePolicy", "iam:DetachRolePolicy", "iam:GetOpenIDConnectProvider", "iam:GetRole", "iam:ListAttachedRolePolicies",
	"iam:ListOpenIDConnectProviderTags", "iam:ListOpenIDConnectProviders", "iam:ListRolePolicies", "iam:PassRole", "iam:TagOpenIDConnectProvider", "iam:TagRole",
	"iam:UntagOpenIDConnectProvider", "iam:UntagRole", "iam:UpdateAssumeRolePolicy",
	"elasticloadbalancing:DeleteLoadBalancer", "elasticloadbalancing:DeleteTargetGroup", "elasticloadbalancing:DescribeLoadBalancers",
	"elasticloadbalancing:DescribeTags", "elasticloadbalancing:DescribeTargetGroups",
}

// optional are calls that only make a preflight or a note better: without the permission the step goes on.
// The calls for log groups are made only where `logging` says so, and are tolerated to fail on the way down.
// The newest release of an image is looked up only where `releaseVersion: latest` asks for it.
// An image of one's own is looked at only where `launchTemplate.imageId` names one.
// Snapshots are taken only by destroy --with-data, of the volumes of claims; those that a run took which was cut off are removed.
// A key for Secrets is looked at and used only where `kmsKeyArn` names one.
var optional = []string{"eks:AssociateEncryptionConfig", "kms:CreateGrant", "kms:DescribeKey", "logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:DescribeLogGroups", "logs:ListTagsForResource", "logs:PutRetentionPolicy", "logs:TagResource", "ec2:DeleteVolume", "ec2:CreateSnapshot", "ec2:DeleteSnapshot", "ec2:DescribeSnapshots",
	"ec2:DescribeImages", "ec2:DescribeInstances", "ec2:DescribeVolumes", "eks:ListClusters", "iam:SimulatePrincipalPolicy", "servicequotas:GetAWSDefaultServiceQuota",
	"servicequotas:GetServiceQuota", "ssm:GetParameter", "sts:GetCallerIdentity"}
