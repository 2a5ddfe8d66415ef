package aws

import (
	"slices"
	"strings"
	"time"
)

// EKS Auth: what the Pod Identity agent of a node asks for a pod.
var podSessionOperations = map[string]operation{
	"AssumeRoleForPodIdentity": {run: (*Cloud).assumeRoleForPodIdentity, class: "token", prepare: (*Cloud).fetchClusterKeys, need: []string{"token"}},
}

// podAudience is what a token must be made out to.
const podAudience = "pods.eks.amazonaws.com"

func invalidToken(why string) error {
	return fail("InvalidTokenException", "The token included in the request is invalid: %s", why)
}

// fetchClusterKeys asks the World for the key set of the cluster that the call names, without holding the lock.
func (c *Cloud) fetchClusterKeys(req *request) error {
	c.mu.Lock()
	cl, err := c.clusterOf(req)
	world := c.world
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if req.jwks, err = world.JWKS(c.ctx, cl.name); err != nil {
		return failStatus(503, "ServiceUnavailableException", "The service is unavailable: %v", err)
	}
	return nil
}

// assumeRoleForPodIdentity takes the token of a pod of the cluster, and gives what its service account is associated with. How AWS words a
// token that it does not take is not known to us; what it says of a role that EKS may not assume is.
func (c *Cloud) assumeRoleForPodIdentity(req *request) (any, error) {
	cl, err := c.clusterOf(req)
	if err != nil {
		return nil, err
	}
	t, _, err := readToken(text(req.body, "token"))
	switch {
	case err != nil:
		return nil, invalidToken("it is not a JWT")
	case t.Issuer != cl.issuer || !t.verify(req.jwks):
		return nil, invalidToken("it is not of cluster " + cl.name)
	case !slices.Contains(t.Audience, podAudience):
		return nil, invalidToken("its audience is not " + podAudience)
	case t.Bound.Pod == nil:
		return nil, invalidToken("it is not bound to a pod")
	case float64(time.Now().Unix()) > t.Expires:
		return nil, fail("ExpiredTokenException", "The token included in the request is expired: current date/time %s must be before the expiration date/time %s",
			time.Now().UTC().Format(time.RFC3339), time.Unix(int64(t.Expires), 0).UTC().Format(time.RFC3339))
	}
	p := c.associationFor(cl, t.Subject)
	if p == nil {
		return nil, failStatus(404, "ResourceNotFoundException", "No pod identity association found for %s", t.Subject)
	}
	r := c.roleByARN(p.role)
	if r == nil || time.Now().Before(r.known) || !r.trusts(podAudience, "sts:AssumeRole") || !r.trusts(podAudience, "sts:TagSession") {
		return nil, fail("AccessDeniedException", "Unauthorized Exception! EKS does not have permissions to assume the associated role.")
	}
	k := c.newSession(r, "eks-"+cl.name+"-"+t.Bound.Pod.Name+"-"+c.uuid(), 6*time.Hour)
	c.podsOf[k.Principal] = cl.name
	return map[string]any{
		"subject": map[string]any{"namespace": p.namespace, "serviceAccount": p.account}, "audience": podAudience,
		"podIdentityAssociation": map[string]any{"associationArn": p.arn, "associationId": p.id},
		"assumedRoleUser":        map[string]any{"arn": k.Principal, "assumeRoleId": r.id + ":" + k.Principal[strings.LastIndex(k.Principal, "/")+1:]},
		"credentials":            map[string]any{"accessKeyId": k.ID, "secretAccessKey": k.Secret, "sessionToken": k.Token, "expiration": epoch(k.Expires)},
	}, nil
}

// associationFor is that of a service account, as tokens name it.
func (c *Cloud) associationFor(cl *cluster, subject string) *podIdentity {
	for _, p := range cl.pods {
		if subject == "system:serviceaccount:"+p.namespace+":"+p.account {
			return p
		}
	}
	return nil
}
