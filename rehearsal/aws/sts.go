package aws

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"time"
)

var stsOperations = map[string]operation{
	"GetCallerIdentity":         {run: (*Cloud).getCallerIdentity, class: "token"},
	"AssumeRole":                {run: (*Cloud).assumeRole, class: "token", need: []string{"RoleArn", "RoleSessionName"}},
	"AssumeRoleWithWebIdentity": {run: (*Cloud).assumeRoleWithWebIdentity, class: "token", prepare: (*Cloud).fetchKeys, need: []string{"RoleArn", "RoleSessionName", "WebIdentityToken"}},
}

func (c *Cloud) getCallerIdentity(req *request) (any, error) {
	id := "AIDAREHEARSAL"
	if r := c.roleByARN(identityOf(req.principal)); r != nil {
		id = r.id + ":" + req.principal[strings.LastIndex(req.principal, "/")+1:]
	}
	return []node{el("Arn", req.principal), el("UserId", id), el("Account", c.opt.Account)}, nil
}

// issue makes temporary credentials for a session of a role.
func (c *Cloud) issue(req *request, r *role) (*AccessKey, error) {
	seconds, err := number(req, "DurationSeconds", 3600)
	if err != nil || seconds < 900 || seconds > r.session {
		return nil, fail("ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	return c.newSession(r, req.form.Get("RoleSessionName"), time.Duration(seconds)*time.Second), nil
}

func (c *Cloud) newSession(r *role, name string, lasts time.Duration) *AccessKey {
	k := &AccessKey{ID: "ASIA" + strings.ToUpper(c.hex(16)), Secret: base64.StdEncoding.EncodeToString([]byte(c.hex(30))), Token: "IQoJ" + c.hex(60),
		Principal: c.inPartition("sts") + ":" + c.opt.Account + ":assumed-role/" + r.name + "/" + name,
		Expires:   time.Now().Add(lasts)}
	c.access[k.ID] = k
	return k
}

func sessionNodes(r *role, k *AccessKey, more ...node) []node {
	session := k.Principal[strings.LastIndex(k.Principal, "/")+1:]
	return append([]node{group("Credentials", el("AccessKeyId", k.ID), el("SecretAccessKey", k.Secret), el("SessionToken", k.Token), el("Expiration", k.Expires)),
		group("AssumedRoleUser", el("Arn", k.Principal), el("AssumedRoleId", r.id+":"+session)), el("PackedPolicySize", 1)}, more...)
}

func (c *Cloud) assumeRole(req *request) (any, error) {
	arn := req.form.Get("RoleArn")
	refused := failStatus(403, "AccessDenied", "User: %s is not authorized to perform: sts:AssumeRole on resource: %s", req.principal, arn)
	r := c.roleByARN(arn)
	if r == nil || time.Now().Before(r.known) {
		return nil, refused
	}
	statements, err := parsePolicy(r.trust)
	if err != nil {
		return nil, refused
	}
	who, root := identityOf(req.principal), c.iamARN()+":root"
	for _, s := range statements {
		p := s.Principal["AWS"]
		if s.Effect == "Allow" && matchesAny(s.Action, "sts:AssumeRole") &&
			(slices.Contains(p, who) || slices.Contains(p, root) || slices.Contains(p, c.opt.Account) || slices.Contains(p, "*")) {
			k, err := c.issue(req, r)
			if err != nil {
				return nil, err
			}
			return sessionNodes(r, k), nil
		}
	}
	return nil, refused
}

// fetchKeys asks the World for the key set of the cluster that issued the token, without holding the lock.
func (c *Cloud) fetchKeys(req *request) error {
	claims, _, err := readToken(req.form.Get("WebIdentityToken"))
	if err != nil {
		return err
	}
	c.mu.Lock()
	cl := c.clusterOfIssuer(claims.Issuer)
	world := c.world
	c.mu.Unlock()
	if cl == nil { // whether the provider is registered decides the error
		c.mu.Lock()
		defer c.mu.Unlock()
		req.jwks = c.publishedKeys(claims.Issuer)
		return nil
	}
	keys, err := world.JWKS(c.ctx, cl.name)
	if err != nil {
		return fail("IDPCommunicationError", "Error communicating with IDP: %v", err)
	}
	req.jwks = keys
	return nil
}

type webToken struct {
	Issuer   string    `json:"iss"`
	Subject  string    `json:"sub"`
	Audience oneOrMany `json:"aud"`
	Expires  float64   `json:"exp"`
	Bound    struct {
		Namespace      string                      `json:"namespace"`
		Pod            *struct{ Name, UID string } `json:"pod"`
		ServiceAccount struct{ Name string }       `json:"serviceaccount"`
	} `json:"kubernetes.io"`
	kid    string
	signed string
	value  []byte
}

func readToken(s string) (*webToken, string, error) {
	bad := fail("InvalidIdentityToken", "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)")
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return nil, "", bad
	}
	var header struct{ Alg, Kid string }
	var t webToken
	for i, into := range []any{&header, &t} {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(b, into) != nil {
			return nil, "", bad
		}
	}
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || header.Alg != "RS256" {
		return nil, "", bad
	}
	t.kid, t.signed, t.value = header.Kid, parts[0]+"."+parts[1], sig
	return &t, header.Kid, nil
}

// verify checks the RS256 signature against a JSON Web Key Set.
func (t *webToken) verify(jwks []byte) bool {
	var set struct {
		Keys []struct{ Kid, Kty, N, E string }
	}
	if json.Unmarshal(jwks, &set) != nil {
		return false
	}
	sum := sha256.Sum256([]byte(t.signed))
	for _, k := range set.Keys {
		if k.Kty != "RSA" || t.kid != "" && k.Kid != t.kid {
			continue
		}
		n, err1 := base64.RawURLEncoding.DecodeString(k.N)
		e, err2 := base64.RawURLEncoding.DecodeString(k.E)
		if err1 != nil || err2 != nil {
			continue
		}
		pub := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
		if rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum[:], t.value) == nil {
			return true
		}
	}
	return false
}

