package aws

import (
	"strings"
)

// Authorization is one permission that a call needs, as the service asks IAM for it. A call may need several: one for each resource that
// it touches, and those of what it does besides (tagging, passing a role).
type Authorization struct {
	Action   string
	Resource string              // ARN, or * where the action knows no resources
	Write    bool                // false for looks, which must be allowed also where nothing is there to carry a tag
	Fresh    bool                // the resource is made by the call
	Context  map[string][]string // condition keys
}

// authorizations lists what a call needs. The caller holds the lock.
func (c *Cloud) authorizations(req *request, write bool) []Authorization {
	action := permissionFor(req)
	var out []Authorization
	for _, n := range needsOf[action] {
		for _, name := range c.named(req, n) {
			out = append(out, c.need(req, action, n, name, write))
		}
	}
	if len(out) == 0 {
		out = []Authorization{{Action: action, Resource: "*", Write: write, Context: requestTags(c.tagsIn(req))}}
	}
	return append(out, c.besides(req, out)...)
}

// permissionFor is the action that IAM knows for a call: most have the same name.
func permissionFor(req *request) string {
	action := iamService(req.service) + ":" + req.action
	if other := map[string]string{"s3:HeadObject": "s3:GetObject", "s3:HeadBucket": "s3:ListBucket", "s3:ListObjectsV2": "s3:ListBucket", "s3:DeleteObjects": "s3:DeleteObject"}[action]; other != "" {
		return other
	}
	return action
}

func (c *Cloud) need(req *request, action string, n need, name string, write bool) Authorization {
	a := Authorization{Action: action, Resource: c.arnOf(req.service, n.kind, name), Write: write, Fresh: n.fresh, Context: map[string][]string{}}
	if n.fresh || n.tagged {
		a.Context = requestTags(c.tagsIn(req))
	}
	if !n.fresh {
		for k, v := range c.ownTags(req.service, n.kind, name) {
			a.Context["aws:ResourceTag/"+k] = []string{v}
		}
	}
	return a
}

// named are the ids or names that a call gives of a resource; "*" for one that it makes.
func (c *Cloud) named(req *request, n need) []string {
	switch {
	case n.fresh && n.param == "":
		return []string{"*"}
	case req.service == "eks" || req.service == "eks-auth":
		name := req.vars["name"]
		if n.param == "name" && name == "" {
			name = text(req.body, "name")
		}
		switch {
		case req.vars["resourceArn"] != "":
			return []string{req.vars["resourceArn"]}
		case n.kind == "cluster":
			return []string{name}
		case req.vars[n.param] != "":
			return []string{name + "/" + req.vars[n.param]}
		case req.query.Get(n.param) != "":
			return []string{name + "/" + req.query.Get(n.param)}
		}
		return nil
	case req.service == "s3" && req.vars["Key"] != "":
		return []string{req.vars["Bucket"] + "/" + req.vars["Key"]}
	case req.service == "ssm":
		return []string{strings.TrimPrefix(text(req.body, n.param), "/")}
	case req.service == "kms" || req.service == "logs":
		return []string{text(req.body, n.param)}
	}
	var out []string
	for k, values := range req.form {
		if k == n.param || strings.HasPrefix(k, n.param+".") {
			out = append(out, values...)
		}
	}
	return out
}

// tagsIn are the tags that a call wants to put on something.
func (c *Cloud) tagsIn(req *request) map[string]string {
	out := map[string]string{}
	switch req.service {
	case "ec2":
		for k := range req.form {
			if spec, ok := strings.CutSuffix(k, ".ResourceType"); ok && strings.HasPrefix(spec, "TagSpecification.") {
				for _, kv := range pairs(req, spec+".Tag") {
					out[kv[0]] = kv[1]
				}
			}
		}
		for _, kv := range pairs(req, "Tag") {
			out[kv[0]] = kv[1]
		}
	case "iam":
		return memberTags(req)
	case "eks", "logs":
		return textMap(req.body, "tags")
	}
	return out
}

func requestTags(tags map[string]string) map[string][]string {
	out := map[string][]string{}
	for k, v := range tags {
		out["aws:RequestTag/"+k] = []string{v}
		out["aws:TagKeys"] = append(out["aws:TagKeys"], k)
	}
	return out
}

// tagger is the action that a service asks for when a call tags what it makes.
var tagger = map[string]string{"ec2": "ec2:CreateTags", "eks": "eks:TagResource", "logs": "logs:TagResource", "iam:CreateRole": "iam:TagRole", "iam:CreateOpenIDConnectProvider": "iam:TagOpenIDConnectProvider"}

