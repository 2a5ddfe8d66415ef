package aws

import (
	"strings"
	"time"
)

// provider is an OpenID Connect provider; its ARN ends in the issuer without scheme.
type provider struct {
	arn, url    string
	clients     []string
	thumbprints []string
	tags        map[string]string
	created     time.Time
}

var providerOperations = map[string]operation{
	"CreateOpenIDConnectProvider":             writes((*Cloud).createProvider, "Url"),
	"GetOpenIDConnectProvider":                reads((*Cloud).getProvider, "OpenIDConnectProviderArn"),
	"ListOpenIDConnectProviders":              reads((*Cloud).listProviders),
	"DeleteOpenIDConnectProvider":             writes((*Cloud).deleteProvider, "OpenIDConnectProviderArn"),
	"TagOpenIDConnectProvider":                tags((*Cloud).tagProvider, "OpenIDConnectProviderArn"),
	"UntagOpenIDConnectProvider":              tags((*Cloud).untagProvider, "OpenIDConnectProviderArn"),
	"ListOpenIDConnectProviderTags":           reads((*Cloud).listProviderTags, "OpenIDConnectProviderArn"),
	"AddClientIDToOpenIDConnectProvider":      writes((*Cloud).addClient, "OpenIDConnectProviderArn", "ClientID"),
	"RemoveClientIDFromOpenIDConnectProvider": writes((*Cloud).removeClient, "OpenIDConnectProviderArn", "ClientID"),
}

func (c *Cloud) createProvider(req *request) (any, error) {
	raw := req.form.Get("Url")
	host, ok := strings.CutPrefix(raw, "https://")
	if !ok {
		return nil, fail("ValidationError", "Invalid Open ID Connect Provider URL")
	}
	host = strings.TrimSuffix(host, "/")
	arn := c.iamARN() + ":oidc-provider/" + host
	if c.iam.providers[arn] != nil {
		return nil, failStatus(409, "EntityAlreadyExists", "Provider with url %s already exists.", raw)
	}
	if len(c.iam.providers) >= c.quota("L-858F3967") {
		return nil, failStatus(409, "LimitExceeded", "Cannot exceed quota for OpenIdConnectProvidersPerAccount: %d", c.quota("L-858F3967"))
	}
	cl := c.clusterOfIssuer("https://" + host)
	if strings.HasPrefix(host, "oidc.eks.") && cl == nil {
		return nil, fail("OpenIdIdpCommunicationError", "OpenID Connect IdP https://%s/.well-known/openid-configuration could not be reached", host)
	}
	p := &provider{arn: arn, url: host, clients: list(req, "ClientIDList.member"), thumbprints: list(req, "ThumbprintList.member"), tags: memberTags(req), created: time.Now()}
	if len(p.thumbprints) == 0 {
		p.thumbprints = []string{"9e99a48a9960b14926bb7f3b02e22da2b0ab7280"}
	}
	c.iam.providers[arn] = p
	if cl != nil {
		c.span(req, "iam:CreateOpenIDConnectProvider", arn, 0, []string{cl.arn})
	}
	req.created = append(req.created, arn)
	return []node{el("OpenIDConnectProviderArn", arn), memberTagNodes(p.tags)}, nil
}

func (c *Cloud) providerOf(req *request) (*provider, error) {
	arn := req.form.Get("OpenIDConnectProviderArn")
	if p := c.iam.providers[arn]; p != nil {
		return p, nil
	}
	return nil, failStatus(404, "NoSuchEntity", "OpenIDConnect Provider not found for arn %s", arn)
}

func (c *Cloud) getProvider(req *request) (any, error) {
	p, err := c.providerOf(req)
	if err != nil {
		return nil, err
	}
	return []node{el("Url", p.url), members("ClientIDList", texts(p.clients)...), members("ThumbprintList", texts(p.thumbprints)...), el("CreateDate", p.created), memberTagNodes(p.tags)}, nil
}

func (c *Cloud) listProviders(*request) (any, error) {
	var rows []node
	for _, arn := range sortedKeys(c.iam.providers) {
		rows = append(rows, group("", el("Arn", arn)))
	}
	return []node{members("OpenIDConnectProviderList", rows...)}, nil
}

// deleteProvider is the one IAM delete that succeeds when there is nothing, but for a malformed ARN.
func (c *Cloud) deleteProvider(req *request) (any, error) {
	arn := req.form.Get("OpenIDConnectProviderArn")
	if !strings.Contains(arn, ":oidc-provider/") {
		return nil, fail("InvalidInput", "Invalid ARN:  Could not be parsed!")
	}
	if _, ok := c.iam.providers[arn]; ok {
		req.deleted = append(req.deleted, arn)
	}
	delete(c.iam.providers, arn)
	return nil, nil
}

func (c *Cloud) tagProvider(req *request) (any, error) {
	p, err := c.providerOf(req)
	if err != nil {
		return nil, err
	}
	for k, v := range memberTags(req) {
		p.tags[k] = v
	}
	return nil, nil
}

func (c *Cloud) untagProvider(req *request) (any, error) {
	p, err := c.providerOf(req)
	if err != nil {
		return nil, err
	}
	for _, k := range list(req, "TagKeys.member") {
		delete(p.tags, k)
	}
	return nil, nil
}

func (c *Cloud) listProviderTags(req *request) (any, error) {
	p, err := c.providerOf(req)
	if err != nil {
		return nil, err
	}
	return marked(c, req, "Tags", memberTagNodes(p.tags).kids)
}

func (c *Cloud) addClient(req *request) (any, error) {
	p, err := c.providerOf(req)
	if err != nil {
		return nil, err
	}
	id := req.form.Get("ClientID")
	for _, have := range p.clients {
		if have == id {
			return nil, nil
		}
	}
	p.clients = append(p.clients, id)
	return nil, nil
}

func (c *Cloud) removeClient(req *request) (any, error) {
	p, err := c.providerOf(req)
	if err != nil {
		return nil, err
	}
	var kept []string
	for _, have := range p.clients {
		if have != req.form.Get("ClientID") {
			kept = append(kept, have)
		}
	}
	p.clients = kept
	return nil, nil
}
