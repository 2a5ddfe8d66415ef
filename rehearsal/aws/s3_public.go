package aws

import (
	"encoding/json"
	"net/url"
	"strings"
)

// Publish lets everybody read keys of a bucket, whether they exist yet or not, as an administrator does by a bucket policy with the
// block of public policies off.
func (c *Cloud) Publish(name string, keys ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := c.bucketOf(&request{vars: map[string]string{"Bucket": name}})
	if err != nil {
		return err
	}
	if b.public == nil {
		b.public = map[string]bool{}
	}
	for _, k := range keys {
		b.public[k] = true
	}
	return nil
}

// anonymous is what S3 answers an unsigned GET of an https URL: the object, if everybody may read it. What is encrypted with a KMS key is
// never for everybody. The caller holds the lock.
func (c *Cloud) anonymous(address string) ([]byte, bool) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" {
		return nil, false
	}
	end := "." + c.domain()
	bucket, key, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	switch name, region, found := strings.Cut(strings.TrimSuffix(u.Host, end), ".s3."); {
	case found && region == c.opt.Region:
		bucket, key, ok = name, strings.TrimPrefix(u.Path, "/"), true
	case u.Host != "s3."+c.opt.Region+end:
		return nil, false
	}
	b := c.s3[bucket]
	if !ok || b == nil || !b.public[key] || b.objects[key] == nil || b.objects[key].encryption == "aws:kms" {
		return nil, false
	}
	return b.objects[key].body, true
}

// publishedKeys are those of an issuer that is not a cluster of EKS: the keys that its discovery document leads to; nil where anything on
// the way is missing, not public or of another issuer.
func (c *Cloud) publishedKeys(issuer string) []byte {
	raw, ok := c.anonymous(issuer + "/.well-known/openid-configuration")
	var doc struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if !ok || json.Unmarshal(raw, &doc) != nil || doc.Issuer != issuer {
		return nil
	}
	keys, _ := c.anonymous(doc.Keys)
	return keys
}
