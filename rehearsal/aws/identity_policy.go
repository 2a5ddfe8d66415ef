package aws

import (
	"slices"
	"strings"
)

// evaluate decides about one permission by identity policies: an explicit deny wins, then any allow, else the implicit deny.
func evaluate(statements []statement, a Authorization) bool {
	allowed := false
	for _, s := range statements {
		if !s.covers(a) {
			continue
		}
		if s.Effect == "Deny" {
			return false
		}
		allowed = true
	}
	return allowed
}

// covers says whether a statement speaks of a permission: action, resource and all conditions.
func (s statement) covers(a Authorization) bool {
	like := func(want string) func(string) bool {
		return func(pattern string) bool { return likes(strings.ToLower(pattern), strings.ToLower(want)) }
	}
	onResource := func(pattern string) bool { return likes(pattern, a.Resource) }
	if !slices.ContainsFunc(s.Action, like(a.Action)) || !slices.ContainsFunc(s.Resource, onResource) {
		return false
	}
	for operator, keys := range s.Condition {
		for key, wanted := range keys {
			if !conditionHolds(operator, wanted, contextOf(a.Context, key)) {
				return false
			}
		}
	}
	return true
}

// contextOf finds a condition key; the name of a key, but not of the tag in it, is the same in any case.
func contextOf(context map[string][]string, key string) []string {
	if have, ok := context[key]; ok {
		return have
	}
	prefix, tag, tagged := strings.Cut(key, "/")
	for k, v := range context {
		p, t, _ := strings.Cut(k, "/")
		if strings.EqualFold(p, prefix) && (!tagged && t == "" || t == tag) {
			return v
		}
	}
	return nil
}

// missingContext are the condition keys that statements ask for and a simulation was not given.
func missingContext(statements []statement, context map[string][]string) []string {
	var out []string
	for _, s := range statements {
		for _, keys := range s.Condition {
			for key := range keys {
				if contextOf(context, key) == nil && !slices.Contains(out, key) {
					out = append(out, key)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// identityPolicy is the policy that Options.IdentityPolicies gives a principal.
func (c *Cloud) identityPolicy(who string) (statements []statement, has bool, err error) {
	doc, has := c.opt.IdentityPolicies[who]
	if !has {
		return nil, false, nil
	}
	statements, err = parsePolicy(doc)
	return statements, true, err
}
