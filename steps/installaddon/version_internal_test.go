package installaddon

import (
	"strings"
	"testing"
)

func TestVersionsAreOrderedByTheirNumbers(t *testing.T) {
	var all []version
	for _, name := range strings.Fields("v1.9.0-eksbuild.1 v1.10.0-eksbuild.2 v1.10.0-eksbuild.10 v1.8.3-eksbuild.1") {
		all = append(all, version{name: name})
	}
	newestFirst(all)
	var got []string
	for _, v := range all {
		got = append(got, v.name)
	}
	if want := "v1.10.0-eksbuild.10 v1.10.0-eksbuild.2 v1.9.0-eksbuild.1 v1.8.3-eksbuild.1"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}
