package aws

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// signature is what a signed request claims, from the Authorization header or from the query of a presigned URL.
type signature struct {
	key, date, region, service string
	signed                     []string
	value, token               string
	when                       time.Time
	expires                    time.Duration
	presigned                  bool
}

const (
	amzDate = "20060102T150405Z"
	skew    = 5 * time.Minute
)

// readSignature returns nil where the request is not signed at all.
func readSignature(r *http.Request) (*signature, error) {
	s := &signature{}
	var scope, date string
	if q := r.URL.Query(); q.Has("X-Amz-Signature") {
		s.presigned = true
		scope, date, s.value, s.token = q.Get("X-Amz-Credential"), q.Get("X-Amz-Date"), q.Get("X-Amz-Signature"), q.Get("X-Amz-Security-Token")
		s.signed = strings.Split(q.Get("X-Amz-SignedHeaders"), ";")
		n, err := strconv.Atoi(q.Get("X-Amz-Expires"))
		if err != nil {
			n = 60
		}
		s.expires = time.Duration(n) * time.Second
	} else {
		h := r.Header.Get("Authorization")
		if h == "" {
			return nil, nil
		}
		rest, ok := strings.CutPrefix(h, "AWS4-HMAC-SHA256 ")
		if !ok {
			return nil, fail("IncompleteSignature", "Unsupported AWS 'algorithm'")
		}
		for part := range strings.SplitSeq(rest, ",") {
			k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
			switch k {
			case "Credential":
				scope = v
			case "SignedHeaders":
				s.signed = strings.Split(v, ";")
			case "Signature":
				s.value = v
			}
		}
		date, s.token = r.Header.Get("X-Amz-Date"), r.Header.Get("X-Amz-Security-Token")
	}
	f := strings.Split(scope, "/")
	if len(f) != 5 || f[4] != "aws4_request" {
		return nil, fail("IncompleteSignature", "Credential must have exactly 5 slash-delimited elements, got %q", scope)
	}
	s.key, s.date, s.region, s.service = f[0], f[1], f[2], f[3]
	when, err := time.Parse(amzDate, date)
	if err != nil {
		return nil, fail("IncompleteSignature", "Date must be in ISO-8601 'basic format'. Got '%s'.", date)
	}
	s.when = when
	return s, nil
}

// sign computes the signature that the secret gives for the request as received.
func (s *signature) sign(r *http.Request, body []byte, secret string) string {
	canonical := strings.Join([]string{
		r.Method, s.canonicalPath(r.URL), canonicalQuery(r.URL.Query()),
		s.canonicalHeaders(r), strings.Join(s.signed, ";"), payloadHash(r, body, s.presigned),
	}, "\n")
	sum := sha256.Sum256([]byte(canonical))
	scope := s.date + "/" + s.region + "/" + s.service + "/aws4_request"
	toSign := "AWS4-HMAC-SHA256\n" + s.when.Format(amzDate) + "\n" + scope + "\n" + hex.EncodeToString(sum[:])
	key := []byte("AWS4" + secret)
	for _, part := range []string{s.date, s.region, s.service, "aws4_request", toSign} {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(part))
		key = m.Sum(nil)
	}
	return hex.EncodeToString(key)
}

func payloadHash(r *http.Request, body []byte, presigned bool) string {
	if h := r.Header.Get("X-Amz-Content-Sha256"); h != "" && !presigned {
		return h
	}
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// canonicalPath escapes the already escaped path once more, as all services but S3 want it.
func (s *signature) canonicalPath(u *url.URL) string {
	if s.service == "s3" {
		return s3Path(u)
	}
	p := u.EscapedPath()
	if p == "" {
		return "/"
	}
	return awsEscape(p, true)
}

func canonicalQuery(q url.Values) string {
	var pairs []string
	for k, vs := range q {
		if k == "X-Amz-Signature" {
			continue
		}
		for _, v := range vs {
			pairs = append(pairs, awsEscape(k, false)+"="+awsEscape(v, false))
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

func (s *signature) canonicalHeaders(r *http.Request) string {
	var b strings.Builder
	for _, h := range s.signed {
		var v string
		switch h {
		case "host":
			v = r.Host
		case "content-length":
			v = strconv.FormatInt(r.ContentLength, 10)
		default:
			vs := slices.Clone(r.Header.Values(h))
			for i := range vs {
				vs[i] = strings.Join(strings.Fields(vs[i]), " ")
			}
			v = strings.Join(vs, ",")
		}
		b.WriteString(h + ":" + v + "\n")
	}
	return b.String()
}

func awsEscape(s string, keepSlash bool) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~', c == '/' && keepSlash:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
		}
	}
	return b.String()
}

// authCodes names the same refusals as each family of services does.
var authCodes = map[protocol]struct{ unknown, mismatch, expired, missing string }{
	ec2Query: {"AuthFailure", "SignatureDoesNotMatch", "RequestExpired", "MissingAuthenticationToken"},
	awsQuery: {"InvalidClientTokenId", "SignatureDoesNotMatch", "ExpiredToken", "MissingAuthenticationToken"},
	restJSON: {"UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException", "MissingAuthenticationTokenException"},
	restXML:  {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "AccessDenied"},
	json11:   {"UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException", "MissingAuthenticationTokenException"},
}

// authenticate verifies the request's signature and returns the principal's ARN.
// maxAge widens the life of a presigned URL: EKS accepts its tokens for 15 minutes whatever X-Amz-Expires says.
func (c *Cloud) authenticate(s *signature, r *http.Request, body []byte, service string, maxAge time.Duration) (*AccessKey, error) {
	codes := authCodes[protocols[service]]
	if s == nil {
		return nil, failStatus(403, codes.missing, "Request is missing Authentication Token")
	}
	c.mu.Lock()
	key := c.access[s.key]
	c.mu.Unlock()
	if key == nil {
		return nil, failStatus(403, codes.unknown, "The security token included in the request is invalid.")
	}
	if key.Token != s.token {
		return nil, failStatus(403, codes.unknown, "The security token included in the request is invalid.")
	}
	if !key.Expires.IsZero() && time.Now().After(key.Expires) {
		return nil, failStatus(403, codes.expired, "The security token included in the request is expired")
	}
	if !hmac.Equal([]byte(s.sign(r, body, key.Secret)), []byte(s.value)) {
		return nil, failStatus(403, codes.mismatch, "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	now := time.Now().UTC()
	oldest := now.Add(-skew)
	if s.presigned {
		oldest = now.Add(-max(s.expires, maxAge))
	}
	if s.when.Before(oldest) || s.when.After(now.Add(skew)) {
		code := codes.mismatch
		if protocols[service] == ec2Query {
			code = "RequestExpired"
		}
		return nil, failStatus(403, code, "Signature expired: %s is now earlier than %s (%s - 5 min.)", s.when.Format(amzDate), oldest.Format(amzDate), now.Format(amzDate))
	}
	if s.region != c.opt.Region && service == "s3" {
		return nil, regionMismatch(s.region, c.opt.Region)
	}
	if s.region != c.opt.Region && service != "iam" && s.region != "us-east-1" {
		return nil, failStatus(403, codes.mismatch, "Credential should be scoped to a valid region, not '%s'.", s.region)
	}
	return key, nil
}
