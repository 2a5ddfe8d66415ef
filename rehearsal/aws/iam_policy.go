package aws

import (
	"encoding/json"
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

const managedPrefix = "arn:aws:iam::aws:policy/"

func (c *Cloud) policyExists(arn string) error {
	if !strings.HasPrefix(arn, "arn:aws:iam::") {
		return fail("ValidationError", "ARN %s is not valid.", arn)
	}
	if strings.HasPrefix(arn, managedPrefix) || c.iam.policies[arn] != nil {
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
	arn := "arn:aws:iam::" + c.opt.Account + ":policy" + path + name
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
	if name, ok := strings.CutPrefix(arn, managedPrefix); ok && awsManaged[name] != nil {
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

// statement is one statement of a policy; scalars and lists are both read as lists.
type statement struct {
	Effect    string
	Action    oneOrMany
	Principal map[string]oneOrMany
	Condition map[string]map[string]oneOrMany
	Resource  oneOrMany
}

type oneOrMany []string

func (o *oneOrMany) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*o = oneOrMany{s}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(o))
}

// parsePolicy reads a policy document; Statement may be one or many.
func parsePolicy(doc string) ([]statement, error) {
	var p struct {
		Version   string
		Statement json.RawMessage
	}
	if err := json.Unmarshal([]byte(doc), &p); err != nil {
		return nil, fail("MalformedPolicyDocument", "This policy contains invalid Json")
	}
	var many []statement
	if err := json.Unmarshal(p.Statement, &many); err != nil {
		var single statement
		if err := json.Unmarshal(p.Statement, &single); err != nil {
			return nil, fail("MalformedPolicyDocument", "Syntax errors in policy.")
		}
		many = []statement{single}
	}
	for _, s := range many {
		if s.Effect != "Allow" && s.Effect != "Deny" {
			return nil, fail("MalformedPolicyDocument", "Invalid effect: %s", s.Effect)
		}
		if len(s.Action) == 0 {
			return nil, fail("MalformedPolicyDocument", "Missing required field Action")
		}
	}
	return many, nil
}

// roleAllows says whether a role's policies allow an action. Resources and conditions are not weighed, except that
// the tag-scoped EBS CSI policies want the driver's tag on the volume.
func (c *Cloud) roleAllows(arn, action string, req *request) bool {
	if action == "sts:GetCallerIdentity" {
		return true
	}
	r := c.roleByARN(arn)
	if r == nil {
		return false
	}
	for _, p := range r.attached {
		if c.policyAllows(p, action, req) {
			return true
		}
	}
	for _, doc := range r.inline {
		if documentAllows(doc, action) {
			return true
		}
	}
	return false
}

func (c *Cloud) policyAllows(arn, action string, req *request) bool {
	if p := c.iam.policies[arn]; p != nil {
		return documentAllows(p.document, action)
	}
	name := strings.TrimPrefix(arn, managedPrefix)
	actions, known := awsManaged[name]
	if !known {
		return true
	}
	if !matchesAny(actions, action) {
		return false
	}
	if strings.HasSuffix(name, "V2") && (action == "ec2:AttachVolume" || action == "ec2:DetachVolume") {
		v, ok := c.ec2.volumes.find(req.form.Get("VolumeId"))
		return ok && v.tags["ebs.csi.aws.com/cluster"] == "true"
	}
	return true
}

func documentAllows(doc, action string) bool {
	statements, err := parsePolicy(doc)
	if err != nil {
		return false
	}
	allowed := false
	for _, s := range statements {
		if matchesAny(s.Action, action) {
			if s.Effect == "Deny" {
				return false
			}
			allowed = true
		}
	}
	return allowed
}
