package upstream

import (
	"bytes"
	"strings"
	"testing"
	"testing/fstest"
)

func TestPrint(t *testing.T) {
	files := fstest.MapFS{"README": {}, "argo-cd/v1/manifests/a.yaml": {Data: []byte("a: 1\n")}}
	for name, c := range map[string]struct {
		names     []string
		want, err string
	}{
		"without names the list":  {nil, "argo-cd/v1/manifests/a.yaml\n", ""},
		"a file":                  {[]string{"argo-cd/v1/manifests/a.yaml"}, "a: 1\n", ""},
		"a URL's path":            {[]string{"/argo-cd/v1/manifests/a.yaml"}, "a: 1\n", ""},
		"a file that is not here": {[]string{"argo-cd/v2/manifests/a.yaml"}, "", "not embedded"},
	} {
		var out bytes.Buffer
		err := Print(&out, files, c.names)
		if out.String() != c.want || c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: got %q, %v", name, out.String(), err)
		}
	}
}
