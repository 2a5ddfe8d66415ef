package aws

import (
	"net/url"
	"strings"
	"time"
)

type iamState struct {
	roles     map[string]*role
	providers map[string]*provider // by ARN
	policies  map[string]*managedPolicy
}

type role struct {
	name, path, id, arn, description, boundary string
	trust                                      string
	created, changed                           time.Time // changed: trust or policies; consumers see it after propagation
	known                                      time.Time // when other services can see the role at all
	readable                                   time.Time // with Options.LagLists: when IAM itself shows it
	session                                    int
	tags                                       map[string]string
	attached                                   []string
	inline                                     map[string]string
}

type managedPolicy struct {
	arn, name, path, document string
	tags                      map[string]string
	created                   time.Time
}

func (c *Cloud) initIAM() {
	c.iam = iamState{roles: map[string]*role{}, providers: map[string]*provider{}, policies: map[string]*managedPolicy{}}
}

var roleOperations = map[string]operation{
	"CreateRole":              writes((*Cloud).createRole, "RoleName", "AssumeRolePolicyDocument"),
	"GetRole":                 reads((*Cloud).getRole, "RoleName"),
	"ListRoles":               reads((*Cloud).listRoles),
	"DeleteRole":              writes((*Cloud).deleteRole, "RoleName"),
	"UpdateRole":              writes((*Cloud).updateRole, "RoleName"),
	"UpdateAssumeRolePolicy":  writes((*Cloud).updateTrust, "RoleName", "PolicyDocument"),
	"TagRole":                 tags((*Cloud).tagRole, "RoleName"),
	"UntagRole":               tags((*Cloud).untagRole, "RoleName"),
	"ListRoleTags":            reads((*Cloud).listRoleTags, "RoleName"),
	"CreateServiceLinkedRole": writes((*Cloud).createServiceLinkedRole, "AWSServiceName"),
}

// roleNamed finds a role that IAM itself can see.
func (c *Cloud) roleNamed(name string) (*role, error) {
	if r, ok := c.iam.roles[name]; ok && (!c.opt.LagLists || !time.Now().Before(r.readable)) {
		return r, nil
	}
	return nil, failStatus(404, "NoSuchEntity", "The role with name %s cannot be found.", name)
}

func (c *Cloud) createRole(req *request) (any, error) {
	name := req.form.Get("RoleName")
	if len(name) > 64 || strings.Trim(name, nameCharacters) != "" {
		return nil, fail("ValidationError", "1 validation error detected: Value at 'roleName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]+ and have length less than or equal to 64")
	}
	if _, ok := c.iam.roles[name]; ok {
		return nil, failStatus(409, "EntityAlreadyExists", "Role with name %s already exists.", name)
	}
	if len(c.iam.roles) >= c.quota("L-FE177D64") {
		return nil, failStatus(409, "LimitExceeded", "Cannot exceed quota for RolesPerAccount: %d", c.quota("L-FE177D64"))
	}
	doc := req.form.Get("AssumeRolePolicyDocument")
	if err := c.checkTrust(doc); err != nil {
		return nil, err
	}
	path := req.form.Get("Path")
	if path == "" {
		path = "/"
	}
	if !strings.HasPrefix(path, "/") || !strings.HasSuffix(path, "/") {
		return nil, fail("ValidationError", "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.")
	}
	now := time.Now()
	r := &role{name: name, path: path, id: "AROA" + strings.ToUpper(c.hex(17)), arn: c.iamARN() + ":role" + path + name,
		description: req.form.Get("Description"), boundary: req.form.Get("PermissionsBoundary"), trust: doc, created: now, changed: now, known: now,
		session: 3600, tags: memberTags(req), inline: map[string]string{}}
	if n, err := number(req, "MaxSessionDuration", 3600); err == nil {
		r.session = n
	}
	if !c.opt.NoLag {
		r.readable = now.Add(c.scaled(time.Duration(c.rand.Int64N(int64(c.nominal("ec2:lag")) + 1))))
		r.known = now.Add(c.scaled(c.nominal("iam:propagation")))
	}
	c.iam.roles[name] = r
	req.created = append(req.created, r.arn)
	if !c.opt.NoLag {
		c.span(req, "iam:propagation", r.arn, c.nominal("iam:propagation"), federated(doc))
	}
	return []node{c.roleNode(r)}, nil
}

const nameCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+=,.@-_"

// memberTags reads Tags.member.N.
func memberTags(req *request) map[string]string {
	out := map[string]string{}
	for _, kv := range pairs(req, "Tags.member") {
		out[kv[0]] = kv[1]
	}
	return out
}

func memberTagNodes(tags map[string]string) node {
	out := node{name: "Tags"}
	for _, k := range sortedKeys(tags) {
		out.kids = append(out.kids, group("member", el("Key", k), el("Value", tags[k])))
	}
	return out
}

func (c *Cloud) roleNode(r *role) node {
	n := group("Role", el("Path", r.path), el("RoleName", r.name), el("RoleId", r.id), el("Arn", r.arn), el("CreateDate", r.created),
		el("AssumeRolePolicyDocument", url.QueryEscape(r.trust)), opt("Description", r.description), el("MaxSessionDuration", r.session), memberTagNodes(r.tags))
	if r.boundary != "" {
		n.kids = append(n.kids, group("PermissionsBoundary", el("PermissionsBoundaryType", "PermissionsBoundaryPolicy"), el("PermissionsBoundaryArn", r.boundary)))
	}
	return n
}

func (c *Cloud) getRole(req *request) (any, error) {
	r, err := c.roleNamed(req.form.Get("RoleName"))
	if err != nil {
		return nil, err
	}
	n := c.roleNode(r)
	n.kids = append(n.kids, group("RoleLastUsed"))
	return []node{n}, nil
}

