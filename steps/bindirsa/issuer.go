package bindirsa

import (
	"cmp"
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"pipectl.dev/cloud"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/spec"
)

// Issuer is where the keys of a cluster that EKS does not run are published.
type Issuer struct {
	URL    string `yaml:"url,omitempty" json:"url,omitempty" jsonschema:"pattern=^https://" jsonschema_description:"issuer URL, the first --service-account-issuer of the API server; https://s3.REGION.amazonaws.com/BUCKET when left out"`
	Bucket string `yaml:"bucket,omitempty" json:"bucket,omitempty" jsonschema_description:"S3 bucket that the discovery document and the keys are written to; it must exist and let everybody read these two objects. Left out: another stage or tool publishes them, and the OIDC provider exists"`
}

// Paths below an issuer's URL. The first is OpenID Connect's; the second is Kubernetes' own, and that of the API server.
const (
	discoveryPath = ".well-known/openid-configuration"
	keysPath      = "openid/v1/jwks"
)

// address is the issuer's URL.
func (i Issuer) address(region string) string {
	if i.URL != "" {
		return i.URL
	}
	return "https://s3." + region + "." + cloud.Domain(region) + "/" + i.Bucket
}

// key is where in the bucket path is found below the issuer's URL. S3's URLs may name the bucket first.
func (i Issuer) key(region, path string) string {
	u, err := url.Parse(i.address(region))
	if err != nil { // Validate has seen to it
		return path
	}
	prefix := strings.Trim(u.Path, "/")
	if pathStyle(u) {
		prefix = strings.Trim(strings.TrimPrefix(prefix, i.Bucket), "/")
	}
	if prefix != "" {
		prefix += "/"
	}
	return prefix + path
}

// pathStyle reports a URL of S3 whose path begins with the bucket.
func pathStyle(u *url.URL) bool {
	return (strings.HasPrefix(u.Host, "s3.") || strings.HasPrefix(u.Host, "s3-")) && strings.Contains(u.Host, ".amazonaws.com")
}

func (i Issuer) check() []spec.Problem {
	var ps []spec.Problem
	bad := func(field, message, hint string) {
		ps = append(ps, spec.Problem{Path: "issuer" + field, Message: message, Hint: hint})
	}
	if i.URL == "" && i.Bucket == "" {
		bad("", "expected a bucket, a URL or both", "bucket: where the keys are to be published; url: the issuer as tokens name it")
	}
	if i.URL == "" {
		return ps
	}
	u, err := url.Parse(i.URL)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "":
		bad(".url", "expected an https URL", "such as https://s3.ap-northeast-2.amazonaws.com/my-issuer")
	case u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(u.Path, "/"):
		bad(".url", "expected a URL without a slash at its end, without query and fragment", "tokens name the issuer letter by letter")
	case i.Bucket != "" && pathStyle(u) && !strings.HasPrefix(u.Path+"/", "/"+i.Bucket+"/"):
		bad(".url", "it names another bucket than bucket: "+i.Bucket, "write "+"https://"+u.Host+"/"+i.Bucket)
	}
	return ps
}

// publicly says how everybody is let to the two objects, for hints.
func (s *state) publicly() string {
	at := s.issuerURL()
	text := "everybody must be able to read " + at + "/" + discoveryPath + " and " + at + "/" + keysPath
	if b := s.spec.Issuer.Bucket; b != "" {
		arn := "arn:" + cmp.Or(s.caller.Partition, "aws") + ":s3:::" + b + "/"
		text += ": let the bucket's policy allow s3:GetObject to \"*\" on " + arn + s.spec.Issuer.key(s.region(), discoveryPath) + " and " +
			arn + s.spec.Issuer.key(s.region(), keysPath) + ", and switch BlockPublicPolicy and RestrictPublicBuckets off for this bucket; or put CloudFront before it"
	}
	return text
}

func (s *state) region() string    { return s.spec.region(s.env) }
func (s *state) issuerURL() string { return s.spec.Issuer.address(s.region()) }

// ownIssuer is the issuer of a cluster that EKS does not run, as state.issuer has it.
func (s *state) ownIssuer() string { return strings.TrimPrefix(s.issuerURL(), "https://") }

