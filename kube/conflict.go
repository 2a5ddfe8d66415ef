package kube

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const managerConflict = "FieldManagerConflict"

// ownedField is a field that a server-side apply wanted to change and that another manager owns.
type ownedField struct{ path, manager string }

var conflictWith = regexp.MustCompile(`conflict with "([^"]+)"`)

// ownedFields lists who owns the fields that stand against a server-side apply, in their order; none for any other error.
func ownedFields(err error) []ownedField {
	var s apierrors.APIStatus
	if !errors.As(err, &s) || s.Status().Details == nil {
		return nil
	}
	var out []ownedField
	for _, cause := range s.Status().Details.Causes {
		if string(cause.Type) != managerConflict {
			continue
		}
		f := ownedField{path: strings.TrimPrefix(cause.Field, "."), manager: strings.TrimSpace(cause.Message)}
		if m := conflictWith.FindStringSubmatch(cause.Message); m != nil {
			f.manager = m[1]
		}
		out = append(out, f)
	}
	return out
}

func fieldConflict(err error) bool { return len(ownedFields(err)) > 0 }

// onlyOurs reports a conflict with nobody but ourselves, by an earlier patch.
func onlyOurs(err error) bool {
	owned := ownedFields(err)
	return len(owned) > 0 && !slices.ContainsFunc(owned, func(f ownedField) bool { return f.manager != FieldManager })
}

// conflictError is a conflict of field managers in one line: which fields, and whose they are.
type conflictError struct {
	owned []ownedField
	cause error
}

func (e *conflictError) Unwrap() error { return e.cause }

func (e *conflictError) Error() string {
	var parts []string
	for _, m := range managers(e.owned) {
		var paths []string
		for _, f := range e.owned {
			if f.manager == m {
				paths = append(paths, f.path)
			}
		}
		verb := "is"
		if len(paths) > 1 {
			verb = "are"
		}
		parts = append(parts, fmt.Sprintf("%s %s owned by %q", strings.Join(paths, ", "), verb, m))
	}
	return strings.Join(parts, "; ")
}

// managers are those who own anything, by name: the API server lists them in any order.
func managers(owned []ownedField) []string {
	var out []string
	for _, f := range owned {
		if !slices.Contains(out, f.manager) {
			out = append(out, f.manager)
		}
	}
	slices.Sort(out)
	return out
}

// known is how to get on with managers that people meet, by the beginning of their names.
var known = []struct{ prefix, hint string }{
	{"kube-controller-manager", "a controller of the cluster sets it, such as an autoscaler: leave it out of the manifest"},
	{"argocd-", "Argo CD applies this object too: leave it to one of the two, by taking it out of the Application or out of `paths`"},
	{"helm", "a Helm release owns it: change it by the release's values, or take it out of the release"},
	{"kubectl", "somebody changed it by kubectl: take it over once, as below, when the manifest is right"},
}

// conflictHints say how to resolve a conflict with these managers.
func conflictHints(owned []ownedField) []string {
	var out []string
	for _, m := range managers(owned) {
		for _, k := range known {
			if strings.HasPrefix(m, k.prefix) {
				out = append(out, m+": "+k.hint)
			}
		}
	}
	return append(out, "leave the fields out of the manifest, or take them over once: `kubectl apply --server-side --force-conflicts --field-manager="+FieldManager+" -f FILE`")
}
