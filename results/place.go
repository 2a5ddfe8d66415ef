package results

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"pipectl.dev/steps"
)

// Place is where results are kept, taken apart: a directory, a ConfigMap or a bucket.
type Place struct {
	Dir string // set where it is a directory; the others are empty then

	Namespace, ConfigMap string // configmap://NAMESPACE/NAME
	Context, Kubeconfig  string // ?context=, ?kubeconfig=: the cluster; both empty for the pod's own, else the current context

	Bucket, Prefix string // s3://BUCKET/PREFIX
	Region, KMSKey string // ?region=, ?kms=
}

// schemes are the forms of a place that is no directory, with what may stand after the question mark.
var schemes = map[string]struct {
	form    string
	options []string
}{
	"configmap": {"configmap://NAMESPACE/NAME", []string{"context", "kubeconfig"}},
	"s3":        {"s3://BUCKET/PREFIX", []string{"kms", "region"}},
}

var (
	dnsLabel   = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	dnsName    = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
)

// ParsePlace reads the value of --results. A bad one is a steps.Error of category BadInput that says what was expected.
func ParsePlace(where string) (Place, error) {
	scheme, rest, ok := strings.Cut(where, "://")
	if !ok {
		return Place{Dir: where}, nil
	}
	known, ok := schemes[scheme]
	if !ok {
		return Place{}, badPlace(where, "unknown kind of store "+scheme, "a directory, configmap://NAMESPACE/NAME or s3://BUCKET/PREFIX")
	}
	path, query, _ := strings.Cut(rest, "?")
	options, err := url.ParseQuery(query)
	if err != nil {
		return Place{}, badPlace(where, err.Error(), known.form+"?"+known.options[0]+"=...")
	}
	for k := range options {
		if !slices.Contains(known.options, k) {
			return Place{}, badPlace(where, fmt.Sprintf("unknown option %q", k), "one of "+strings.Join(known.options, ", "))
		}
	}
	if options.Get("context") != "" && options.Get("kubeconfig") != "" {
		return Place{}, badPlace(where, "names a context and a kubeconfig", "one of the two; $KUBECONFIG names the file of a context")
	}
	p := Place{Context: options.Get("context"), Kubeconfig: options.Get("kubeconfig"), Region: options.Get("region"), KMSKey: options.Get("kms")}
	first, second, _ := strings.Cut(path, "/")
	if scheme == "s3" {
		p.Bucket, p.Prefix = first, strings.Trim(second, "/")
		if !bucketName.MatchString(p.Bucket) {
			return Place{}, badPlace(where, fmt.Sprintf("%q is no name of a bucket", first), known.form)
		}
		return p, nil
	}
	p.Namespace, p.ConfigMap = first, second
	if !dnsLabel.MatchString(p.Namespace) || !dnsName.MatchString(p.ConfigMap) || len(p.ConfigMap) > 253-len(secretSuffix) {
		return Place{}, badPlace(where, "names no namespace and ConfigMap", known.form+", both in lower case letters, digits and dashes")
	}
	return p, nil
}

func badPlace(where, what, expected string) error {
	return &steps.Error{Code: "UnknownStore", Category: steps.BadInput, Message: "--results " + where + ": " + what, Hints: []string{"expected " + expected}}
}
