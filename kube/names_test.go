package kube_test

import (
	"strings"
	"testing"

	"pipectl.dev/kube"
	"pipectl.dev/steps/spec"
)

func TestNamesAreThoseThatKubernetesTakes(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		check     func(at, name string) []spec.Problem
		good, bad []string
	}{
		"namespace": {kube.CheckNamespace, []string{"", "jenkins", "a-1"}, []string{"Jenkins", "kube_system", "-a", "a.b", strings.Repeat("a", 64)}},
		"name":      {kube.CheckName, []string{"", "a.b-1"}, []string{"A", "a_b", "a.", "*", strings.Repeat("a", 254)}},
		"key":       {kube.CheckKey, []string{"team", "example.com/Team_1"}, []string{"a b", "/a", "example.com/", "a/b/c", strings.Repeat("a", 64)}},
		"value":     {kube.CheckValue, []string{"", "Blue_1.2"}, []string{"a b", "-a", strings.Repeat("a", 64)}},
	} {
		t.Run(what, func(t *testing.T) {
			for _, name := range c.good {
				if ps := c.check("at", name); ps != nil {
					t.Errorf("%q: %v", name, ps)
				}
			}
			for _, name := range c.bad {
				ps := c.check("at", name)
				if len(ps) != 1 || ps[0].Path != "at" || !strings.HasPrefix(ps[0].Message, "expected ") || !strings.HasSuffix(ps[0].Message, `got "`+name+`"`) {
					t.Errorf("%q: %v", name, ps)
				}
			}
		})
	}
}
