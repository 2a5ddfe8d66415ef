package aws

import (
	"slices"
	"time"
)

type addon struct {
	name, arn, version, status, role string
	values                           string
	tags                             map[string]string
	issues                           []any
	created, modified                time.Time
	pods                             []string
	generation                       int // timers of an older generation do nothing
}

var addonOperations = map[string]operation{
	"CreateAddon":                writes((*Cloud).createAddon, "addonName"),
	"DescribeAddon":              reads((*Cloud).describeAddon),
	"ListAddons":                 reads((*Cloud).listAddons),
	"UpdateAddon":                writes((*Cloud).updateAddon),
	"DeleteAddon":                writes((*Cloud).deleteAddon),
	"DescribeAddonVersions":      reads((*Cloud).describeAddonVersions),
	"DescribeAddonConfiguration": reads((*Cloud).describeAddonConfiguration),
}

func (c *Cloud) addonOf(req *request) (*cluster, *addon, error) {
	cl, err := c.clusterOf(req)
	if err != nil {
		return nil, nil, err
	}
	a := cl.addons[req.vars["addonName"]]
	if a == nil {
		return nil, nil, failStatus(404, "ResourceNotFoundException", "No addon: %s found in cluster: %s", req.vars["addonName"], cl.name)
	}
	return cl, a, nil
}

func (c *Cloud) createAddon(req *request) (any, error) {
	cl, err := c.clusterOf(req)
	if err != nil {
		return nil, err
	}
	b := req.body
	name, token := text(b, "addonName"), text(b, "clientRequestToken")
	id, err := c.once(req, token, func(id string) bool { return cl.addons[name] != nil && cl.addons[name].arn == id })
	if err != nil {
		return nil, err
	}
	if id != "" {
		return map[string]any{"addon": c.addonDoc(cl, cl.addons[name])}, nil
	}
	row := addonNamed(name)
	switch {
	case row == nil:
		return nil, failStatus(404, "ResourceNotFoundException", "Addon %s specified is not supported", name)
	case cl.status != "ACTIVE" && cl.status != "UPDATING":
		return nil, fail("InvalidRequestException", "Cluster '%s' is not in ACTIVE status", cl.name)
	case cl.addons[name] != nil:
		return nil, failStatus(409, "ResourceInUseException", "Addon already exists.")
	case text(b, "resolveConflicts") == "PRESERVE":
		return nil, fail("InvalidParameterException", "PRESERVE is not a supported value for resolveConflicts on addon creation")
	}
	version, err := row.choose(versionNamed(cl.version), text(b, "addonVersion"))
	if err != nil {
		return nil, err
	}
	role := text(b, "serviceAccountRoleArn")
	if r := c.roleByARN(role); role != "" && (r == nil || r.arn != role || time.Now().Before(r.known)) {
		return nil, fail("InvalidParameterException", "The role %s does not exist or could not be assumed", role)
	}
	if role != "" && slices.ContainsFunc(sortedKeys(cl.pods), func(id string) bool { p := cl.pods[id]; return p.account == row.sa && p.namespace == row.ns }) {
		return nil, failStatus(409, "ResourceInUseException", "Service account %s already has a pod identity association", row.sa)
	}
	now := time.Now()
	a := &addon{name: name, arn: c.arn("eks", "addon/"+cl.name+"/"+name+"/"+c.uuid()), version: version, status: "CREATING", role: role, values: text(b, "configurationValues"), tags: textMap(b, "tags"), created: now, modified: now}
	cl.addons[name] = a
	c.remember(req, token, a.arn)
	req.created = append(req.created, a.arn)
	pods, _ := b["podIdentityAssociations"].([]any)
	for _, p := range pods {
		m, _ := p.(map[string]any)
		a.pods = append(a.pods, c.addPodIdentity(cl, row.ns, text(m, "serviceAccount"), text(m, "roleArn"), nil).arn)
	}
	c.settleAddon(req, cl, a)
	return map[string]any{"addon": c.addonDoc(cl, a)}, nil
}

// choose resolves the version of an add-on for a Kubernetes version; "" is the default.
func (a *addonRow) choose(v *kubernetesVersion, asked string) (string, error) {
	versions, dflt := a.versionsFor(v)
	if asked == "" {
		return dflt, nil
	}
	if !slices.Contains(versions, asked) {
		return "", fail("InvalidParameterException", "Addon version specified is not supported")
	}
	return asked, nil
}

// settleAddon turns an add-on ACTIVE when its pods would be Ready, else DEGRADED, and looks again only after a long while.
func (c *Cloud) settleAddon(req *request, cl *cluster, a *addon) {
	a.generation++
	generation := a.generation
	current := func() bool {
		return cl.addons[a.name] == a && a.generation == generation && a.status != "DELETING" && c.eks[cl.name] == cl
	}
	if c.addonProblem(cl, a) == "" {
		name := "eks:CreateAddon"
		if !addonNamed(a.name).iam || addonNamed(a.name).daemonSet {
			name = "eks:CreateAddonDaemonSet"
		}
		c.spend(req, name, a.arn, c.addonAfter(cl, a), func() {
			if !current() {
				return
			}
			if c.addonProblem(cl, a) != "" {
				c.settleAddon(nil, cl, a)
				return
			}
			a.status, a.issues = "ACTIVE", nil
			role := a.role
			c.tell(func() { c.world.AddonState(cl.name, a.name, role, true) })
		})
		return
	}
	wait := c.draw("eks:AddonDegraded")
	c.after(wait, func() {
		if !current() {
			return
		}
		if problem := c.addonProblem(cl, a); problem != "" {
			a.degrade(problem)
			return
		}
		c.settleAddon(nil, cl, a) // a node came in time
	})
	c.after(wait+c.draw("eks:AddonRecheck"), func() {
		if current() {
			c.settleAddon(nil, cl, a)
		}
	})
}

