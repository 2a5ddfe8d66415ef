package aws

import (
	"net/http"
	"path"
	"strings"
)

// operation is one emulated action. run holds the lock; prepare does not.
type operation struct {
	write   bool
	class   string // resource or tag for a write, token for STS
	need    []string
	prepare func(*Cloud, *request) error
	run     func(*Cloud, *request) (any, error)
}

// operations is all that the emulator knows, by service and action.
var operations map[string]map[string]operation

// The operations look themselves up, so a plain initial value would be a cycle.
func init() { //nolint:gochecknoinits // see above
	operations = map[string]map[string]operation{
		"ec2": {}, "iam": {}, "sts": {}, "eks": {}, "ssm": {}, "servicequotas": {}, "elb": {}, "elbv2": {}, "logs": {}, "kms": {}, "s3": {}, "eks-auth": {},
	}
	for service, tables := range map[string][]map[string]operation{
		"ec2": {vpcOperations, gatewayOperations, routeOperations, groupOperations, interfaceOperations, templateOperations,
			imageOperations, instanceOperations, volumeOperations, snapshotOperations, zoneOperations, ec2TagOperations},
		"iam":           {roleOperations, rolePolicyOperations, providerOperations, iamOtherOperations},
		"sts":           {stsOperations},
		"eks":           {clusterOperations, nodegroupOperations, addonOperations, accessOperations, podIdentityOperations, eksTagOperations},
		"eks-auth":      {podSessionOperations},
		"ssm":           {parameterOperations},
		"elb":           {classicOperations},
		"elbv2":         {balancerOperations},
		"logs":          {logOperations},
		"kms":           {keyOperations},
		"servicequotas": {quotaOperations},
		"s3":            {objectOperations},
	} {
		for _, t := range tables {
			for action, o := range t {
				operations[service][action] = o
			}
		}
	}
}

func reads(run func(*Cloud, *request) (any, error), need ...string) operation {
	return operation{run: run, need: need}
}

func writes(run func(*Cloud, *request) (any, error), need ...string) operation {
	return operation{run: run, need: need, write: true, class: "resource"}
}

func tags(run func(*Cloud, *request) (any, error), need ...string) operation {
	return operation{run: run, need: need, write: true, class: "tag"}
}

// require checks parameters that the service would miss. For query protocols a name matches itself or NAME.1.
func require(req *request, need []string) error {
	for _, name := range need {
		switch protocols[req.service] {
		case ec2Query:
			if !req.form.Has(name) && !req.form.Has(name+".1") && !hasPrefix(req, name+".") {
				return fail("MissingParameter", "The request must contain the parameter %s", name)
			}
		case awsQuery:
			if req.form.Get(name) == "" {
				return fail("ValidationError", "1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null", lowerFirst(name))
			}
		default:
			if req.body[name] == nil && req.vars[name] == "" {
				code := "ValidationException"
				if strings.HasPrefix(req.service, "eks") {
					code = "InvalidParameterException"
				}
				return fail(code, "1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null", name)
			}
		}
	}
	return nil
}

func hasPrefix(req *request, p string) bool {
	for k := range req.form {
		if strings.HasPrefix(k, p) {
			return true
		}
	}
	return false
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }

// permit applies Options.IdentityPolicies and Options.Policies and, where asked for, the policies of the role that a session belongs to.
func (c *Cloud) permit(req *request, write bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	who := identityOf(req.principal)
	action := iamService(req.service) + ":" + req.action
	req.needs = c.authorizations(req, write)
	statements, has, err := c.identityPolicy(who)
	if err != nil {
		return err
	}
	for _, a := range req.needs {
		if has && a.Action != "sts:GetCallerIdentity" && !evaluate(statements, a) { // STS answers everybody
			return denied(req, a.Action)
		}
	}
	allowed, restricted := c.opt.Policies[who]
	if restricted && !matchesAny(allowed, action) {
		return denied(req, action)
	}
	if !restricted && c.opt.EvaluateRoles && strings.Contains(req.principal, ":assumed-role/") && !c.roleAllows(who, action, req) {
		return denied(req, action)
	}
	return nil
}

// identityOf turns a session ARN into the ARN of its role; others stay.
func identityOf(arn string) string {
	head, tail, ok := strings.Cut(arn, ":assumed-role/")
	if !ok {
		return arn
	}
	role, _, _ := strings.Cut(tail, "/")
	return strings.Replace(head, ":sts:", ":iam:", 1) + ":role/" + role
}

// identity is the same with the role's path, which a session does not tell. The caller holds the lock.
func (c *Cloud) identity(arn string) string {
	who := identityOf(arn)
	if r := c.roleByARN(who); r != nil && strings.Contains(who, "::"+c.opt.Account+":role/") {
		return r.arn
	}
	return who
}

func matchesAny(patterns []string, s string) bool {
	for _, p := range patterns {
		if ok, err := path.Match(strings.ToLower(p), strings.ToLower(s)); err == nil && ok {
			return true
		}
	}
	return false
}

// denied words a refusal as the service does; EC2 has a code of its own.
func denied(req *request, action string) error {
	msg := "User: " + req.principal + " is not authorized to perform: " + action + " because no identity-based policy allows the " + action + " action"
	switch req.service {
	case "ec2":
		return failStatus(403, "UnauthorizedOperation", "You are not authorized to perform this operation. %s", msg)
	case "iam", "sts", "elb", "elbv2", "s3":
		return failStatus(403, "AccessDenied", "%s", msg)
	}
	return failStatus(403, "AccessDeniedException", "%s", msg)
}

// OperationOf names the call that a request makes, as "service:Action", whoever will answer it. body is what r.Body held.
func OperationOf(r *http.Request, body []byte) string {
	sig, err := readSignature(r)
	if err != nil {
		return ""
	}
	req, err := parse(r, body, sig)
	if err != nil {
		return ""
	}
	return req.service + ":" + req.action
}
