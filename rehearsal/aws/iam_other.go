package aws

import "strings"

var iamOtherOperations = map[string]operation{
	"SimulatePrincipalPolicy":     reads((*Cloud).simulatePrincipalPolicy, "PolicySourceArn"),
	"ListAccountAliases":          reads((*Cloud).listAccountAliases),
	"GetUser":                     reads((*Cloud).getUser),
	"ListInstanceProfilesForRole": reads((*Cloud).listInstanceProfilesForRole, "RoleName"),
}

// simulated are the condition keys that a simulation is given.
func simulated(req *request) map[string][]string {
	out := map[string][]string{}
	for i := 1; ; i++ {
		entry := "ContextEntries.member." + itoa(i)
		key := req.form.Get(entry + ".ContextKeyName")
		if key == "" {
			return out
		}
		out[key] = list(req, entry+".ContextKeyValues.member")
	}
}

// simulatePrincipalPolicy answers from Options.IdentityPolicies, Options.Policies and the role's own policies.
func (c *Cloud) simulatePrincipalPolicy(req *request) (any, error) {
	who := identityOf(req.form.Get("PolicySourceArn"))
	if whole := c.identity(who); whole != who {
		return nil, failStatus(404, "NoSuchEntity", "The entity with ARN %s cannot be found.", who)
	}
	allowed, restricted := c.opt.Policies[who]
	statements, has, err := c.identityPolicy(who)
	if err != nil {
		return nil, err
	}
	context := simulated(req)
	resource := "*"
	if given := list(req, "ResourceArns.member"); len(given) > 0 {
		resource = given[0]
	}
	var rows []node
	for _, action := range list(req, "ActionNames.member") {
		decision := "allowed"
		if restricted && !matchesAny(allowed, action) {
			decision = "implicitDeny"
		}
		if strings.Contains(who, ":role/") && c.opt.EvaluateRoles && !restricted && !c.roleAllows(who, action, req) {
			decision = "implicitDeny"
		}
		if has && !evaluate(statements, Authorization{Action: action, Resource: resource, Context: context}) {
			decision = "implicitDeny"
		}
		rows = append(rows, group("", el("EvalActionName", action), el("EvalResourceName", resource), el("EvalDecision", decision),
			members("MissingContextValues", texts(missingContext(statements, context))...)))
	}
	return marked(c, req, "EvaluationResults", rows)
}

func (c *Cloud) listAccountAliases(req *request) (any, error) {
	return marked(c, req, "AccountAliases", nil)
}

func (c *Cloud) getUser(req *request) (any, error) {
	name := req.form.Get("UserName")
	if name == "" {
		name = req.principal[strings.LastIndex(req.principal, "/")+1:]
	}
	return []node{group("User", el("UserName", name), el("Path", "/"), el("UserId", "AIDAREHEARSAL"), el("Arn", c.iamARN()+":user/"+name), el("CreateDate", c.start))}, nil
}

func (c *Cloud) listInstanceProfilesForRole(req *request) (any, error) {
	if _, err := c.roleNamed(req.form.Get("RoleName")); err != nil {
		return nil, err
	}
	return marked(c, req, "InstanceProfiles", nil)
}