// byMarker cuts rows as ELB and IAM do: sized by a parameter of that name, else most, from where Marker says.
func byMarker(c *Cloud, req *request, size string, most int, rows []node) (page []node, next string, err error) {
	n, err := number(req, size, most)
	if err != nil {
		return nil, "", err
	}
	if c.opt.PageSize > 0 {
		n = min(n, c.opt.PageSize)
	}
	if page, next, err = pageOf(rows, n, req.form.Get("Marker")); err != nil {
		return nil, "", fail("ValidationError", "Invalid Marker.")
	}
	return page, next, nil
}

// marked is IAM's way of pages: Marker, MaxItems, IsTruncated.
func marked(c *Cloud, req *request, name string, rows []node) ([]node, error) {
	page, next, err := byMarker(c, req, "MaxItems", 100, rows)
	if err != nil {
		return nil, err
	}
	return []node{members(name, page...), el("IsTruncated", next != ""), opt("Marker", next)}, nil
}

func (c *Cloud) listRoles(req *request) (any, error) {
	prefix := req.form.Get("PathPrefix")
	var rows []node
	for _, name := range sortedKeys(c.iam.roles) {
		if r := c.iam.roles[name]; strings.HasPrefix(r.path, prefix) {
			n := c.roleNode(r)
			n.kids = n.kids[:len(n.kids)-1]
			rows = append(rows, group("", n.kids...))
		}
	}
	return marked(c, req, "Roles", rows)
}

func (c *Cloud) deleteRole(req *request) (any, error) {
	r, err := c.roleNamed(req.form.Get("RoleName"))
	if err != nil {
		return nil, err
	}
	switch {
	case len(r.attached) > 0:
		return nil, failStatus(409, "DeleteConflict", "Cannot delete entity, must detach all policies first.")
	case len(r.inline) > 0:
		return nil, failStatus(409, "DeleteConflict", "Cannot delete entity, must delete policies first.")
	}
	req.deleted = append(req.deleted, r.arn)
	delete(c.iam.roles, r.name)
	return nil, nil
}

func (c *Cloud) updateRole(req *request) (any, error) {
	r, err := c.roleNamed(req.form.Get("RoleName"))
	if err != nil {
		return nil, err
	}
	if req.form.Has("Description") {
		r.description = req.form.Get("Description")
	}
	r.session, err = number(req, "MaxSessionDuration", r.session)
	return nil, err
}

func (c *Cloud) updateTrust(req *request) (any, error) {
	r, err := c.roleNamed(req.form.Get("RoleName"))
	if err != nil {
		return nil, err
	}
	if err := c.checkTrust(req.form.Get("PolicyDocument")); err != nil {
		return nil, err
	}
	r.trust, r.changed = req.form.Get("PolicyDocument"), time.Now()
	return nil, nil
}

func (c *Cloud) tagRole(req *request) (any, error) {
	r, err := c.roleNamed(req.form.Get("RoleName"))
	if err != nil {
		return nil, err
	}
	if err := checkTags(r.tags, pairs(req, "Tags.member")); err != nil {
		return nil, fail("InvalidInput", "%s", messageOf(err))
	}
	for k, v := range memberTags(req) {
		r.tags[k] = v
	}
	return nil, nil
}

func (c *Cloud) untagRole(req *request) (any, error) {
	r, err := c.roleNamed(req.form.Get("RoleName"))
	if err != nil {
		return nil, err
	}
	for _, k := range list(req, "TagKeys.member") {
		delete(r.tags, k)
	}
	return nil, nil
}

func (c *Cloud) listRoleTags(req *request) (any, error) {
	r, err := c.roleNamed(req.form.Get("RoleName"))
	if err != nil {
		return nil, err
	}
	rows := memberTagNodes(r.tags).kids
	return marked(c, req, "Tags", rows)
}

// serviceLinked are the roles that AWS names itself.
var serviceLinked = map[string]string{
	"eks.amazonaws.com": "AWSServiceRoleForAmazonEKS", "eks-nodegroup.amazonaws.com": "AWSServiceRoleForAmazonEKSNodegroup",
	"autoscaling.amazonaws.com": "AWSServiceRoleForAutoScaling", "elasticloadbalancing.amazonaws.com": "AWSServiceRoleForElasticLoadBalancing",
}

func (c *Cloud) createServiceLinkedRole(req *request) (any, error) {
	service := req.form.Get("AWSServiceName")
	name, ok := serviceLinked[service]
	if !ok {
		return nil, fail("InvalidInput", "Service %s is not known to have a service-linked role", service)
	}
	if _, ok := c.iam.roles[name]; ok {
		return nil, fail("InvalidInput", "Service role name %s has been taken in this account, please try a different suffix.", name)
	}
	r := c.linkedRole(service, name)
	req.created = append(req.created, r.arn)
	return []node{c.roleNode(r)}, nil
}

func (c *Cloud) linkedRole(service, name string) *role {
	now, path := time.Now(), "/aws-service-role/"+service+"/"
	r := &role{name: name, path: path, id: "AROA" + strings.ToUpper(c.hex(17)), arn: c.iamARN() + ":role" + path + name, created: now, changed: now, known: now,
		trust: trustOfService(service), session: 3600, tags: map[string]string{}, inline: map[string]string{}}
	c.iam.roles[name] = r
	return r
}

// ensureLinkedRole is what EKS does by itself where the caller may create service-linked roles.
func (c *Cloud) ensureLinkedRole(service string) {
	name := serviceLinked[service]
	if _, ok := c.iam.roles[name]; !ok {
		c.linkedRole(service, name)
	}
}