func (a *addon) degrade(problem string) {
	a.status = "DEGRADED"
	a.issues = []any{map[string]any{"code": "InsufficientNumberOfReplicas", "message": "The add-on is unhealthy because " + problem, "resourceIds": []string{}}}
}

// addonAfter names what the add-on truly had to wait for: a node group, and its role.
func (c *Cloud) addonAfter(cl *cluster, a *addon) []string {
	out := []string{cl.arn}
	if a.role != "" {
		out = append(out, a.role)
	}
	if !addonNamed(a.name).daemonSet {
		for _, name := range sortedKeys(cl.groups) {
			if cl.groups[name].status == "ACTIVE" {
				return append(out, cl.groups[name].arn)
			}
		}
	}
	return out
}

// addonProblem is why the add-on's pods would not be Ready; "" when they would.
func (c *Cloud) addonProblem(cl *cluster, a *addon) string {
	row := addonNamed(a.name)
	if row.daemonSet {
		return ""
	}
	ready := false
	for _, g := range cl.groups {
		ready = ready || (g.status == "ACTIVE" || g.status == "UPDATING") && len(g.instances) > 0
	}
	if !ready {
		return "it doesn't have the desired number of replicas."
	}
	if a.role == "" {
		return ""
	}
	r := c.roleByARN(a.role)
	provider := c.iamARN() + ":oidc-provider/" + cl.issuer[len("https://"):]
	claims := map[string][]string{"sub": {"system:serviceaccount:" + row.ns + ":" + row.sa}, "aud": {"sts.amazonaws.com"}}
	if r == nil || c.iam.providers[provider] == nil || !r.trustsToken(provider, cl.issuer, claims) {
		return "it doesn't have the desired number of replicas: pods of " + row.sa + " cannot assume " + a.role
	}
	return ""
}

func (c *Cloud) addonDoc(cl *cluster, a *addon) map[string]any {
	issues := a.issues
	if issues == nil {
		issues = []any{}
	}
	out := map[string]any{"addonName": a.name, "addonArn": a.arn, "clusterName": cl.name, "addonVersion": a.version, "status": a.status, "createdAt": epoch(a.created),
		"modifiedAt": epoch(a.modified), "tags": a.tags, "health": map[string]any{"issues": issues}, "owner": "aws", "publisher": "eks", "podIdentityAssociations": append([]string{}, a.pods...)}
	if a.role != "" {
		out["serviceAccountRoleArn"] = a.role
	}
	if a.values != "" {
		out["configurationValues"] = a.values
	}
	return out
}

func (c *Cloud) describeAddon(req *request) (any, error) {
	cl, a, err := c.addonOf(req)
	if err != nil {
		return nil, err
	}
	return map[string]any{"addon": c.addonDoc(cl, a)}, nil
}

func (c *Cloud) listAddons(req *request) (any, error) {
	cl, err := c.clusterOf(req)
	if err != nil {
		return nil, err
	}
	return eksPage(c, req, "addons", sortedKeys(cl.addons))
}

func (c *Cloud) updateAddon(req *request) (any, error) {
	cl, a, err := c.addonOf(req)
	if err != nil {
		return nil, err
	}
	b := req.body
	token := text(b, "clientRequestToken")
	if id, err := c.once(req, token, func(id string) bool { return cl.updates[id] != nil }); err != nil || id != "" {
		return clusterUpdate(cl, id), err
	}
	if a.status != "ACTIVE" && a.status != "DEGRADED" && a.status != "CREATE_FAILED" && a.status != "UPDATE_FAILED" {
		return nil, failStatus(409, "ResourceInUseException", "Addon %s cannot be updated as it is currently in %s state", a.name, a.status)
	}
	version := a.version
	if asked := text(b, "addonVersion"); asked != "" {
		if version, err = addonNamed(a.name).choose(versionNamed(cl.version), asked); err != nil {
			return nil, err
		}
	}
	if role, ok := b["serviceAccountRoleArn"].(string); ok {
		a.role = role
	}
	if v, ok := b["configurationValues"].(string); ok {
		a.values = v
	}
	u := c.startUpdate(req, cl, "AddonUpdate", map[string]string{"AddonVersion": version})
	u.addon = a.name
	c.remember(req, token, u.id)
	a.status, a.modified = "UPDATING", time.Now()
	a.generation++
	c.spend(req, "eks:UpdateAddon", a.arn, nil, func() {
		u.status, a.version = "Successful", version
		if problem := c.addonProblem(cl, a); problem != "" {
			a.degrade(problem)
			c.settleAddon(nil, cl, a)
			return
		}
		a.status, a.issues = "ACTIVE", nil
		role := a.role
		c.tell(func() { c.world.AddonState(cl.name, a.name, role, true) })
	})
	return u.doc(), nil
}

func (c *Cloud) deleteAddon(req *request) (any, error) {
	cl, a, err := c.addonOf(req)
	if err != nil {
		return nil, err
	}
	if a.status == "DELETING" {
		return map[string]any{"addon": c.addonDoc(cl, a)}, nil
	}
	a.status = "DELETING"
	req.deleted = append(req.deleted, a.arn)
	preserve := req.query.Get("preserve") == "true"
	c.spend(req, "eks:DeleteAddon", a.arn, nil, func() {
		delete(cl.addons, a.name)
		if !preserve {
			c.tell(func() { c.world.AddonState(cl.name, a.name, "", false) })
		}
	})
	return map[string]any{"addon": c.addonDoc(cl, a)}, nil
}
