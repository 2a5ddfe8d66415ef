package bindirsa

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// sid marks the one statement of a trust policy that is ours, whatever issuer it names: a re-created cluster has a new one.
const sid = "PipectlServiceAccounts"

const assumeByToken = "sts:AssumeRoleWithWebIdentity"

// own is our statement: every subject and the audience. One list of subjects under one operator means any of them; two operators would
// mean both.
func (s *state) own() map[string]any {
	if s.spec.PodIdentity { // EKS tags the session with cluster, namespace and service account
		return map[string]any{"Sid": sid, "Effect": "Allow", "Action": []string{"sts:AssumeRole", "sts:TagSession"}, "Principal": map[string]any{"Service": podService}}
	}
	subjects := make([]string, 0, len(s.spec.ServiceAccounts))
	wild := false
	for _, a := range s.spec.ServiceAccounts {
		subjects = append(subjects, a.subject())
		wild = wild || a.Wildcard
	}
	slices.Sort(subjects)
	condition := map[string]any{"StringEquals": map[string]any{s.issuer + ":sub": subjects, s.issuer + ":aud": audience}}
	if wild {
		condition = map[string]any{"StringLike": map[string]any{s.issuer + ":sub": subjects}, "StringEquals": map[string]any{s.issuer + ":aud": audience}}
	}
	return map[string]any{"Sid": sid, "Effect": "Allow", "Action": assumeByToken, "Principal": map[string]any{"Federated": s.providerARN()}, "Condition": condition}
}

// trust is a policy of our statement alone.
func (s *state) trust() string { return document([]any{s.own()}) }

// trustWith is our statement in the place of what is ours in have, with what others wrote there kept as it is.
func (s *state) trustWith(have []statement) string {
	all := []any{s.own()}
	for _, st := range have {
		if !s.isOurs(st) {
			all = append(all, st.raw)
		}
	}
	return document(all)
}

func document(statements []any) string {
	doc, _ := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statements}) // plain data, cannot fail
	return string(doc)
}

// statement is one statement of a trust policy that exists.
type statement struct {
	Sid       string
	Effect    string
	Action    texts
	Principal principals
	Condition map[string]map[string]texts
	raw       json.RawMessage
}

// texts is a string or a list of them: policies mean the same by both.
type texts []string

func (t *texts) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*t = texts{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(t))
}

// principals are names by kind; "*" alone is everybody.
type principals map[string]texts

func (p *principals) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*p = principals{"AWS": {one}}
		return nil
	}
	return json.Unmarshal(b, (*map[string]texts)(p))
}

// statements reads a trust policy as IAM gives it back, URL-encoded.
func statements(doc string) ([]statement, error) {
	if decoded, err := url.PathUnescape(doc); err == nil {
		doc = decoded
	}
	var p struct{ Statement json.RawMessage }
	if err := json.Unmarshal([]byte(doc), &p); err != nil {
		return nil, fmt.Errorf("its trust policy cannot be read: %w", err)
	}
	var raws []json.RawMessage
	if json.Unmarshal(p.Statement, &raws) != nil {
		raws = []json.RawMessage{p.Statement}
	}
	out := make([]statement, len(raws))
	for i, raw := range raws {
		if err := json.Unmarshal(raw, &out[i]); err != nil {
			return nil, fmt.Errorf("its trust policy cannot be read: statement %d: %w", i+1, err)
		}
		out[i].raw = raw
	}
	return out, nil
}

// isOurs takes the statement that carries our mark for ours, and whatever else admits tokens of this cluster and nothing beside them: that
// is what this role is for, and the spec says whom it admits.
func (s *state) isOurs(st statement) bool {
	if st.Sid == sid {
		return true
	}
	only := st.Effect == "Allow" && len(st.Principal) == 1
	if s.spec.PodIdentity {
		return only && slices.Equal(st.Principal["Service"], texts{podService})
	}
	return only && slices.Equal(st.Principal["Federated"], texts{s.providerARN()})
}

// told is the statement with what is wrong in it, for people.
func (s *state) told(st statement) string {
	text := string(st.raw)
	if wrong := st.faults(s.issuer); len(wrong) > 0 {
		text = strings.Join(wrong, "; ") + ": " + text
	}
	return text
}

// ownTrust is what is ours in the role's trust policy.
func (s *state) ownTrust() []any {
	var out []any
	for _, st := range s.trusted {
		if s.isOurs(st) {
			out = append(out, st.raw)
		}
	}
	return out
}

func (s *state) wanted() string {
	if s.spec.PodIdentity {
		return "that of Pod Identity"
	}
	return "sub and aud of " + s.issuer
}

// trusts reports whether our statement names a service.
func (s *state) trusts(service string) bool {
	return slices.ContainsFunc(s.trusted, func(st statement) bool { return s.isOurs(st) && slices.Contains(st.Principal["Service"], service) })
}

func (s *state) tellOwn() string {
	var out []string
	for _, st := range s.trusted {
		if s.isOurs(st) {
			out = append(out, s.told(st))
		}
	}
	return strings.Join(out, "; ")
}

// lint tells what a trust policy admits beside the statement of ours, with each statement: it is not ours to change.
func (s *state) lint(role string, have []statement, kept string) []string {
	var out []string
	for _, st := range have {
		if !s.isOurs(st) {
			out = append(out, "trust policy of role "+role+": "+s.told(st)+" ("+kept+")")
		}
	}
	return out
}

// faults are the ways in which a statement admits more, or less, than it seems to; issuer is the cluster's.
func (st statement) faults(issuer string) []string {
	var out []string
	for _, kind := range []string{"AWS", "Service", "CanonicalUser"} {
		for _, p := range st.Principal[kind] {
			if p == "*" {
				out = append(out, "its principal is everybody")
			} else {
				out = append(out, "its principal is "+p)
			}
		}
	}
	for _, arn := range st.Principal["Federated"] {
		_, from, oidc := strings.Cut(arn, ":oidc-provider/")
		switch {
		case !oidc:
			out = append(out, "its principal is "+arn)
		case from != issuer:
			out = append(out, "its issuer "+from+" is not the cluster's (stale, where the cluster was made anew)")
			fallthrough
		default:
			out = append(out, st.claimFaults(from)...)
		}
	}
	return out
}

// claimFaults looks at the conditions on the claims of tokens of one issuer.
func (st statement) claimFaults(issuer string) []string {
	var out []string
	for _, claim := range []string{"sub", "aud"} {
		values, found := []string(nil), false
		for operator, keys := range st.Condition {
			base := strings.TrimPrefix(strings.TrimSuffix(operator, "IfExists"), "ForAnyValue:") // sub and aud are in every token
			for key, v := range keys {
				if !strings.EqualFold(key, issuer+":"+claim) || base != "StringEquals" && base != "StringEqualsIgnoreCase" && base != "StringLike" {
					continue
				}
				found = true
				if base == "StringLike" {
					values = append(values, v...)
				} else if i := slices.IndexFunc(v, wild); i >= 0 {
					out = append(out, fmt.Sprintf("%s takes %q by the letter, which no token has", operator, v[i]))
				}
			}
		}
		if !found {
			out = append(out, map[string]string{"sub": "no condition on sub, so every subject of the issuer is admitted", "aud": "no condition on aud, so tokens made for others are admitted"}[claim])
		}
		if i := slices.IndexFunc(values, wild); i >= 0 {
			out = append(out, fmt.Sprintf("wildcard in %s: %q", claim, values[i]))
		}
	}
	slices.Sort(out) // conditions come from a map
	return out
}

func wild(s string) bool { return strings.ContainsAny(s, "*?") }
