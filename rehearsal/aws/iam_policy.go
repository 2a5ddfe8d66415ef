package aws

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

var rolePolicyOperations = map[string]operation{
	"AttachRolePolicy":              writes((*Cloud).attachRolePolicy, "RoleName", "PolicyArn"),
	"DetachRolePolicy":              writes((*Cloud).detachRolePolicy, "RoleName", "PolicyArn"),
	"ListAttachedRolePolicies":      reads((*Cloud).listAttachedRolePolicies, "RoleName"),
	"PutRolePolicy":                 writes((*Cloud).putRolePolicy, "RoleName", "PolicyName", "PolicyDocument"),
	"GetRolePolicy":                 reads((*Cloud).getRolePolicy, "RoleName", "PolicyName"),
	"DeleteRolePolicy":              writes((*Cloud).deleteRolePolicy, "RoleName", "PolicyName"),
	"ListRolePolicies":              reads((*Cloud).listRolePolicies, "RoleName"),
	"PutRolePermissionsBoundary":    writes((*Cloud).putBoundary, "RoleName", "PermissionsBoundary"),
	"DeleteRolePermissionsBoundary": writes((*Cloud).deleteBoundary, "RoleName"),
	"CreatePolicy":                  writes((*Cloud).createPolicy, "PolicyName", "PolicyDocument"),
	"GetPolicy":                     reads((*Cloud).getPolicy, "PolicyArn"),
	"DeletePolicy":                  writes((*Cloud).deletePolicy, "PolicyArn"),
}

// awsManaged are the managed policies that the emulator knows, with what they allow; policies of AWS that are not
// listed exist and allow all.
var awsManaged = map[string][]string{
	"AmazonEKSClusterPolicy":                                {"ec2:*", "elasticloadbalancing:*", "kms:DescribeKey", "autoscaling:*"},
	"AmazonEKSWorkerNodePolicy":                             {"ec2:Describe*", "eks:DescribeCluster", "eks-auth:AssumeRoleForPodIdentity"},
	"AmazonEKS_CNI_Policy":                                  {"ec2:*NetworkInterface*", "ec2:*PrivateIpAddresses", "ec2:Describe*", "ec2:CreateTags"},
	"AmazonEC2ContainerRegistryReadOnly":                    {"ecr:*"},
	"AmazonEC2ContainerRegistryPullOnly":                    {"ecr:*"},
	"AmazonSSMManagedInstanceCore":                          {"ssm:*", "ssmmessages:*", "ec2messages:*"},
	"service-role/AmazonEBSCSIDriverPolicy":                 ebsActions,
	"service-role/AmazonEBSCSIDriverPolicyV2":               ebsActions,
	"service-role/AmazonEBSCSIDriverEKSClusterScopedPolicy": ebsActions,
	"AmazonS3ReadOnlyAccess":                                {"s3:Get*", "s3:List*"},
	"ReadOnlyAccess":                                        {"*:Describe*", "*:List*", "*:Get*"},
}

var ebsActions = []string{"ec2:CreateVolume", "ec2:DeleteVolume", "ec2:AttachVolume", "ec2:DetachVolume", "ec2:ModifyVolume", "ec2:CreateSnapshot", "ec2:DeleteSnapshot",
	"ec2:CreateTags", "ec2:DeleteTags", "ec2:DescribeAvailabilityZones", "ec2:DescribeInstances", "ec2:DescribeSnapshots", "ec2:DescribeTags", "ec2:DescribeVolumes", "ec2:DescribeVolumesModifications", "ec2:DescribeVolumeStatus", "ec2:DescribeInstanceTopology"}

// managed is the ARN of a policy of AWS's own.
func (c *Cloud) managed(name string) string { return c.inPartition("iam") + ":aws:policy/" + name }

func (c *Cloud) policyExists(arn string) error {
	if !strings.HasPrefix(arn, c.inPartition("iam")+":") {
		return fail("ValidationError", "ARN %s is not valid.", arn)
	}
	if strings.HasPrefix(arn, c.managed("")) || c.iam.policies[arn] != nil {
		return nil
	}
	return failStatus(404, "NoSuchEntity", "Policy %s does not exist or is not attachable.", arn)
}

func (c *Cloud) attachRolePolicy(req *request) (any, error) {
	r, err := c.roleNamed(req.form.Get("RoleName"))
	if err != nil {
		return nil, err
	}
	arn := req.form.Get("PolicyArn")
	if err := c.policyExists(arn); err != nil {
		return nil, err
	}
	if slices.Contains(r.attached, arn) {
		return nil, nil
	}
	if len(r.attached) >= c.quota("L-0DA4ABF3") {
		return nil, failStatus(409, "LimitExceeded", "Cannot exceed quota for PoliciesPerRole: %d", c.quota("L-0DA4ABF3"))
	}
	r.attached = append(r.attached, arn)
	return nil, nil
}

func (c *Cloud) detachRolePolicy(req *request) (any, error) {
	r, err := c.roleNamed(req.form.Get("RoleName"))
	if err != nil {
		return nil, err
	}
	arn := req.form.Get("PolicyArn")
	i := slices.Index(r.attached, arn)
	if i < 0 {
		return nil, failStatus(404, "NoSuchEntity", "Policy %s was not found.", arn)
	}
	r.attached = slices.Delete(r.attached, i, i+1)
	return nil, nil
}

