package results

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/steps"
)

func TestParsePlace(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in   string
		want Place
		err  string // the message after "--results IN: "
		hint string
	}{
		"a directory":                 {in: "out/results", want: Place{Dir: "out/results"}},
		"a ConfigMap":                 {in: "configmap://ci/blog.results", want: Place{Namespace: "ci", ConfigMap: "blog.results"}},
		"a ConfigMap of a context":    {in: "configmap://ci/blog?context=prod@eu", want: Place{Namespace: "ci", ConfigMap: "blog", Context: "prod@eu"}},
		"a ConfigMap of a kubeconfig": {in: "configmap://ci/blog?kubeconfig=/a/b", want: Place{Namespace: "ci", ConfigMap: "blog", Kubeconfig: "/a/b"}},
		"a bucket":                    {in: "s3://my.bucket", want: Place{Bucket: "my.bucket"}},
		"a bucket, prefix and region": {in: "s3://b-1/a/b/?region=eu-west-1&kms=alias/k", want: Place{Bucket: "b-1", Prefix: "a/b", Region: "eu-west-1", KMSKey: "alias/k"}},
		"another scheme":              {in: "gs://b/x", err: "unknown kind of store gs", hint: "expected a directory, configmap://NAMESPACE/NAME or s3://BUCKET/PREFIX"},
		"no name":                     {in: "configmap://ci", err: "names no namespace and ConfigMap", hint: "expected configmap://NAMESPACE/NAME, both in lower case letters, digits and dashes"},
		"a name in capitals":          {in: "configmap://ci/Blog", err: "names no namespace and ConfigMap", hint: "expected configmap://NAMESPACE/NAME, both in lower case letters, digits and dashes"},
		"one part too many":           {in: "configmap://ci/a/b", err: "names no namespace and ConfigMap", hint: "expected configmap://NAMESPACE/NAME, both in lower case letters, digits and dashes"},
		"no bucket":                   {in: "s3:///x", err: `"" is no name of a bucket`, hint: "expected s3://BUCKET/PREFIX"},
		"an unknown option":           {in: "s3://bbb/x?acl=public", err: `unknown option "acl"`, hint: "expected one of kms, region"},
		"two clusters":                {in: "configmap://ci/a?context=x&kubeconfig=y", err: "names a context and a kubeconfig", hint: "expected one of the two; $KUBECONFIG names the file of a context"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ParsePlace(c.in)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if c.err == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var e *steps.Error
			if !errors.As(err, &e) || e.Category != steps.BadInput || e.Message != "--results "+c.in+": "+c.err || len(e.Hints) != 1 || e.Hints[0] != c.hint {
				t.Errorf("got %+v", e)
			}
		})
	}
}
