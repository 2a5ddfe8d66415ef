package aws

import (
	"strings"
	"time"
)

type accessEntry struct {
	principal, username, kind, arn string
	groups                         []string
	tags                           map[string]string
	created, modified              time.Time
	policies                       map[string]map[string]any // scope by policy ARN
	associated                     map[string]time.Time
}

const clusterAdminPolicy = "AmazonEKSClusterAdminPolicy"

func (c *Cloud) accessPolicy(name string) string {
	return c.inPartition("eks") + ":aws:cluster-access-policy/" + name
}

var accessPolicies = []string{"AmazonEKSClusterAdminPolicy", "AmazonEKSAdminPolicy", "AmazonEKSEditPolicy", "AmazonEKSViewPolicy", "AmazonEKSAdminViewPolicy"}

var accessOperations = map[string]operation{
	"CreateAccessEntry":            writes((*Cloud).createAccessEntry, "principalArn"),
	"DescribeAccessEntry":          reads((*Cloud).describeAccessEntry),
	"ListAccessEntries":            reads((*Cloud).listAccessEntries),
	"UpdateAccessEntry":            writes((*Cloud).updateAccessEntry),
	"DeleteAccessEntry":            writes((*Cloud).deleteAccessEntry),
	"AssociateAccessPolicy":        writes((*Cloud).associateAccessPolicy, "policyArn", "accessScope"),
	"DisassociateAccessPolicy":     writes((*Cloud).disassociateAccessPolicy),
	"ListAssociatedAccessPolicies": reads((*Cloud).listAssociatedAccessPolicies),
	"ListAccessPolicies":           reads((*Cloud).listAccessPolicies),
}

func (c *Cloud) addEntry(cl *cluster, principal, kind string) *accessEntry {
	now := time.Now()
	e := &accessEntry{principal: principal, kind: kind, created: now, modified: now, tags: map[string]string{}, policies: map[string]map[string]any{}, associated: map[string]time.Time{},
		username: sessionName(principal), arn: c.arn("eks", "access-entry/"+cl.name+"/"+c.uuid())}
	if kind == "EC2_LINUX" {
		e.username, e.groups = "system:node:{{EC2PrivateDNSName}}", []string{"system:nodes"}
	}
	cl.entries[principal] = e
	return e
}

// sessionName is the user name that EKS gives a principal by default.
func sessionName(principal string) string {
	if head, path, ok := strings.Cut(principal, ":role/"); ok {
		return strings.Replace(head, ":iam:", ":sts:", 1) + ":assumed-role/" + path[strings.LastIndex(path, "/")+1:] + "/{{SessionName}}"
	}
	return principal
}

// entriesOf finds a cluster whose mode has access entries at all.
func (c *Cloud) entriesOf(req *request) (*cluster, error) {
	cl, err := c.clusterOf(req)
	if err != nil {
		return nil, err
	}
	if cl.mode == "CONFIG_MAP" {
		return nil, fail("InvalidRequestException", "The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] to perform this operation.")
	}
	if cl.status == "CREATING" || cl.status == "DELETING" {
		return nil, failStatus(409, "ResourceInUseException", "Cluster %s is not in ACTIVE state but %s", cl.name, cl.status)
	}
	return cl, nil
}

func (c *Cloud) entryOf(req *request) (*cluster, *accessEntry, error) {
	cl, err := c.entriesOf(req)
	if err != nil {
		return nil, nil, err
	}
	e := cl.entries[req.vars["principalArn"]]
	if e == nil {
		return nil, nil, failStatus(404, "ResourceNotFoundException", "The specified principalArn could not be found. You can view your available access entries with 'list-access-entries'.")
	}
	return cl, e, nil
}

func (c *Cloud) createAccessEntry(req *request) (any, error) {
	cl, err := c.entriesOf(req)
	if err != nil {
		return nil, err
	}
	b := req.body
	arn, kind, token := text(b, "principalArn"), text(b, "type"), text(b, "clientRequestToken")
	if id, err := c.once(req, token, func(id string) bool { return cl.entries[arn] != nil && cl.entries[arn].arn == id }); err != nil {
		return nil, err
	} else if id != "" {
		return map[string]any{"accessEntry": c.entryDoc(cl, cl.entries[arn])}, nil
	}
	if kind == "" {
		kind = "STANDARD"
	}
	if cl.entries[arn] != nil {
		return nil, failStatus(409, "ResourceInUseException", "The specified access entry resource is already in use on this cluster.")
	}
	if !strings.HasPrefix(arn, c.inPartition("iam")+":") || strings.Contains(arn, ":role/") && strings.HasPrefix(arn, c.iamARN()) && c.roleByARN(arn) == nil {
		return nil, fail("InvalidParameterException", "The specified principalArn is invalid: invalid principal.")
	}
	for _, g := range textList(b, "kubernetesGroups") {
		if strings.HasPrefix(g, "system:") || strings.HasPrefix(g, "eks:") {
			return nil, fail("InvalidParameterException", "The kubernetes group name %s is invalid, it cannot start with system:", g)
		}
	}
	e := c.addEntry(cl, arn, kind)
	e.tags = textMap(b, "tags")
	if g := textList(b, "kubernetesGroups"); len(g) > 0 {
		e.groups = g
	}
	if u := text(b, "username"); u != "" {
		e.username = u
	}
	c.remember(req, token, e.arn)
	req.created = append(req.created, e.arn)
	return map[string]any{"accessEntry": c.entryDoc(cl, e)}, nil
}

