package cloud

import (
	"bytes"
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go"

	"pipectl.dev/steps"
)

// call is one request to S3 before it is signed.
type call struct {
	name, method, key string
	query             url.Values
	header            http.Header
	body              []byte
}

type reply struct {
	header http.Header
	body   []byte
}

// call makes a request, again where that may help. Its errors look like those of the SDK's clients.
func (b *Bucket) call(ctx context.Context, c call) (*reply, error) {
	var out *reply
	moved := false
	err := persist(ctx, b.retryer, func() (err error) {
		out, err = b.once(ctx, c)
		if elsewhere := regionOf(err); elsewhere != "" && elsewhere != *b.region.Load() && !moved {
			moved = true
			b.region.Store(&elsewhere)
			out, err = b.once(ctx, c)
		}
		if err != nil {
			err = &smithy.OperationError{ServiceID: "S3", OperationName: c.name, Err: err}
		}
		return err
	})
	return out, err
}

func (b *Bucket) once(ctx context.Context, c call) (*reply, error) {
	req, err := b.request(ctx, c)
	if err != nil {
		return nil, err
	}
	resp, body, err := exchange(b.cfg, req, MaxObject)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return nil, refusal(resp, body)
	}
	if len(body) > MaxObject {
		return nil, &steps.Error{Code: "ObjectTooLarge", Category: steps.Precondition, Message: fmt.Sprintf("object %s is larger than %d MiB", c.key, MaxObject>>20),
			Hints: []string{"pipectl writes none of this size: is the bucket and prefix the right one?"}}
	}
	return &reply{header: resp.Header, body: body}, nil
}

// request builds and signs. The path is escaped as S3 signs it, every byte but unreserved ones and the slash.
func (b *Bucket) request(ctx context.Context, c call) (*http.Request, error) {
	at, err := b.address(c.key)
	if err != nil {
		return nil, err
	}
	at.RawQuery = strings.ReplaceAll(c.query.Encode(), "+", "%20")
	req, err := http.NewRequestWithContext(ctx, c.method, at.String(), bytes.NewReader(c.body))
	if err != nil {
		return nil, err
	}
	for k, v := range c.header {
		req.Header[k] = v
	}
	return req, sign(ctx, b.cfg, req, c.body, "s3", *b.region.Load(), func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
}

// address is the URL of an object. A given endpoint (another S3, a rehearsal) takes the bucket in the path, and so does a name with dots,
// for which Amazon's certificate does not stand.
func (b *Bucket) address(key string) (*url.URL, error) {
	base := cmp.Or(os.Getenv("AWS_ENDPOINT_URL_S3"), aws.ToString(b.cfg.BaseEndpoint))
	inPath := base != "" || strings.Contains(b.name, ".")
	if base == "" {
		region := *b.region.Load()
		base = "https://s3." + region + "." + Domain(region)
	}
	u, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("endpoint of S3: %w", err)
	}
	path := strings.TrimSuffix(u.Path, "/") + "/"
	if inPath {
		path += b.name + "/"
	} else {
		u.Host = b.name + "." + u.Host
	}
	u.Path, u.RawPath = path+key, escape(path+key)
	return u, nil
}

// Domain is what the hosts of AWS end with in the region's partition.
func Domain(region string) string {
	if strings.HasPrefix(region, "cn-") {
		return "amazonaws.com.cn"
	}
	return "amazonaws.com"
}

func escape(path string) string {
	var b strings.Builder
	for i := range len(path) {
		c := path[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~/", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// wrongRegion is a refusal that names the region where the bucket is.
type wrongRegion struct {
	smithy.GenericAPIError
	region string
}

func regionOf(err error) string {
	var w *wrongRegion
	if !errors.As(err, &w) {
		return ""
	}
	return w.region
}

// refusal reads an error document, or makes one up from the status where the answer has none.
func refusal(resp *http.Response, body []byte) error {
	var doc struct{ Code, Message, Region string }
	if xml.Unmarshal(body, &doc) != nil || doc.Code == "" {
		doc.Code = map[int]string{http.StatusNotFound: "NoSuchKey", http.StatusPreconditionFailed: "PreconditionFailed", http.StatusForbidden: "AccessDenied"}[resp.StatusCode]
		doc.Code, doc.Message = cmp.Or(doc.Code, "HTTP"+fmt.Sprint(resp.StatusCode)), http.StatusText(resp.StatusCode)
	}
	api := smithy.GenericAPIError{Code: doc.Code, Message: doc.Message, Fault: fault(resp.StatusCode)}
	var inner error = &api
	if region := cmp.Or(resp.Header.Get("X-Amz-Bucket-Region"), doc.Region); region != "" {
		inner = &wrongRegion{api, region}
	}
	return refused(resp, inner)
}
