package applymanifests

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/spec"
)

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func names(objs []*unstructured.Unstructured) []string {
	var out []string
	for _, o := range objs {
		out = append(out, kube.RefOf(o).String())
	}
	return out
}

const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME}\n"

func cm(name string) string { return strings.Replace(configMap, "NAME", name, 1) }

func TestManifestsAreReadFromWhatAPathNames(t *testing.T) {
	remoteFile := cm("far") + "---\n" + cm("farther")
	for name, test := range map[string]struct {
		files map[string]string
		paths []string
		want  []string
		err   string
	}{
		"a file with several documents and an empty one": {
			files: map[string]string{"a.yaml": cm("one") + "---\n# nothing\n---\n" + cm("two")}, paths: []string{"a.yaml"},
			want: []string{"ConfigMap one", "ConfigMap two"}},
		"YAML in braces, which is no JSON": {
			files: map[string]string{"a.yaml": "{apiVersion: v1, kind: ConfigMap, metadata: {name: one}}\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: two}}\n"},
			paths: []string{"a.yaml"}, want: []string{"ConfigMap one", "ConfigMap two"}},
		"JSON with tabs, one after the other": {
			files: map[string]string{"a.json": "{\n\t\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"one\"}}\n{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"two\"}}"},
			paths: []string{"a.json"}, want: []string{"ConfigMap one", "ConfigMap two"}},
		"a JSON list": {
			files: map[string]string{"l.json": `{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}}]}`},
			paths: []string{"l.json"}, want: []string{"ConfigMap x"}},
		"a directory, not what is below it": {
			files: map[string]string{"d/b.yml": cm("b"), "d/a.yaml": cm("a"), "d/readme.md": "no", "d/deep/c.yaml": cm("c")}, paths: []string{"d"},
			want: []string{"ConfigMap a", "ConfigMap b"}},
		"a kustomization with a base and a remote file": {
			files: map[string]string{
				"k/kustomization.yaml":    "namespace: ns\nnamePrefix: p-\nresources: [../base, URL/far.yaml]\n",
				"base/kustomization.yaml": "resources: [b.yaml]\n", "base/b.yaml": cm("base")},
			paths: []string{"k"}, want: []string{"ConfigMap ns/p-base", "ConfigMap ns/p-far", "ConfigMap ns/p-farther"}},
		"a URL":                     {paths: []string{"URL/far.yaml"}, want: []string{"ConfigMap far", "ConfigMap farther"}},
		"a path that is not there":  {paths: []string{"nowhere"}, err: "paths[0] nowhere"},
		"a directory without any":   {files: map[string]string{"d/readme.md": "no"}, paths: []string{"d"}, err: "no manifests"},
		"a document without a name": {files: map[string]string{"a.yaml": "apiVersion: v1\nkind: ConfigMap\n"}, paths: []string{"a.yaml"}, err: "no metadata.name"},
		"an object given twice":     {files: map[string]string{"a.yaml": cm("x"), "b.yaml": cm("x")}, paths: []string{"a.yaml", "b.yaml"}, err: "ConfigMap x stands in the manifests twice"},
		"a repository to clone": {files: map[string]string{"k/kustomization.yaml": "resources: ['https://github.com/me/repo//deploy?ref=v1']\n"}, paths: []string{"k"},
			err: "Git repositories are not cloned"},
		"a remote page that is no manifest": {files: map[string]string{"k/kustomization.yaml": "resources:\n- URL/page.html\n"}, paths: []string{"k"},
			err: "kustomization.yaml:2"},
		"a remote file that is not there": {paths: []string{"URL/gone.yaml"}, err: "404"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/far.yaml":
					_, _ = w.Write([]byte(remoteFile))
				case "/page.html":
					_, _ = w.Write([]byte("<html><body>hello</body></html>"))
				default:
					http.NotFound(w, r)
				}
			}))
			defer server.Close()
			for f, text := range test.files {
				test.files[f] = strings.ReplaceAll(text, "URL", server.URL)
			}
			write(t, dir, test.files)
			sp := Spec{}
			for _, p := range test.paths {
				sp.Paths = append(sp.Paths, strings.ReplaceAll(p, "URL", server.URL))
			}
			objs, err := loader{dir: dir, fetch: newFetcher().get}.objects(t.Context(), steps.Env{}, sp)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("got %v, want an error with %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, names(objs)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSettingsPutValuesIntoNamedFields(t *testing.T) {
	text := "apiVersion: x/v1\nkind: Application\nmetadata: {name: root}\nspec: {source: {repoURL: old}, list: [{a: 1}]}\n"
	for name, test := range map[string]struct {
		setting string
		path    []string
		want    any
		err     string
	}{
		"a string":                        {setting: "{kind: Application, name: root, field: spec.source.repoURL, value: new}", path: []string{"spec", "source", "repoURL"}, want: "new"},
		"a number stays one":              {setting: "{kind: Application, name: root, field: spec.source.depth, value: 7}", path: []string{"spec", "source", "depth"}, want: int64(7)},
		"a mapping on the way is made":    {setting: "{kind: Application, name: root, field: spec.a.b, value: true}", path: []string{"spec", "a", "b"}, want: true},
		"a key with dots":                 {setting: `{kind: Application, name: root, field: 'metadata.annotations["a.b/c"]', value: x}`, path: []string{"metadata", "annotations", "a.b/c"}, want: "x"},
		"an object that is not there":     {setting: "{kind: Application, name: other, field: spec.a, value: 1}", err: "no object Application other"},
		"a list item that is not there":   {setting: "{kind: Application, name: root, field: 'spec.list[3].a', value: 1}", err: "no such list item"},
		"a scalar where a mapping is due": {setting: "{kind: Application, name: root, field: spec.source.repoURL.x, value: 1}", err: "expected a mapping"},
	} {
		t.Run(name, func(t *testing.T) {
			objs, err := documents([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			var s Setting
			if err := yaml.Unmarshal([]byte(test.setting), &s); err != nil {
				t.Fatal(err)
			}
			err = set(objs, []Setting{s}, func(int) bool { return true })
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("got %v, want an error with %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := unstructured.NestedFieldCopy(objs[0].Object, test.path...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDownloadsAreTriedAgainOncePerProcessAndFromTheMirror(t *testing.T) {
	var calls atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_, _ = w.Write([]byte(r.URL.Path))
	}))
	defer server.Close()
	f := newFetcher()
	f.pause = 1
	f.mirrors = "https://raw.invalid/=http://nowhere.invalid/, https://raw.invalid/argo/=" + server.URL + "/mirror/"
	for range 2 {
		raw, err := f.get(context.Background(), "https://raw.invalid/argo/core.yaml")
		if err != nil {
			t.Fatal(err)
		}
		if string(raw) != "/mirror/core.yaml" {
			t.Errorf("got %s", raw)
		}
	}
	if calls.Load() != 2 {
		t.Errorf("%d calls, want one that failed and one that did not", calls.Load())
	}
}

func TestProblemsOfASpecAreAllFound(t *testing.T) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(`
cluster: {context: a, inCluster: true}
secrets:
  - {namespace: Bad_Name, name: s, data: {a: b}}
  - {namespace: n, name: t, data: {a: b}, generate: [a]}
  - {namespace: n, name: t, generate: [c]}
  - {namespace: n, name: u}
set:
  - {kind: A, name: b, field: "spec..x", value: 1}
tiemout: 3m
`), &doc); err != nil {
		t.Fatal(err)
	}
	var s Spec
	var got []string
	for _, p := range spec.Decode("f", &doc, &s) {
		got = append(got, p.Path)
	}
	if diff := cmp.Diff([]string{"cluster", "secrets[0].namespace", "secrets[1].generate[0]", "secrets[2]", "secrets[3].data", "set[0].field", "tiemout"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
