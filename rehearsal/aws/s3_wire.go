package aws

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
)

// routeS3 finds action, bucket and key of a call, with the bucket in the path or in the host's name.
func routeS3(req *request, r *http.Request, raw []byte) error {
	bucket, key := "", strings.TrimPrefix(r.URL.Path, "/")
	if name, _, ok := strings.Cut(r.Host, ".s3."); ok {
		bucket = name
	} else {
		bucket, key, _ = strings.Cut(key, "/")
	}
	req.raw, req.header = raw, r.Header
	if bucket != "" {
		req.vars["Bucket"] = bucket
	}
	if key != "" {
		req.vars["Key"] = key
	}
	switch shape := r.Method + " " + map[bool]string{true: "object", false: "bucket"}[key != ""]; {
	case shape == "PUT object":
		req.action = "PutObject"
	case shape == "GET object":
		req.action = "GetObject"
	case shape == "DELETE object":
		req.action = "DeleteObject"
	case shape == "PUT bucket" && bucket != "":
		req.action = "CreateBucket"
	case shape == "GET bucket" && bucket != "" && req.query.Get("list-type") == "2":
		req.action = "ListObjectsV2"
	default:
		req.action = r.Method + " " + r.URL.Path
	}
	sum := sha256.Sum256(raw)
	switch claimed := r.Header.Get("X-Amz-Content-Sha256"); claimed {
	case hex.EncodeToString(sum[:]), "UNSIGNED-PAYLOAD":
		return nil
	case "":
		return fail("InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
	default:
		return fail("XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.")
	}
}

// s3Answer is what an S3 operation answers: headers and a body, or an XML document.
type s3Answer struct {
	status int
	header map[string]string
	body   []byte
	root   string
	doc    []node
}

func renderS3(out *response, result any) {
	a, _ := result.(s3Answer)
	if a.status != 0 {
		out.status = a.status
	}
	for k, v := range a.header {
		out.header.Set(k, v)
	}
	out.body = bytes.Clone(a.body)
	if a.root != "" {
		out.header.Set("Content-Type", "application/xml")
		out.body = document(group(a.root, a.doc...), "http://s3.amazonaws.com/doc/2006-03-01/")
	}
}

func renderS3Error(out *response, r *request, e *apiError) {
	kids := []node{el("Code", e.code), el("Message", e.message)}
	for _, k := range sortedKeys(e.fields) {
		kids = append(kids, el(k, e.fields[k]))
	}
	if region, ok := e.fields["Region"].(string); ok {
		out.header.Set("X-Amz-Bucket-Region", region)
	}
	out.header.Set("Content-Type", "application/xml")
	out.body = document(group("Error", append(kids, el("RequestId", r.id))...), "")
}

// s3Path is the path as S3 signs it: every byte escaped once, whatever the client left as it was.
func s3Path(u *url.URL) string {
	if u.Path == "" {
		return "/"
	}
	return awsEscape(u.Path, true)
}

// regionMismatch is S3's refusal of a request signed for another region; it says which one is right.
func regionMismatch(got, want string) error {
	return &apiError{code: "AuthorizationHeaderMalformed", status: http.StatusBadRequest, fields: map[string]any{"Region": want},
		message: "The authorization header is malformed; the region '" + got + "' is wrong; expecting '" + want + "'"}
}
