package aws

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Call is one AWS call in the ledger.
type Call struct {
	N         int
	Time      time.Time // emulated
	Service   string
	Action    string
	Write     bool
	Class     string // resource, lock or tag for writes; token for STS; empty for other reads
	Principal string
	RequestID string
	Step      string          // the step that made it; empty for the run itself, such as its locks
	Needs     []Authorization `json:"-"` // the permissions that it took
	Params    string          // summary, without secrets
	Error     string          // code; empty when it succeeded
	Dropped   string          // "reset" or "killed" when the connection was cut before the call did anything
	Created   []string        // ids of resources it made
	Deleted   []string
}

// OK says whether the call was carried out.
func (c Call) OK() bool { return c.Error == "" && c.Dropped == "" }

func (c Call) String() string {
	s := fmt.Sprintf("%d %s:%s", c.N, c.Service, c.Action)
	if c.Params != "" {
		s += " " + c.Params
	}
	if c.Error != "" {
		s += " -> " + c.Error
	}
	return s
}

// record puts a finished call into the ledger and says whether the client was killed by it.
func (c *Cloud) record(req *request, o operation, code, dropped string) bool {
	call := Call{
		N: req.n, Service: iamService(req.service), Action: req.action, Write: o.write, Principal: req.principal, RequestID: req.id, Step: req.step, Needs: req.needs,
		Params: summary(req), Error: code, Dropped: dropped, Created: req.created, Deleted: req.deleted,
	}
	call.Class = o.class
	if o.write && req.service == "ssm" && strings.Contains(call.Params, "/lock/") {
		call.Class = "lock"
	}
	c.mu.Lock()
	call.Time = c.emulated(time.Now())
	c.calls = append(c.calls, call)
	kill := false
	if call.Write && call.OK() {
		c.writes++
		kill = c.opt.KillAt > 0 && !c.opt.KillBefore && c.writes == c.opt.KillAt
	}
	c.mu.Unlock()
	if c.opt.Ledger != nil {
		c.ledgerMu.Lock()
		c.opt.Ledger(call)
		c.ledgerMu.Unlock()
	}
	if kill {
		c.kill()
	}
	return kill
}

// Calls is the ledger so far.
func (c *Cloud) Calls() []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.calls)
}

// Mark is a place in the ledger: the number of the last call. Use with Since and LowerBound.
func (c *Cloud) Mark() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seq
}

// Since is the ledger after a mark.
func (c *Cloud) Since(mark int) []Call {
	return slices.DeleteFunc(c.Calls(), func(call Call) bool { return call.N <= mark })
}

// secretParams never reach the ledger.
var secretParams = []string{"Value", "WebIdentityToken", "ClientToken", "clientRequestToken", "Version", "Action",
	"AssumeRolePolicyDocument", "PolicyDocument", "LaunchTemplateData.UserData"}

func summary(req *request) string {
	var parts []string
	add := func(k, v string) {
		if slices.Contains(secretParams, k) || strings.HasPrefix(k, "TagSpecification") || strings.HasPrefix(k, "Tags.") {
			return
		}
		if len(v) > 120 {
			v = v[:117] + "..."
		}
		parts = append(parts, k+"="+v)
	}
	for k, v := range req.form {
		add(k, strings.Join(v, ","))
	}
	for k, v := range req.body {
		if k == "tags" || k == "Tags" {
			continue
		}
		add(k, fmt.Sprint(v))
	}
	for k, v := range req.vars {
		add(k, v)
	}
	if protocols[req.service] == restJSON {
		for k, v := range req.query {
			add(k, strings.Join(v, ","))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}