func (c *Cloud) assumeRoleWithWebIdentity(req *request) (any, error) {
	t, _, err := readToken(req.form.Get("WebIdentityToken"))
	if err != nil {
		return nil, err
	}
	arn := c.iamARN() + ":oidc-provider/" + strings.TrimPrefix(t.Issuer, "https://")
	p := c.iam.providers[arn]
	if p == nil {
		return nil, fail("InvalidIdentityToken", "No OpenIDConnect provider found in your account for %s", t.Issuer)
	}
	if req.jwks == nil {
		return nil, fail("InvalidIdentityToken", "Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements")
	}
	if !t.verify(req.jwks) {
		return nil, fail("InvalidIdentityToken", "The ID Token provided is not a valid JWT: its signature does not match the keys of %s", t.Issuer)
	}
	if float64(time.Now().Unix()) > t.Expires {
		return nil, fail("ExpiredTokenException", "Token expired: current date/time %d must be before the expiration date/time %d", time.Now().Unix(), int64(t.Expires))
	}
	if !slices.ContainsFunc(t.Audience, func(a string) bool { return slices.Contains(p.clients, a) }) {
		return nil, fail("InvalidIdentityToken", "Incorrect token audience")
	}
	r := c.roleByARN(req.form.Get("RoleArn"))
	propagated := r != nil && !time.Now().Before(r.known) && (r.changed.Equal(r.created) || c.opt.NoLag || time.Since(r.changed) > c.scaled(c.nominal("iam:propagation")))
	if !propagated || !r.trustsToken(arn, t.Issuer, map[string][]string{"sub": {t.Subject}, "aud": t.Audience}) {
		return nil, failStatus(403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
	}
	k, err := c.issue(req, r)
	if err != nil {
		return nil, err
	}
	req.principal = k.Principal
	return sessionNodes(r, k, el("SubjectFromWebIdentityToken", t.Subject), el("Audience", t.Audience[0]), el("Provider", arn)), nil
}