// besides are the permissions for what a call does besides its own: tagging at creation, roles passed on, instances of a launch template.
func (c *Cloud) besides(req *request, own []Authorization) []Authorization {
	action := req.service + ":" + req.action
	var out []Authorization
	tag := tagger[action]
	if tag == "" && strings.HasPrefix(req.action, "Create") && req.action != "CreateTags" {
		tag = tagger[req.service]
	}
	if tags := c.tagsIn(req); tag != "" && len(tags) > 0 {
		a := Authorization{Action: tag, Resource: "*", Write: true, Fresh: true, Context: requestTags(tags)}
		for _, o := range own {
			if o.Fresh {
				a.Resource = o.Resource
			}
		}
		if req.service == "ec2" {
			a.Context["ec2:CreateAction"] = []string{req.action}
		}
		out = append(out, a)
	}
	for field, service := range map[string]string{"roleArn": "eks.amazonaws.com", "nodeRole": "ec2." + c.domain(), "serviceAccountRoleArn": "eks.amazonaws.com"} {
		if role := text(req.body, field); role != "" && req.service == "eks" {
			if strings.Contains(req.action, "PodIdentityAssociation") {
				service = "pods.eks.amazonaws.com"
			}
			out = append(out, Authorization{Action: "iam:PassRole", Resource: role, Write: true, Context: map[string][]string{"iam:PassedToService": {service}}})
		}
	}
	out = append(append(out, c.encryption(req)...), c.firstOf(action)...)
	if action == "eks:CreateNodegroup" && object(req.body, "launchTemplate") != nil {
		out = append(out, Authorization{Action: "ec2:RunInstances", Resource: "*", Write: true, Context: map[string][]string{}})
	}
	return out
}

// arnOf is the ARN of a resource that may not exist.
func (c *Cloud) arnOf(service, kind, name string) string {
	switch {
	case strings.HasPrefix(name, "arn:"):
		return name
	case service == "s3":
		return c.inPartition("s3") + "::" + name
	case service == "logs":
		return c.logARN(name)
	case service == "iam" && kind == "oidc-provider":
		return c.iamARN() + ":oidc-provider/" + strings.TrimPrefix(name, "https://")
	case service == "iam":
		if r := c.iam.roles[name]; r != nil && kind == "role" {
			return r.arn
		}
		return c.iamARN() + ":" + kind + "/" + name
	case service == "ec2" && kind == "":
		if m, err := c.metaOf(name); err == nil {
			kind = m.kind
		}
	}
	if service == "eks-auth" { // has no resources of its own
		service = "eks"
	}
	return c.arn(iamService(service), kind+"/"+name)
}

// encryption is what EKS asks KMS for in the caller's name when Secrets are to be encrypted.
func (c *Cloud) encryption(req *request) []Authorization {
	configs, _ := req.body["encryptionConfig"].([]any)
	if req.service != "eks" || len(configs) == 0 {
		return nil
	}
	config, _ := configs[0].(map[string]any)
	var out []Authorization
	for _, action := range []string{"kms:CreateGrant", "kms:DescribeKey"} {
		out = append(out, Authorization{Action: action, Resource: text(object(config, "provider"), "keyArn"), Write: true, Context: map[string][]string{}})
	}
	return out
}

// firstOf is what EKS asks IAM for in the caller's name where an account has no cluster, or no node group, yet: the role that is linked to it.
func (c *Cloud) firstOf(action string) []Authorization {
	service := map[string]string{"eks:CreateCluster": "eks.amazonaws.com", "eks:CreateNodegroup": "eks-nodegroup.amazonaws.com"}[action]
	name := serviceLinked[service]
	if service == "" || c.iam.roles[name] != nil {
		return nil
	}
	return []Authorization{{Action: "iam:CreateServiceLinkedRole", Resource: c.iamARN() + ":role/aws-service-role/" + service + "/" + name, Write: true,
		Context: map[string][]string{"iam:AWSServiceName": {service}}}}
}

// ownTags are the tags of a resource, nil where there is none.
func (c *Cloud) ownTags(service, kind, name string) map[string]string {
	cluster, part, _ := strings.Cut(name, "/")
	switch service {
	case "ec2":
		if m, err := c.metaOf(name); err == nil {
			return m.tags
		}
	case "elb", "elbv2":
		if b := c.balancerWhere(func(b *balancer) bool { return b.name == name && b.kind == "classic" }); b != nil {
			return b.tags
		}
		tags, _ := c.balancerTags(name)
		return tags
	case "logs":
		if g := c.logs[strings.TrimPrefix(name, c.logARN(""))]; g != nil {
			return g.tags
		}
	case "eks", "eks-auth":
		if kind == "" {
			tags, _ := c.tagsOf(name)
			return tags
		}
		cl := c.eks[cluster]
		if cl == nil {
			return nil
		}
		switch kind {
		case "cluster":
			return cl.tags
		case "nodegroup":
			if g := cl.groups[part]; g != nil {
				return g.tags
			}
		case "addon":
			if a := cl.addons[part]; a != nil {
				return a.tags
			}
		case "access-entry":
			if e := cl.entries[part]; e != nil {
				return e.tags
			}
		case "podidentityassociation":
			if p := cl.pods[part]; p != nil {
				return p.tags
			}
		}
	case "iam":
		if r := c.iam.roles[name]; r != nil && kind == "role" {
			return r.tags
		}
		if p := c.iam.providers[name]; p != nil {
			return p.tags
		}
	}
	return nil
}