// signsFor checks that the API server signs tokens for the issuer that is to be trusted: a token of any other is of no use.
func (s *state) signsFor(ctx context.Context) error {
	want := s.issuerURL()
	raw, err := s.kube.Raw(ctx, "/"+discoveryPath)
	if err != nil && !kube.IsNotFound(err) {
		return err
	}
	var doc struct {
		Issuer string `json:"issuer"`
	}
	if err == nil {
		if err := json.Unmarshal(raw, &doc); err != nil {
			return &steps.Error{Code: "NoDiscovery", Category: steps.Precondition, Message: "the API server's /" + discoveryPath + " is no discovery document", Err: err}
		}
	}
	if doc.Issuer == want {
		return nil
	}
	return &steps.Error{Code: "OtherIssuer", Category: steps.Precondition, Message: "the API server signs tokens for " + cmp.Or(doc.Issuer, "an issuer that is no https URL") + ", not for " + want,
		Hints: []string{"start kube-apiserver with --service-account-issuer=" + want + " before its other --service-account-issuer: the first signs, all are accepted. Or set issuer.url to what it signs for"}}
}

// documents are the discovery document and the key set, by path. They are the same bytes for the same keys.
func documents(issuer string, jwks []byte) (map[string][]byte, error) {
	set, err := readKeys(jwks)
	if err != nil {
		return nil, err
	}
	if len(set.Keys) == 0 {
		return nil, &steps.Error{Code: "NoKeys", Category: steps.Precondition, Message: "the API server publishes no keys at /" + keysPath}
	}
	var algorithms []string
	for _, k := range set.Keys {
		if alg, _ := k["alg"].(string); alg != "" {
			algorithms = append(algorithms, alg)
		}
	}
	slices.Sort(algorithms)
	keys, _ := json.MarshalIndent(set, "", "  ") // plain data, cannot fail
	doc, _ := json.MarshalIndent(map[string]any{
		"issuer": issuer, "jwks_uri": issuer + "/" + keysPath, "authorization_endpoint": "urn:kubernetes:programmatic_authorization",
		"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported": slices.Compact(algorithms), "claims_supported": []string{"sub", "iss"},
	}, "", "  ")
	return map[string][]byte{discoveryPath: append(doc, '\n'), keysPath: append(keys, '\n')}, nil
}

// keySet is a JSON Web Key Set (RFC 7517).
type keySet struct {
	Keys []map[string]any `json:"keys"`
}

func readKeys(jwks []byte) (keySet, error) {
	var set keySet
	if err := json.Unmarshal(jwks, &set); err != nil {
		return set, &steps.Error{Code: "NoKeys", Category: steps.Precondition, Message: "what should be a JSON Web Key Set is none", Err: err}
	}
	slices.SortFunc(set.Keys, func(a, b map[string]any) int { return strings.Compare(kid(a), kid(b)) })
	return set, nil
}

func kid(key map[string]any) string {
	id, _ := key["kid"].(string)
	return id
}

// kids are the ids of a key set, sorted; of what is no key set there are none.
func kids(jwks []byte) []string {
	set, err := readKeys(jwks)
	if err != nil {
		return nil
	}
	var out []string
	for _, k := range set.Keys {
		out = append(out, kid(k))
	}
	return out
}

// wantedDocuments are the documents as they should be, by the keys that the API server has now.
func (s *state) wantedDocuments(ctx context.Context) (map[string][]byte, error) {
	raw, err := s.kube.Raw(ctx, "/"+keysPath)
	if err != nil {
		return nil, err
	}
	return documents(s.issuerURL(), raw)
}

// explainBucket says what an error of S3 means here.
func (s *state) explainBucket(err error) error {
	if cloud.IsNoBucket(err) {
		return &steps.Error{Code: "NoBucket", Category: steps.Precondition, Message: "issuer.bucket: bucket " + s.spec.Issuer.Bucket + " does not exist", Err: err,
			Hints: []string{"make it (`aws s3 mb s3://" + s.spec.Issuer.Bucket + "`); " + s.publicly()}}
	}
	return err
}
