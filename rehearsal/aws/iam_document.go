package aws

import (
	"encoding/json"
	"strings"
)

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
// the tag-scoped EBS CSI policies want the driver's tag, or its cluster's, on the volume.
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
	name := strings.TrimPrefix(arn, c.managed(""))
	actions, known := awsManaged[name]
	if !known {
		return true
	}
	if !matchesAny(actions, action) {
		return false
	}
	if action != "ec2:AttachVolume" && action != "ec2:DetachVolume" {
		return true
	}
	v, ok := c.ec2.volumes.find(req.form.Get("VolumeId"))
	switch {
	case strings.HasSuffix(name, "DriverPolicyV2"):
		return ok && v.tags["ebs.csi.aws.com/cluster"] == "true"
	case strings.HasSuffix(name, "EKSClusterScopedPolicy"): // by a tag of the session, which Pod Identity alone sets
		cluster := c.podsOf[req.principal]
		i, found := c.ec2.instances.find(req.form.Get("InstanceId"))
		return ok && cluster != "" && v.tags["ebs.csi.aws.com/cluster-name"] == cluster &&
			found && (i.tags["eks:cluster-name"] == cluster || i.tags["ebs.csi.aws.com/cluster-name"] == cluster)
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
