package aws

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
)

// Fault makes matching calls go wrong.
type Fault struct {
	Service, Action string // path.Match patterns, case as in the API
	// Kind: throttle, 500, lost-response (committed, then the connection drops), reset (dropped before), access-denied,
	// expired-token, delay, capacity, refuse.
	Kind          string
	Delay         time.Duration // of kind delay, emulated time
	Zone          string        // of kind capacity: only in this zone; "" all
	Code, Message string        // of kind refuse: the service's answer, status 400
	// Times is how many matching calls are hit; 0 means 1, -1 all. At is the first of them to be hit, counted from 1; 0 means 1.
	Times, At int

	seen, done int
}

var faultKinds = []string{"throttle", "500", "lost-response", "reset", "access-denied", "expired-token", "delay", "capacity", "refuse"}

// ParseFaults reads "eks:CreateNodegroup=throttle*3,iam:*=lost-response,ec2:CreateVpc=500@2,eks:*=delay(30s)*all".
// capacity(ap-northeast-2a) lacks it in that zone only, refuse(ResourcePropagationDelayException) answers with that code.
// *N hits N calls (*all every one), @N begins with the Nth match.
func ParseFaults(s string) ([]Fault, error) {
	var out []Fault
	for item := range strings.SplitSeq(s, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		f, err := parseFault(item)
		if err != nil {
			return nil, fmt.Errorf("fault %q: %w", item, err)
		}
		out = append(out, f)
	}
	return out, nil
}

func parseFault(item string) (Fault, error) {
	var f Fault
	target, kind, ok := strings.Cut(item, "=")
	if !ok {
		return f, fmt.Errorf("want service:Action=kind")
	}
	f.Service, f.Action, ok = strings.Cut(target, ":")
	if !ok || f.Service == "" || f.Action == "" {
		return f, fmt.Errorf("want service:Action before '=', such as ec2:CreateVpc or iam:*")
	}
	if _, err := path.Match(f.Action, ""); err != nil {
		return f, fmt.Errorf("action: %w", err)
	}
	f.Times = 1
	if k, at, ok := strings.Cut(kind, "@"); ok {
		n, err := strconv.Atoi(at)
		if err != nil || n < 1 {
			return f, fmt.Errorf("@%s: want a positive number", at)
		}
		kind, f.At = k, n
	}
	if k, times, ok := strings.Cut(kind, "*"); ok {
		n, err := strconv.Atoi(times)
		switch {
		case times == "all":
			n = -1
		case err != nil || n < 1:
			return f, fmt.Errorf("*%s: want a positive number or all", times)
		}
		kind, f.Times = k, n
	}
	if k, arg, ok := strings.Cut(strings.TrimSuffix(kind, ")"), "("); ok {
		if err := f.argument(k, arg); err != nil {
			return f, err
		}
		kind = k
	}
	for _, k := range faultKinds {
		if kind == k {
			f.Kind = kind
		}
	}
	if f.Kind == "" {
		return f, fmt.Errorf("kind %q: want one of %s", kind, strings.Join(faultKinds, ", "))
	}
	switch {
	case f.Kind == "delay" && f.Delay == 0:
		f.Delay = 30 * time.Second
	case f.Kind == "refuse" && f.Code == "":
		return f, fmt.Errorf("refuse: want the error code, such as refuse(VpcLimitExceeded)")
	}
	return f, nil
}

// argument reads what stands in the brackets after a kind.
func (f *Fault) argument(kind, arg string) error {
	switch kind {
	case "capacity":
		f.Zone = arg
	case "refuse":
		f.Code = arg
	default:
		d, err := time.ParseDuration(arg)
		if err != nil {
			return fmt.Errorf("delay: %w", err)
		}
		f.Delay = d
	}
	return nil
}

// fault returns the first fault that hits this call and counts the match.
func (c *Cloud) fault(req *request) *Fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.faults {
		service, _ := path.Match(f.Service, iamService(req.service))
		action, _ := path.Match(f.Action, req.action)
		if !service || !action {
			continue
		}
		f.seen++
		times := max(f.Times, 1)
		if f.seen >= max(f.At, 1) && (f.Times < 0 || f.done < times) {
			f.done++
			return f
		}
	}
	return nil
}

// AddFault adds a fault to a running Cloud.
func (c *Cloud) AddFault(f Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, &f)
}

// faultError words a fault as the service does.
func faultError(kind string, req *request) error {
	p := protocols[req.service]
	switch kind {
	case "throttle":
		switch p {
		case ec2Query:
			return failStatus(503, "RequestLimitExceeded", "Request limit exceeded.")
		case awsQuery:
			return fail("Throttling", "Rate exceeded")
		case restXML:
			return failStatus(503, "SlowDown", "Please reduce your request rate.")
		}
		return fail("ThrottlingException", "Rate exceeded")
	case "500":
		code := map[string]string{"ec2": "InternalError", "iam": "ServiceFailure", "sts": "InternalFailure",
			"eks": "ServerException", "eks-auth": "InternalServerException", "ssm": "InternalServerError", "servicequotas": "ServiceException", "s3": "InternalError",
			"elb": "InternalFailure", "elbv2": "InternalFailure", "logs": "ServiceUnavailableException", "kms": "KMSInternalException"}[req.service]
		return failStatus(500, code, "An internal error has occurred. Retry your query.")
	case "access-denied":
		return denied(req, iamService(req.service)+":"+req.action)
	}
	return failStatus(403, authCodes[p].expired, "The security token included in the request is expired")
}

// capacityError is nil where the lack of capacity shows only later, in the health of what the call starts.
func capacityError(req *request) error {
	if req.service == "eks" && (req.action == "CreateNodegroup" || req.action == "UpdateNodegroupConfig") {
		return nil
	}
	if req.service == "eks" {
		return failStatus(503, "ServiceUnavailableException", "The service is unavailable. Back off and retry the operation.")
	}
	return failStatus(500, "InsufficientInstanceCapacity", "We currently do not have sufficient capacity in the Availability Zone you requested.")
}
