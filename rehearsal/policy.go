package rehearsal

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
)

// policy is an IAM policy document.
type policy struct {
	Version   string      `json:"Version"`
	Statement []statement `json:"Statement"`
}

type statement struct {
	Sid      string   `json:"Sid"`
	Effect   string   `json:"Effect"`
	Action   []string `json:"Action"`
	Resource string   `json:"Resource"`
}

// policyOf allows just the calls that principal made, one statement a service. Conditions on resources and tags are not derived.
func (l *ledger) policyOf(principal string) policy {
	l.mu.Lock()
	defer l.mu.Unlock()
	actions := map[string][]string{}
	for _, c := range l.calls {
		action := c.Service + ":" + c.Action
		if c.Principal == principal && !slices.Contains(actions[c.Service], action) {
			actions[c.Service] = append(actions[c.Service], action)
		}
	}
	p := policy{Version: "2012-10-17"}
	for service, list := range actions {
		slices.Sort(list)
		p.Statement = append(p.Statement, statement{Sid: service, Effect: "Allow", Action: list, Resource: "*"})
	}
	slices.SortFunc(p.Statement, func(a, b statement) int { return strings.Compare(a.Sid, b.Sid) })
	return p
}

// writePolicy writes the policy of the client's calls to where --iam-policy says.
func (w *world) writePolicy() error {
	if w.opts.IAMPolicy == "" {
		return nil
	}
	to := w.opts.Stdout
	if w.opts.IAMPolicy != "-" {
		f, err := os.Create(w.opts.IAMPolicy)
		if err != nil {
			return err
		}
		defer f.Close()
		to = f
	}
	enc := json.NewEncoder(to)
	enc.SetIndent("", "  ")
	return enc.Encode(w.ledger.policyOf(w.access.Principal))
}
