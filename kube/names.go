package kube

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation"

	"pipectl.dev/steps/spec"
)

// CheckNamespace says what keeps name, found at a path of a spec, from being a namespace's. An empty one is left to the spec's own rules,
// here and below: it may be optional, or not known yet.
func CheckNamespace(at, name string) []spec.Problem {
	if name == "" || len(validation.IsDNS1123Label(name)) == 0 {
		return nil
	}
	return expected(at, name, "a namespace: at most %d lower case letters, digits and -, no - at either end", validation.DNS1123LabelMaxLength)
}

// CheckName says what keeps name from being that of an object, of the kinds that allow dots in it: most.
func CheckName(at, name string) []spec.Problem {
	if name == "" || len(validation.IsDNS1123Subdomain(name)) == 0 {
		return nil
	}
	return expected(at, name, "at most %d lower case letters, digits, - and ., a letter or digit at either end", validation.DNS1123SubdomainMaxLength)
}

// CheckKey says what keeps key from being that of a label or a taint.
func CheckKey(at, key string) []spec.Problem {
	if key == "" || len(validation.IsQualifiedName(key)) == 0 {
		return nil
	}
	return expected(at, key, "a key such as team or example.com/team, at most %d letters, digits, -, _ and . after the slash", validation.LabelValueMaxLength)
}

// CheckValue says what keeps value from being that of a label or a taint.
func CheckValue(at, value string) []spec.Problem {
	if len(validation.IsValidLabelValue(value)) == 0 {
		return nil
	}
	return expected(at, value, "at most %d letters, digits, -, _ and ., a letter or digit at either end", validation.LabelValueMaxLength)
}

func expected(at, got, format string, limit int) []spec.Problem {
	return []spec.Problem{{Path: at, Message: fmt.Sprintf("expected "+format+", got %q", limit, got)}}
}
