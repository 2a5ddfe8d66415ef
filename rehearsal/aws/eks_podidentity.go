package aws

import (
	"strings"
	"time"
)

type podIdentity struct {
	id, arn, namespace, account, role string
	tags                              map[string]string
	created                           time.Time
}

var podIdentityOperations = map[string]operation{
	"CreatePodIdentityAssociation":   writes((*Cloud).createPodIdentity, "namespace", "serviceAccount", "roleArn"),
	"DescribePodIdentityAssociation": reads((*Cloud).describePodIdentity),
	"ListPodIdentityAssociations":    reads((*Cloud).listPodIdentities),
	"UpdatePodIdentityAssociation":   writes((*Cloud).updatePodIdentity),
	"DeletePodIdentityAssociation":   writes((*Cloud).deletePodIdentity),
}

func (c *Cloud) addPodIdentity(cl *cluster, namespace, account, role string, tags map[string]string) *podIdentity {
	if tags == nil {
		tags = map[string]string{}
	}
	p := &podIdentity{id: "a-" + c.hex(17), namespace: namespace, account: account, role: role, tags: tags, created: time.Now()}
	p.arn = c.arn("eks", "podidentityassociation/"+cl.name+"/"+p.id)
	cl.pods[p.id] = p
	return p
}

func (c *Cloud) createPodIdentity(req *request) (any, error) {
	cl, err := c.clusterOf(req)
	if err != nil {
		return nil, err
	}
	b, token := req.body, text(req.body, "clientRequestToken")
	if id, err := c.once(req, token, func(id string) bool { return cl.pods[id] != nil }); err != nil {
		return nil, err
	} else if id != "" {
		return map[string]any{"association": cl.podDoc(cl.pods[id])}, nil
	}
	for _, p := range cl.pods {
		if p.namespace == text(b, "namespace") && p.account == text(b, "serviceAccount") {
			return nil, failStatus(409, "ResourceInUseException", "Association already exists: %s", p.id)
		}
	}
	if err := c.podsMayTake(text(b, "roleArn")); err != nil {
		return nil, err
	}
	p := c.addPodIdentity(cl, text(b, "namespace"), text(b, "serviceAccount"), text(b, "roleArn"), textMap(b, "tags"))
	c.remember(req, token, p.id)
	req.created = append(req.created, p.arn)
	return map[string]any{"association": cl.podDoc(p)}, nil
}

// podsMayTake refuses a role whose trust policy does not admit EKS's pods.
func (c *Cloud) podsMayTake(arn string) error {
	r := c.roleByARN(arn)
	if r == nil || time.Now().Before(r.known) || !r.trusts("pods.eks.amazonaws.com", "sts:AssumeRole") || !r.trusts("pods.eks.amazonaws.com", "sts:TagSession") {
		return fail("InvalidParameterException", "Trust policy of the role %s does not allow pods.eks.amazonaws.com to assume the role and tag the session", arn)
	}
	return nil
}

func (cl *cluster) podDoc(p *podIdentity) map[string]any {
	return map[string]any{"clusterName": cl.name, "associationId": p.id, "associationArn": p.arn, "namespace": p.namespace, "serviceAccount": p.account,
		"roleArn": p.role, "tags": p.tags, "createdAt": epoch(p.created), "modifiedAt": epoch(p.created)}
}

func (c *Cloud) podIdentityOf(req *request) (*cluster, *podIdentity, error) {
	cl, err := c.clusterOf(req)
	if err != nil {
		return nil, nil, err
	}
	p := cl.pods[req.vars["associationId"]]
	if p == nil {
		return nil, nil, failStatus(404, "ResourceNotFoundException", "No pod identity association found for id: %s", req.vars["associationId"])
	}
	return cl, p, nil
}

func (c *Cloud) describePodIdentity(req *request) (any, error) {
	cl, p, err := c.podIdentityOf(req)
	if err != nil {
		return nil, err
	}
	return map[string]any{"association": cl.podDoc(p)}, nil
}

func (c *Cloud) listPodIdentities(req *request) (any, error) {
	cl, err := c.clusterOf(req)
	if err != nil {
		return nil, err
	}
	var rows []map[string]any
	for _, id := range sortedKeys(cl.pods) {
		p := cl.pods[id]
		if ns, sa := req.query.Get("namespace"), req.query.Get("serviceAccount"); (ns == "" || ns == p.namespace) && (sa == "" || sa == p.account) {
			row := cl.podDoc(p)
			for _, k := range []string{"roleArn", "tags", "createdAt", "modifiedAt"} { // a list tells less
				delete(row, k)
			}
			rows = append(rows, row)
		}
	}
	return eksPage(c, req, "associations", rows)
}

func (c *Cloud) updatePodIdentity(req *request) (any, error) {
	cl, p, err := c.podIdentityOf(req)
	if err != nil {
		return nil, err
	}
	if arn := text(req.body, "roleArn"); arn != "" {
		if err := c.podsMayTake(arn); err != nil {
			return nil, err
		}
		p.role = arn
	}
	return map[string]any{"association": cl.podDoc(p)}, nil
}

func (c *Cloud) deletePodIdentity(req *request) (any, error) {
	cl, p, err := c.podIdentityOf(req)
	if err != nil {
		return nil, err
	}
	delete(cl.pods, p.id)
	req.deleted = append(req.deleted, p.arn)
	return map[string]any{"association": cl.podDoc(p)}, nil
}

var eksTagOperations = map[string]operation{
	"TagResource":         tags((*Cloud).tagEKS, "tags"),
	"UntagResource":       tags((*Cloud).untagEKS),
	"ListTagsForResource": reads((*Cloud).listEKSTags),
}

// tagsOf finds the tags of an EKS resource by ARN.
func (c *Cloud) tagsOf(arn string) (map[string]string, error) {
	for _, cl := range c.eks {
		if cl.arn == arn {
			return cl.tags, nil
		}
		for _, g := range cl.groups {
			if g.arn == arn {
				return g.tags, nil
			}
		}
		for _, a := range cl.addons {
			if a.arn == arn {
				return a.tags, nil
			}
		}
		for _, e := range cl.entries {
			if e.arn == arn {
				return e.tags, nil
			}
		}
		for _, p := range cl.pods {
			if p.arn == arn {
				return p.tags, nil
			}
		}
	}
	if !strings.HasPrefix(arn, "arn:"+c.partition()+":eks:") {
		return nil, fail("BadRequestException", "Invalid ARN %s", arn)
	}
	return nil, failStatus(404, "NotFoundException", "No resource found for ARN %s", arn)
}

func (c *Cloud) tagEKS(req *request) (any, error) {
	have, err := c.tagsOf(req.vars["resourceArn"])
	if err != nil {
		return nil, err
	}
	for k, v := range textMap(req.body, "tags") {
		have[k] = v
	}
	return nil, nil
}

func (c *Cloud) untagEKS(req *request) (any, error) {
	have, err := c.tagsOf(req.vars["resourceArn"])
	if err != nil {
		return nil, err
	}
	for _, k := range req.query["tagKeys"] {
		delete(have, k)
	}
	return nil, nil
}

func (c *Cloud) listEKSTags(req *request) (any, error) {
	have, err := c.tagsOf(req.vars["resourceArn"])
	if err != nil {
		return nil, err
	}
	return map[string]any{"tags": have}, nil
}
