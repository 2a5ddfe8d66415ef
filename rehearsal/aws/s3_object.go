package aws

import (
	"crypto/md5" //nolint:gosec // S3's entity tag of a plain object is its MD5
	"encoding/hex"
	"maps"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// bucket holds objects by key. Reads see every write at once, as in S3 since 2020.
type bucket struct {
	objects map[string]*object3
	public  map[string]bool // keys that the bucket's policy lets everybody read
}

type object3 struct {
	body       []byte
	etag       string
	encryption string // AES256 or aws:kms
	kmsKey     string
	modified   time.Time
	meta       map[string]string // x-amz-meta- headers
	checksum   map[string]string // x-amz-checksum- headers: what a client counted is given back
}

var objectOperations = map[string]operation{
	"CreateBucket":  writes((*Cloud).createBucket),
	"PutObject":     {run: (*Cloud).putObject, write: true, class: "object"},
	"GetObject":     reads((*Cloud).getObject),
	"DeleteObject":  {run: (*Cloud).deleteObject, write: true, class: "object"},
	"ListObjectsV2": reads((*Cloud).listObjects),
}

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func (c *Cloud) createBucket(req *request) (any, error) {
	name := req.vars["Bucket"]
	switch {
	case !bucketName.MatchString(name):
		return nil, fail("InvalidBucketName", "The specified bucket is not valid.")
	case c.s3[name] != nil:
		return nil, failStatus(http.StatusConflict, "BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and you already own it.")
	}
	if c.s3 == nil {
		c.s3 = map[string]*bucket{}
	}
	c.s3[name] = &bucket{objects: map[string]*object3{}}
	req.created = append(req.created, name)
	return s3Answer{header: map[string]string{"Location": "/" + name}}, nil
}

func (c *Cloud) bucketOf(req *request) (*bucket, error) {
	if b := c.s3[req.vars["Bucket"]]; b != nil {
		return b, nil
	}
	return nil, &apiError{code: "NoSuchBucket", status: http.StatusNotFound, message: "The specified bucket does not exist", fields: map[string]any{"BucketName": req.vars["Bucket"]}}
}

func noSuchKey(key string) error {
	return &apiError{code: "NoSuchKey", status: http.StatusNotFound, message: "The specified key does not exist.", fields: map[string]any{"Key": key}}
}

// putObject heeds If-None-Match: * and If-Match, as S3 does since 2024.
func (c *Cloud) putObject(req *request) (any, error) {
	b, err := c.bucketOf(req)
	if err != nil {
		return nil, err
	}
	key, h := req.vars["Key"], req.header
	old := b.objects[key]
	switch match := h.Get("If-Match"); {
	case len(key) > 1024:
		return nil, fail("KeyTooLongError", "Your key is too long")
	case h.Get("X-Amz-Acl") != "" && h.Get("X-Amz-Acl") != "bucket-owner-full-control":
		return nil, fail("AccessControlListNotSupported", "The bucket does not allow ACLs")
	case h.Get("If-None-Match") != "" && h.Get("If-None-Match") != "*":
		return nil, failStatus(http.StatusNotImplemented, "NotImplemented", "A header you provided implies functionality that is not implemented")
	case match != "" && old == nil:
		return nil, noSuchKey(key)
	case match != "" && strings.Trim(match, `"`) != strings.Trim(old.etag, `"`), h.Get("If-None-Match") == "*" && old != nil:
		return nil, &apiError{code: "PreconditionFailed", status: http.StatusPreconditionFailed, message: "At least one of the pre-conditions you specified did not hold"}
	}
	o := &object3{body: req.raw, modified: time.Now(), meta: headersOf(h, metaPrefix), checksum: headersOf(h, sumPrefix), encryption: h.Get("X-Amz-Server-Side-Encryption"), kmsKey: h.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id")}
	switch o.encryption {
	case "":
		o.encryption = "AES256"
	case "AES256", "aws:kms":
	default:
		return nil, fail("InvalidArgument", "The encryption method specified is not supported")
	}
	sum := md5.Sum(req.raw) //nolint:gosec // see above
	o.etag = `"` + hex.EncodeToString(sum[:]) + `"`
	if o.encryption == "aws:kms" { // of these the tag is not the MD5
		o.etag = `"` + digits(o.etag+o.kmsKey, 32) + `"`
	}
	b.objects[key] = o
	if old == nil {
		req.created = append(req.created, req.vars["Bucket"]+"/"+key)
	}
	return s3Answer{header: o.header()}, nil
}

const (
	metaPrefix = "X-Amz-Meta-"
	sumPrefix  = "X-Amz-Checksum-"
)

// headersOf are the headers that begin with prefix.
func headersOf(h http.Header, prefix string) map[string]string {
	out := map[string]string{}
	for k, v := range h {
		if strings.HasPrefix(k, prefix) {
			out[k] = v[0]
		}
	}
	return out
}

func (o *object3) header() map[string]string {
	h := map[string]string{"ETag": o.etag, "X-Amz-Server-Side-Encryption": o.encryption}
	maps.Copy(h, o.meta)
	maps.Copy(h, o.checksum)
	if o.kmsKey != "" {
		h["X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"] = o.kmsKey
	}
	return h
}

func (c *Cloud) getObject(req *request) (any, error) {
	b, err := c.bucketOf(req)
	if err != nil {
		return nil, err
	}
	o := b.objects[req.vars["Key"]]
	if o == nil {
		return nil, noSuchKey(req.vars["Key"])
	}
	h := o.header()
	h["Accept-Ranges"] = "bytes"
	h["Last-Modified"] = o.modified.UTC().Format(http.TimeFormat)
	return s3Answer{header: h, body: o.body}, nil
}

func (c *Cloud) deleteObject(req *request) (any, error) {
	b, err := c.bucketOf(req)
	if err != nil {
		return nil, err
	}
	if b.objects[req.vars["Key"]] != nil {
		req.deleted = append(req.deleted, req.vars["Bucket"]+"/"+req.vars["Key"])
	}
	delete(b.objects, req.vars["Key"])
	return s3Answer{status: http.StatusNoContent}, nil
}

func (c *Cloud) listObjects(req *request) (any, error) {
	b, err := c.bucketOf(req)
	if err != nil {
		return nil, err
	}
	size := 1000
	if n, err := strconv.Atoi(req.query.Get("max-keys")); err == nil && n >= 0 {
		size = min(size, n)
	}
	if c.opt.PageSize > 0 {
		size = min(size, c.opt.PageSize)
	}
	prefix := req.query.Get("prefix")
	var keys []string
	for _, k := range sortedKeys(b.objects) {
		if strings.HasPrefix(k, prefix) {
			keys = append(keys, k)
		}
	}
	page, next, err := pageOf(keys, size, req.query.Get("continuation-token"))
	if err != nil {
		return nil, fail("InvalidArgument", "The continuation token provided is incorrect")
	}
	spell := func(s string) string { return s }
	if req.query.Get("encoding-type") == "url" {
		spell = func(s string) string { return awsEscape(s, true) }
	}
	doc := []node{el("Name", req.vars["Bucket"]), el("Prefix", spell(prefix)), opt("EncodingType", req.query.Get("encoding-type")), el("KeyCount", len(page)), el("MaxKeys", size), el("IsTruncated", next != ""), opt("NextContinuationToken", next)}
	for _, k := range page {
		o := b.objects[k]
		kids := []node{el("Key", spell(k)), el("LastModified", o.modified), el("ETag", o.etag), el("Size", len(o.body)), el("StorageClass", "STANDARD")}
		for _, name := range sortedKeys(o.checksum) {
			if algorithm := strings.ToUpper(strings.TrimPrefix(name, sumPrefix)); algorithm != "TYPE" {
				kids = append(kids, el("ChecksumAlgorithm", algorithm))
			}
		}
		doc = append(doc, group("Contents", kids...))
	}
	return s3Answer{root: "ListBucketResult", doc: doc}, nil
}

// Object is a stored object as a test looks at it.
type Object struct {
	Body               []byte
	Encryption, KMSKey string
}

// Objects are the objects of a bucket by key.
func (c *Cloud) Objects(name string) map[string]Object {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]Object{}
	if b := c.s3[name]; b != nil {
		for k, o := range b.objects {
			out[k] = Object{Body: o.body, Encryption: o.encryption, KMSKey: o.kmsKey}
		}
	}
	return out
}

// MakeBucket makes a bucket from outside, as an administrator does.
func (c *Cloud) MakeBucket(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.createBucket(&request{vars: map[string]string{"Bucket": name}})
	return err
}
