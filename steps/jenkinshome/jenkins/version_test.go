package jenkins_test

import (
	"testing"

	"pipectl.dev/steps/jenkinshome/jenkins"
)

func TestOlder(t *testing.T) {
	for name, c := range map[string]struct {
		a, b string
		want bool
	}{
		"the same":              {"2.528.1", "2.528.1", false},
		"a patch before":        {"2.528.1", "2.528.3", true},
		"numbers, not text":     {"2.9", "2.10", true},
		"a weekly after an LTS": {"2.529", "2.528.3", false},
		"an LTS and its base":   {"2.528", "2.528.1", true},
		"a tag of an image":     {"2.516.3-lts-jdk21", "2.528.1", true},
		"no version":            {"lts", "2.528.1", false},
		"unknown before":        {"2.528.1", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := jenkins.Older(c.a, c.b); got != c.want {
				t.Errorf("Older(%q, %q) = %v", c.a, c.b, got)
			}
		})
	}
}
