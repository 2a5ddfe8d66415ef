package aws

import (
	"path"
	"slices"
	"strings"
	"time"
)

// checkTrust validates a trust policy as CreateRole does.
func (c *Cloud) checkTrust(doc string) error {
	statements, err := parsePolicy(doc)
	if err != nil {
		return err
	}
	limit := c.quota("L-C07B4B0D")
	if n := len(strings.Join(strings.Fields(doc), "")); n > limit {
		return failStatus(409, "LimitExceeded", "Cannot exceed quota for ACLSizePerRole: %d", limit)
	}
	for _, s := range statements {
		if len(s.Principal) == 0 {
			return fail("MalformedPolicyDocument", "AssumeRole policy must contain a Principal")
		}
		if len(s.Resource) > 0 {
			return fail("MalformedPolicyDocument", "Has prohibited field Resource")
		}
		for _, a := range s.Action {
			if !strings.HasPrefix(a, "sts:") {
				return fail("MalformedPolicyDocument", "AssumeRole policy may only specify STS AssumeRole actions.")
			}
		}
		for _, arn := range s.Principal["AWS"] {
			if err := c.checkPrincipal(arn); err != nil {
				return err
			}
		}
		for _, arn := range s.Principal["Federated"] {
			if !strings.Contains(arn, ":oidc-provider/") && !strings.Contains(arn, ":saml-provider/") && !strings.HasSuffix(arn, ".com") {
				return fail("MalformedPolicyDocument", "Invalid principal in policy: \"FEDERATED\":\"%s\"", arn)
			}
		}
	}
	return nil
}

// checkPrincipal refuses roles of this account that do not exist, or are too fresh to be seen.
func (c *Cloud) checkPrincipal(arn string) error {
	if !strings.HasPrefix(arn, c.iamARN()+":role/") {
		return nil
	}
	if r := c.roleByARN(arn); r != nil && !time.Now().Before(r.known) {
		return nil
	}
	return fail("MalformedPolicyDocument", "Invalid principal in policy: \"AWS\":\"%s\"", arn)
}

func (c *Cloud) roleByARN(arn string) *role {
	name := arn[strings.LastIndex(arn, "/")+1:]
	r := c.iam.roles[name]
	if r == nil || r.arn != arn && !strings.HasSuffix(arn, ":role/"+name) {
		return nil
	}
	return r
}

// federated lists the web identity providers that a trust policy names.
func federated(doc string) []string {
	statements, err := parsePolicy(doc)
	if err != nil {
		return nil
	}
	var out []string
	for _, s := range statements {
		out = append(out, s.Principal["Federated"]...)
	}
	return out
}

func trustOfService(service string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"` + service + `"},"Action":"sts:AssumeRole"}]}`
}

// trusts says whether a role lets a service assume it.
func (r *role) trusts(service, action string) bool {
	statements, err := parsePolicy(r.trust)
	if err != nil {
		return false
	}
	for _, s := range statements {
		if s.Effect == "Allow" && matchesAny(s.Action, action) && slices.Contains(s.Principal["Service"], service) {
			return true
		}
	}
	return false
}

// trustsToken evaluates a trust policy for a web identity: provider and conditions on ISSUER:claim.
func (r *role) trustsToken(providerARN, issuer string, claims map[string][]string) bool {
	statements, err := parsePolicy(r.trust)
	if err != nil {
		return false
	}
	allowed := false
	for _, s := range statements {
		if !matchesAny(s.Action, "sts:AssumeRoleWithWebIdentity") || !slices.Contains(s.Principal["Federated"], providerARN) ||
			!conditionsHold(s.Condition, strings.TrimPrefix(issuer, "https://"), claims) {
			continue
		}
		if s.Effect == "Deny" {
			return false
		}
		allowed = true
	}
	return allowed
}

// conditionsHold ANDs operators and keys and ORs values. An operator that is not known does not hold.
func conditionsHold(conditions map[string]map[string]oneOrMany, issuer string, claims map[string][]string) bool {
	for operator, keys := range conditions {
		for key, wanted := range keys {
			claim, ok := strings.CutPrefix(key, issuer+":")
			have := claims[claim]
			if !ok {
				have = nil
			}
			if !conditionHolds(operator, wanted, have) {
				return false
			}
		}
	}
	return true
}

func conditionHolds(operator string, wanted, have []string) bool {
	base, ifExists := strings.CutSuffix(operator, "IfExists")
	if ifExists && len(have) == 0 {
		return true
	}
	base = strings.TrimPrefix(base, "ForAnyValue:")
	match := map[string]func(want, got string) bool{
		"StringEquals":           func(w, g string) bool { return w == g },
		"StringEqualsIgnoreCase": strings.EqualFold,
		"StringLike":             likes,
		"StringNotEquals":        func(w, g string) bool { return w == g },
		"StringNotLike":          likes,
	}[base]
	if match == nil {
		return false
	}
	found := slices.ContainsFunc(have, func(g string) bool {
		return slices.ContainsFunc(wanted, func(w string) bool { return match(w, g) })
	})
	return found != strings.HasPrefix(base, "StringNot")
}

func likes(pattern, s string) bool {
	flat := strings.NewReplacer("/", "\x00", "[", `\[`)
	ok, err := path.Match(flat.Replace(pattern), strings.ReplaceAll(s, "/", "\x00"))
	return err == nil && ok
}
