package cloud

import (
	"bytes"
	"context"
	"encoding/xml"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
)

// Bucket is one S3 bucket, as far as stored results need one: four calls. They are written out over the SDK's own signer, credentials and
// retries, because the SDK's S3 client would take the binary over its limit (see bucket_wire.go).
//
// Objects are sent without an ACL: they are private then, and buckets whose ACLs are off (all new ones) refuse any other.
type Bucket struct {
	name    string
	kmsKey  string
	region  atomic.Pointer[string] // where the bucket is, as far as known
	cfg     aws.Config
	retryer aws.Retryer
}

// Bucket gives access to a bucket of the session's region; one that is elsewhere is found by S3's own answer. What is written is encrypted
// with the KMS key kmsKey, "" with the keys of S3 (AES256).
func (s *Session) Bucket(name, kmsKey string) *Bucket {
	b := &Bucket{name: name, kmsKey: kmsKey, cfg: s.Config, retryer: newRetryer(s.Speed)}
	b.region.Store(&s.Region)
	return b
}

// MaxObject bounds what is read at once, in bytes, and so what may be written: a result of this size is somebody else's object.
const MaxObject = 64 << 20

// Get reads an object and its entity tag. IsNotFound tells an object that is not there, IsNoBucket a bucket.
func (b *Bucket) Get(ctx context.Context, key string) (body []byte, etag string, err error) {
	a, err := b.call(ctx, call{name: "GetObject", method: http.MethodGet, key: key})
	if err != nil {
		return nil, "", err
	}
	return a.body, a.header.Get("Etag"), nil
}

// metaOwner is the metadata of an object that says whose it is: a bucket's objects can be tagged only by another permission.
const metaOwner = "X-Amz-Meta-Pipectl-Identity"

// GetOwned is Get, with the identity that PutOwned wrote, or "".
func (b *Bucket) GetOwned(ctx context.Context, key string) (body []byte, etag, owner string, err error) {
	a, err := b.call(ctx, call{name: "GetObject", method: http.MethodGet, key: key})
	if err != nil {
		return nil, "", "", err
	}
	return a.body, a.header.Get("Etag"), a.header.Get(metaOwner), nil
}

// PutOwned is Put of an object that carries its owner.
func (b *Bucket) PutOwned(ctx context.Context, key string, body []byte, etag, owner string) error {
	_, err := b.put(ctx, key, body, etag, http.Header{metaOwner: {owner}})
	return err
}

// Put writes an object where its entity tag still is etag, or, with "", where there is none yet, and returns the new tag. IsRaced tells
// that somebody else wrote in between, or that an answer to our own first attempt was lost: read again to know.
func (b *Bucket) Put(ctx context.Context, key string, body []byte, etag string) (string, error) {
	return b.put(ctx, key, body, etag, http.Header{})
}

func (b *Bucket) put(ctx context.Context, key string, body []byte, etag string, h http.Header) (string, error) {
	h.Set("Content-Type", "application/json")
	if etag == "" {
		h.Set("If-None-Match", "*")
	} else {
		h.Set("If-Match", etag)
	}
	if b.kmsKey == "" {
		h.Set("X-Amz-Server-Side-Encryption", "AES256")
	} else {
		h.Set("X-Amz-Server-Side-Encryption", "aws:kms")
		h.Set("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", b.kmsKey)
	}
	a, err := b.call(ctx, call{name: "PutObject", method: http.MethodPut, key: key, header: h, body: body})
	if err != nil {
		return "", err
	}
	return a.header.Get("Etag"), nil
}

// List returns the keys that begin with prefix, in their order.
func (b *Bucket) List(ctx context.Context, prefix string) ([]string, error) {
	var keys []string
	token := ""
	for {
		q := url.Values{"list-type": {"2"}, "prefix": {prefix}}
		if token != "" {
			q.Set("continuation-token", token)
		}
		a, err := b.call(ctx, call{name: "ListObjectsV2", method: http.MethodGet, query: q})
		if err != nil {
			return nil, err
		}
		var page struct {
			Contents []struct{ Key string }
			Next     string `xml:"NextContinuationToken"`
		}
		if err := xml.NewDecoder(bytes.NewReader(a.body)).Decode(&page); err != nil {
			return nil, &smithy.OperationError{ServiceID: "S3", OperationName: "ListObjectsV2", Err: &smithy.DeserializationError{Err: err}}
		}
		for _, c := range page.Contents {
			keys = append(keys, c.Key)
		}
		if token = page.Next; token == "" {
			slices.Sort(keys)
			return keys, nil
		}
	}
}

// Delete removes an object; one that is gone is success.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	_, err := b.call(ctx, call{name: "DeleteObject", method: http.MethodDelete, key: key})
	if IsNotFound(err) {
		return nil
	}
	return err
}

// IsRaced reports that an object is not as the caller of Put saw it last.
func IsRaced(err error) bool {
	return among(err, "PreconditionFailed", "ConditionalRequestConflict")
}

// IsNoBucket reports that the bucket does not exist.
func IsNoBucket(err error) bool { return among(err, "NoSuchBucket") }