func (c *Cloud) entryDoc(cl *cluster, e *accessEntry) map[string]any {
	return map[string]any{"clusterName": cl.name, "principalArn": e.principal, "kubernetesGroups": append([]string{}, e.groups...), "accessEntryArn": e.arn,
		"createdAt": epoch(e.created), "modifiedAt": epoch(e.modified), "tags": e.tags, "username": e.username, "type": e.kind}
}

func (c *Cloud) describeAccessEntry(req *request) (any, error) {
	cl, e, err := c.entryOf(req)
	if err != nil {
		return nil, err
	}
	return map[string]any{"accessEntry": c.entryDoc(cl, e)}, nil
}

func (c *Cloud) listAccessEntries(req *request) (any, error) {
	cl, err := c.entriesOf(req)
	if err != nil {
		return nil, err
	}
	var rows []string
	for _, arn := range sortedKeys(cl.entries) {
		if p := req.query.Get("associatedPolicyArn"); p == "" || cl.entries[arn].policies[p] != nil {
			rows = append(rows, arn)
		}
	}
	return eksPage(c, req, "accessEntries", rows)
}

func (c *Cloud) updateAccessEntry(req *request) (any, error) {
	cl, e, err := c.entryOf(req)
	if err != nil {
		return nil, err
	}
	if _, ok := req.body["kubernetesGroups"]; ok {
		e.groups = textList(req.body, "kubernetesGroups")
	}
	if u := text(req.body, "username"); u != "" {
		e.username = u
	}
	e.modified = time.Now()
	return map[string]any{"accessEntry": c.entryDoc(cl, e)}, nil
}

func (c *Cloud) deleteAccessEntry(req *request) (any, error) {
	cl, e, err := c.entryOf(req)
	if err != nil {
		return nil, err
	}
	delete(cl.entries, e.principal)
	req.deleted = append(req.deleted, e.arn)
	return nil, nil
}

func (c *Cloud) associateAccessPolicy(req *request) (any, error) {
	cl, e, err := c.entryOf(req)
	if err != nil {
		return nil, err
	}
	arn := text(req.body, "policyArn")
	known := false
	for _, p := range accessPolicies {
		known = known || arn == c.accessPolicy(p)
	}
	if !known {
		return nil, failStatus(404, "ResourceNotFoundException", "The specified policyArn is invalid: policy not found.")
	}
	scope := object(req.body, "accessScope")
	if text(scope, "type") == "namespace" && len(textList(scope, "namespaces")) == 0 {
		return nil, fail("InvalidParameterException", "Namespaces must be specified when the scope type is namespace")
	}
	if e.associated[arn].IsZero() {
		e.associated[arn] = time.Now()
	}
	e.policies[arn] = scope
	return map[string]any{"clusterName": cl.name, "principalArn": e.principal, "associatedAccessPolicy": e.policyDoc(arn)}, nil
}

func (e *accessEntry) policyDoc(arn string) map[string]any {
	return map[string]any{"policyArn": arn, "accessScope": e.policies[arn], "associatedAt": epoch(e.associated[arn]), "modifiedAt": epoch(e.modified)}
}

func (c *Cloud) disassociateAccessPolicy(req *request) (any, error) {
	_, e, err := c.entryOf(req)
	if err != nil {
		return nil, err
	}
	if e.policies[req.vars["policyArn"]] == nil {
		return nil, failStatus(404, "ResourceNotFoundException", "No associated policy could be found on the given access entry.")
	}
	delete(e.policies, req.vars["policyArn"])
	return nil, nil
}

func (c *Cloud) listAssociatedAccessPolicies(req *request) (any, error) {
	cl, e, err := c.entryOf(req)
	if err != nil {
		return nil, err
	}
	var rows []map[string]any
	for _, arn := range sortedKeys(e.policies) {
		rows = append(rows, e.policyDoc(arn))
	}
	out, err := eksPage(c, req, "associatedAccessPolicies", rows)
	if m, ok := out.(map[string]any); ok {
		m["clusterName"], m["principalArn"] = cl.name, e.principal
	}
	return out, err
}

func (c *Cloud) listAccessPolicies(req *request) (any, error) {
	var rows []map[string]any
	for _, p := range accessPolicies {
		rows = append(rows, map[string]any{"name": p, "arn": c.accessPolicy(p)})
	}
	return eksPage(c, req, "accessPolicies", rows)
}
