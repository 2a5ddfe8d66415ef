package aws

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// Policy is an IAM policy document.
type Policy struct {
	Version   string            `json:"Version"`
	Statement []PolicyStatement `json:"Statement"`
}

// PolicyStatement allows actions on resources under conditions: operator, key, values.
type PolicyStatement struct {
	Sid       string                         `json:"Sid"`
	Effect    string                         `json:"Effect"`
	Action    []string                       `json:"Action"`
	Resource  []string                       `json:"Resource"`
	Condition map[string]map[string][]string `json:"Condition,omitempty"`
}

// LeastPolicy allows just what calls needed, statements by step. It holds in any account: account and ids of resources are left open,
// and what is changed must carry, or be given, the owner tag whose key is identity. Looks are held to the kind of resource alone, because
// what is not there has no tags.
func LeastPolicy(calls []Call, identity string) Policy {
	grants := map[grant]map[string]bool{} // resources by action, step and conditions
	for _, c := range calls {
		for _, a := range c.Needs {
			g := grant{step: c.Step, action: a.Action, condition: conditionOf(a, identity)}
			if grants[g] == nil {
				grants[g] = map[string]bool{}
			}
			grants[g][openResource(a)] = true
		}
	}
	statements := map[string]*PolicyStatement{}
	for g, set := range grants {
		resources := slices.Sorted(maps.Keys(set))
		if set["*"] {
			resources = []string{"*"}
		}
		key := g.together(resources)
		if statements[key] == nil {
			statements[key] = &PolicyStatement{Sid: sidOf(g.step), Effect: "Allow"}
		}
		statements[key].add(g, resources)
	}
	p := Policy{Version: "2012-10-17"}
	for _, s := range statements {
		p.Statement = append(p.Statement, *s)
	}
	sort.Slice(p.Statement, func(i, j int) bool {
		a, b := &p.Statement[i], &p.Statement[j]
		return cmp.Or(strings.Compare(a.Sid, b.Sid), slices.Compare(a.Action, b.Action), slices.Compare(a.Resource, b.Resource), cmp.Compare(fmt.Sprint(a.Condition), fmt.Sprint(b.Condition))) < 0
	})
	numberSids(p.Statement)
	return p
}

// grant is one permission but for its resources. The condition is text so that grants can be keys.
type grant struct{ step, action, condition string }

// together is the same for grants that may share a statement. Under a condition that speaks of our own things alone (the owner tag, tags
// at creation) resources need not be told apart: an action knows only those of its kinds, and policies may not be long.
func (g grant) together(resources []string) string {
	condition, _, _ := strings.Cut(g.condition, " */")
	condition, _, _ = strings.Cut(condition, " Create")
	if condition == "" || g.action == "iam:PassRole" || resources[0] == "*" {
		condition += strings.Join(resources, " ")
	}
	return g.step + "\x00" + condition
}

// add makes a statement allow one grant more.
func (s *PolicyStatement) add(g grant, resources []string) {
	insert := func(list []string, more ...string) []string {
		list = append(list, more...)
		slices.Sort(list)
		return slices.Compact(list)
	}
	s.Action, s.Resource = insert(s.Action, g.action), insert(s.Resource, resources...)
	part := strings.SplitN(g.condition, " ", 3)
	if len(part) < 3 {
		return
	}
	if s.Condition == nil {
		s.Condition = map[string]map[string][]string{part[0]: {}}
	}
	s.Condition[part[0]][part[1]] = insert(s.Condition[part[0]][part[1]], part[2])
}

// conditionOf is "operator key value" of the narrowest condition that AWS knows for a permission; "" for none.
func conditionOf(a Authorization, identity string) string {
	owner := func(key string) string {
		if v := a.Context[key+identity]; len(v) == 1 {
			return "StringLike " + key + identity + " " + anyAccount(v[0])
		}
		return ""
	}
	switch action := a.Context["ec2:CreateAction"]; {
	case !a.Write:
		return ""
	case len(action) == 1:
		return "StringEquals ec2:CreateAction " + action[0]
	case a.Action == "iam:CreateServiceLinkedRole":
		return "StringEquals iam:AWSServiceName " + a.Context["iam:AWSServiceName"][0]
	case a.Action == "iam:PassRole":
		return "StringEquals iam:PassedToService " + a.Context["iam:PassedToService"][0]
	}
	return cmp.Or(owner("aws:ResourceTag/"), owner("aws:RequestTag/"))
}

var accountID = regexp.MustCompile(`^\d{12}/`)

func anyAccount(identity string) string { return accountID.ReplaceAllString(identity, "*/") }

var nameHash = regexp.MustCompile(`-[0-9a-f]{8}$`)

// openResource is the ARN without the account, and without the id where a new resource would have another.
func openResource(a Authorization) string {
	part := strings.SplitN(a.Resource, ":", 6)
	if len(part) < 6 {
		return "*"
	}
	kind, name, _ := strings.Cut(part[5], "/")
	part[4] = "*"
	switch {
	case kind == "role":
		name = nameHash.ReplaceAllString(name, "-*")
	case kind == "oidc-provider":
		name = strings.Split(name, "/")[0] + "/*"
	case kind == "parameter" && strings.HasPrefix(name, "pipectl/"):
		name = "pipectl/*"
	case kind != "parameter":
		name = "*"
	}
	part[5] = kind + "/" + name
	return strings.Join(part, ":")
}

// sidOf makes a statement id, which knows letters and digits only, of a step's name.
func sidOf(step string) string {
	if step == "" {
		return "Run"
	}
	var b strings.Builder
	for word := range strings.SplitSeq(step, "-") {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

// numberSids tells statements of one step apart: a Sid may stand once.
func numberSids(statements []PolicyStatement) {
	n := map[string]int{}
	for i := range statements {
		sid := statements[i].Sid
		n[sid]++
		if n[sid] > 1 {
			statements[i].Sid = fmt.Sprint(sid, n[sid])
		}
	}
}
