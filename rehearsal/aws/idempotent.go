package aws

import (
	"fmt"
	"slices"
	"strings"
)

// idempotent remembers what a client token made, and from which parameters.
type idempotent struct{ params, id string }

// remember keeps what the token of a request made. once has taken the fingerprint: carrying a request out may complete its parameters.
func (c *Cloud) remember(req *request, token, id string) {
	if token != "" {
		c.tokens[req.service+":"+req.action+":"+token] = idempotent{req.params, id}
	}
}

// once returns the id that the request's token made before, or "" when it is new; the same token with other
// parameters is refused. alive says whether a remembered resource still counts.
func (c *Cloud) once(req *request, token string, alive func(id string) bool) (string, error) {
	if token == "" {
		return "", nil
	}
	req.params = fingerprint(req)
	k := req.service + ":" + req.action + ":" + token
	old, ok := c.tokens[k]
	if !ok || !alive(old.id) {
		return "", nil
	}
	if old.params != req.params {
		if req.service == "eks" {
			return "", fail("InvalidParameterException", "The client request token %s was used before with other parameters", token)
		}
		return "", fail("IdempotentParameterMismatch", "The client token you have provided is associated with a resource that has different parameters than the ones in this request")
	}
	return old.id, nil
}

// fingerprint is all parameters but the token, in a fixed order.
func fingerprint(req *request) string {
	var parts []string
	for k, v := range req.form {
		if k != "ClientToken" {
			parts = append(parts, k+"="+strings.Join(v, ","))
		}
	}
	for k, v := range req.body {
		if k != "clientRequestToken" {
			parts = append(parts, k+"="+fmt.Sprint(v)) // fmt prints maps in key order
		}
	}
	for k, v := range req.vars {
		parts = append(parts, k+"="+v)
	}
	slices.Sort(parts)
	return strings.Join(parts, "&")
}