func (c *Cloud) listAttachedRolePolicies(req *request) (any, error) {
	r, err := c.roleNamed(req.form.Get("RoleName"))
	if err != nil {
		return nil, err
	}
	var rows []node
	for _, arn := range r.attached {
		rows = append(rows, group("", el("PolicyName", arn[strings.LastIndex(arn, "/")+1:]), el("PolicyArn", arn)))
	}
	return marked(c, req, "AttachedPolicies", rows)
}

func (c *Cloud) putRolePolicy(req *request) (any, error) {
	r, err := c.roleNamed(req.form.Get("RoleName"))
	if err != nil {
		return nil, err
	}
	doc := req.form.Get("PolicyDocument")
	if _, err := parsePolicy(doc); err != nil {
		return nil, err
	}
	if len(doc) > 10240 {
		return nil, failStatus(409, "LimitExceeded", "Maximum policy size of 10240 bytes exceeded for role %s", r.name)
	}
	r.inline[req.form.Get("PolicyName")] = doc
	return nil, nil
}

func (c *Cloud) inlineOf(req *request) (*role, string, error) {
	r, err := c.roleNamed(req.form.Get("RoleName"))
	if err != nil {
		return nil, "", err
	}
	name := req.form.Get("PolicyName")
	if _, ok := r.inline[name]; !ok {
		return nil, "", failStatus(404, "NoSuchEntity", "The role policy with name %s cannot be found.", name)
	}
	return r, name, nil
}

func (c *Cloud) getRolePolicy(req *request) (any, error) {
	r, name, err := c.inlineOf(req)
	if err != nil {
		return nil, err
	}
	return []node{el("RoleName", r.name), el("PolicyName", name), el("PolicyDocument", url.QueryEscape(r.inline[name]))}, nil
}

func (c *Cloud) deleteRolePolicy(req *request) (any, error) {
	r, name, err := c.inlineOf(req)
	if err != nil {
		return nil, err
	}
	delete(r.inline, name)
	return nil, nil
}

func (c *Cloud) listRolePolicies(req *request) (any, error) {
	r, err := c.roleNamed(req.form.Get("RoleName"))
	if err != nil {
		return nil, err
	}
	return marked(c, req, "PolicyNames", texts(sortedKeys(r.inline)))
}

func (c *Cloud) putBoundary(req *request) (any, error) {
	r, err := c.roleNamed(req.form.Get("RoleName"))
	if err != nil {
		return nil, err
	}
	if err := c.policyExists(req.form.Get("PermissionsBoundary")); err != nil {
		return nil, err
	}
	r.boundary = req.form.Get("PermissionsBoundary")
	return nil, nil
}

func (c *Cloud) deleteBoundary(req *request) (any, error) {
	r, err := c.roleNamed(req.form.Get("RoleName"))
	if err != nil {
		return nil, err
	}
	r.boundary = ""
	return nil, nil
}

func (c *Cloud) createPolicy(req *request) (any, error) {
	path := req.form.Get("Path")
	if path == "" {
		path = "/"
	}
	name := req.form.Get("PolicyName")
	arn := c.iamARN() + ":policy" + path + name
	if c.iam.policies[arn] != nil {
		return nil, failStatus(409, "EntityAlreadyExists", "A policy called %s already exists. Duplicate names are not allowed.", name)
	}
	if _, err := parsePolicy(req.form.Get("PolicyDocument")); err != nil {
		return nil, err
	}
	p := &managedPolicy{arn: arn, name: name, path: path, document: req.form.Get("PolicyDocument"), tags: memberTags(req), created: time.Now()}
	c.iam.policies[arn] = p
	req.created = append(req.created, arn)
	return []node{policyNode(p)}, nil
}

func policyNode(p *managedPolicy) node {
	return group("Policy", el("PolicyName", p.name), el("Arn", p.arn), el("Path", p.path), el("DefaultVersionId", "v1"), el("CreateDate", p.created), memberTagNodes(p.tags))
}

func (c *Cloud) getPolicy(req *request) (any, error) {
	arn := req.form.Get("PolicyArn")
	if p := c.iam.policies[arn]; p != nil {
		return []node{policyNode(p)}, nil
	}
	if name, ok := strings.CutPrefix(arn, c.managed("")); ok && awsManaged[name] != nil {
		return []node{policyNode(&managedPolicy{arn: arn, name: name[strings.LastIndex(name, "/")+1:], path: "/", created: c.start})}, nil
	}
	return nil, failStatus(404, "NoSuchEntity", "Policy %s was not found.", arn)
}

func (c *Cloud) deletePolicy(req *request) (any, error) {
	arn := req.form.Get("PolicyArn")
	if c.iam.policies[arn] == nil {
		return nil, failStatus(404, "NoSuchEntity", "Policy %s was not found.", arn)
	}
	for _, r := range c.iam.roles {
		if slices.Contains(r.attached, arn) {
			return nil, failStatus(409, "DeleteConflict", "Cannot delete a policy attached to entities.")
		}
	}
	req.deleted = append(req.deleted, arn)
	delete(c.iam.policies, arn)
	return nil, nil
}
