package aws

import (
	"slices"
	"strings"
	"time"
)

func (c *Cloud) deleteCluster(req *request) (any, error) {
	cl, err := c.clusterOf(req)
	if err != nil {
		return nil, err
	}
	inUse := func(format string, args ...any) error {
		return failStatus(409, "ResourceInUseException", format, args...)
	}
	switch {
	case cl.protected:
		return nil, fail("InvalidRequestException", "Cluster %s has deletion protection enabled", cl.name)
	case len(cl.groups) > 0:
		return nil, inUse("Cluster has nodegroups attached")
	case cl.status == "CREATING":
		return nil, inUse("Cannot delete because cluster %s is currently being created", cl.name)
	case cl.status == "UPDATING":
		return nil, inUse("Cannot delete because cluster %s currently has an update in progress", cl.name)
	case cl.status == "DELETING":
		return map[string]any{"cluster": c.clusterDoc(cl)}, nil
	}
	cl.status = "DELETING"
	req.deleted = append(req.deleted, cl.arn)
	for _, name := range sortedKeys(cl.addons) {
		cl.addons[name].status = "DELETING"
		c.tell(func() { c.world.AddonState(cl.name, name, "", false) })
	}
	c.spend(req, "eks:DeleteCluster", cl.arn, nil, func() { c.clusterGone(cl) })
	return map[string]any{"cluster": c.clusterDoc(cl)}, nil
}

// clusterGone removes the cluster with what EKS made for it. Its security group stays where something still uses it.
func (c *Cloud) clusterGone(cl *cluster) {
	for _, id := range cl.interfaces {
		c.ec2.interfaces.remove(id)
	}
	if !c.groupInUse(cl.group) {
		c.ec2.groups.remove(cl.group)
	}
	delete(c.eks, cl.name)
	c.tell(func() { c.world.ClusterDeleted(cl.name) })
}

// startUpdate records an update; a cluster does one at a time.
func (c *Cloud) startUpdate(req *request, cl *cluster, kind string, params map[string]string) *update {
	u := &update{id: c.uuid(), kind: kind, status: "InProgress", created: time.Now()}
	for _, k := range sortedKeys(params) {
		u.params = append(u.params, map[string]any{"type": k, "value": params[k]})
	}
	cl.updates[u.id] = u
	cl.updateOrder = append(cl.updateOrder, u.id)
	return u
}

func (u *update) doc() map[string]any {
	params := u.params
	if params == nil {
		params = []map[string]any{}
	}
	return map[string]any{"update": map[string]any{"id": u.id, "status": u.status, "type": u.kind, "createdAt": epoch(u.created), "params": params, "errors": append([]any{}, u.errors...)}}
}

// updatable is nil when a cluster can take a change now.
func (cl *cluster) updatable() error {
	if cl.status == "ACTIVE" {
		return nil
	}
	if cl.status == "UPDATING" {
		return failStatus(409, "ResourceInUseException", "Cannot update because cluster %s currently has an update in progress", cl.name)
	}
	return failStatus(409, "ResourceInUseException", "Cluster %s is not in ACTIVE state but %s", cl.name, cl.status)
}

// clusterChange is an update of a cluster: what describeUpdate calls it, how long it takes, and what it does in the end.
type clusterChange struct {
	kind   string
	params map[string]string
	takes  string // name of a duration
	apply  func()
}

// changeCluster is what all updates of a cluster have in common: one at a time, and one for each client token. decide refuses, or says what
// is to be done.
func (c *Cloud) changeCluster(req *request, decide func(cl *cluster) (clusterChange, error)) (any, error) {
	cl, err := c.clusterOf(req)
	if err != nil {
		return nil, err
	}
	token := text(req.body, "clientRequestToken")
	if id, err := c.once(req, token, func(id string) bool { return cl.updates[id] != nil }); err != nil || id != "" {
		return clusterUpdate(cl, id), err
	}
	if err := cl.updatable(); err != nil {
		return nil, err
	}
	change, err := decide(cl)
	if err != nil {
		return nil, err
	}
	u := c.startUpdate(req, cl, change.kind, change.params)
	c.remember(req, token, u.id)
	cl.status = "UPDATING"
	c.spend(req, change.takes, cl.arn, nil, func() { change.apply(); cl.status, u.status = "ACTIVE", "Successful" })
	return u.doc(), nil
}

func (c *Cloud) updateClusterConfig(req *request) (any, error) {
	return c.changeCluster(req, func(cl *cluster) (clusterChange, error) {
		b := req.body
		var kinds []string
		for _, k := range []string{"resourcesVpcConfig", "logging", "accessConfig", "upgradePolicy", "zonalShiftConfig", "computeConfig", "deletionProtection"} {
			if b[k] != nil {
				kinds = append(kinds, k)
			}
		}
		if len(kinds) != 1 {
			return clusterChange{}, fail("InvalidParameterException", "Only one type of update can be allowed at a time, got %v", kinds)
		}
		kind, apply, err := c.configChange(cl, kinds[0], b)
		return clusterChange{kind: kind, takes: "eks:UpdateClusterConfig", apply: func() { apply(); c.writeLogs(cl) }}, err
	})
}

func clusterUpdate(cl *cluster, id string) any {
	if u := cl.updates[id]; u != nil {
		return u.doc()
	}
	return nil
}

// configChange checks one kind of change and returns what applies it.
func (c *Cloud) configChange(cl *cluster, field string, b map[string]any) (string, func(), error) {
	change := object(b, field)
	switch field {
	case "resourcesVpcConfig":
		if len(textList(change, "subnetIds")) > 0 || len(textList(change, "securityGroupIds")) > 0 {
			return "VpcConfigUpdate", func() {}, nil
		}
		now, next := object(cl.doc, "resourcesVpcConfig"), map[string]any{}
		for k, v := range now {
			next[k] = v
		}
		setEndpoint(next, change)
		if next["endpointPublicAccess"] == false && next["endpointPrivateAccess"] == false {
			return "", nil, fail("InvalidParameterException", "Private and public endpoint access cannot be false")
		}
		if same(now, next, "endpointPublicAccess", "endpointPrivateAccess") && strings.Join(cidrsOf(now), ",") == strings.Join(cidrsOf(next), ",") {
			return "", nil, fail("InvalidParameterException", "Cluster is already at the desired configuration with endpointPrivateAccess: %v , endpointPublicAccess: %v, and Public Endpoint Restrictions: %v",
				now["endpointPrivateAccess"], now["endpointPublicAccess"], now["publicAccessCidrs"])
		}
		return "EndpointAccessUpdate", func() { cl.doc["resourcesVpcConfig"] = next }, nil
	case "logging":
		return "LoggingUpdate", func() { cl.doc["logging"] = loggingOf(change) }, nil
	case "accessConfig":
		mode := text(change, "authenticationMode")
		order := []string{"CONFIG_MAP", "API_AND_CONFIG_MAP", "API"}
		if slices.Index(order, mode) < slices.Index(order, cl.mode) {
			return "", nil, fail("InvalidParameterException", "Unsupported authentication mode update from %s to %s", cl.mode, mode)
		}
		return "AccessConfigUpdate", func() { cl.mode = mode; object(cl.doc, "accessConfig")["authenticationMode"] = mode }, nil
	case "deletionProtection":
		on := flag(b, field)
		return "DeletionProtectionUpdate", func() { cl.protected = on; cl.doc["deletionProtection"] = on }, nil
	case "upgradePolicy":
		return "UpgradePolicyUpdate", func() { cl.doc["upgradePolicy"] = change }, nil
	}
	return "ZonalShiftConfigUpdate", func() { cl.doc[field] = change }, nil
}

func cidrsOf(m map[string]any) []string { l, _ := m["publicAccessCidrs"].([]string); return l }

func same(a, b map[string]any, keys ...string) bool {
	return !slices.ContainsFunc(keys, func(k string) bool { return a[k] != b[k] })
}

func (c *Cloud) updateClusterVersion(req *request) (any, error) {
	return c.changeCluster(req, func(cl *cluster) (clusterChange, error) {
		to, from := versionNamed(text(req.body, "version")), versionNamed(cl.version)
		if to == nil || to.status(c.opt.Today) == "UNSUPPORTED" || to.minor() != from.minor()+1 {
			return clusterChange{}, fail("InvalidParameterException", "Unsupported Kubernetes minor version update from %s to %s", cl.version, text(req.body, "version"))
		}
		var behind []string
		for _, name := range sortedKeys(cl.groups) {
			if g := cl.groups[name]; g.ami != "CUSTOM" && text(g.doc, "version") != cl.version {
				behind = append(behind, name)
			}
		}
		if len(behind) > 0 {
			return clusterChange{}, fail("InvalidRequestException", "Nodegroups %s must be updated to match cluster version %s before updating cluster version", strings.Join(behind, ", "), cl.version)
		}
		return clusterChange{
			kind: "VersionUpdate", params: map[string]string{"Version": to.name, "PlatformVersion": to.platform}, takes: "eks:UpdateClusterVersion",
			apply: func() { cl.version, cl.doc["platformVersion"] = to.name, to.platform },
		}, nil
	})
}

func (c *Cloud) describeUpdate(req *request) (any, error) {
	cl, err := c.clusterOf(req)
	if err != nil {
		return nil, err
	}
	u := cl.updates[req.vars["updateId"]]
	if u == nil || u.group != req.query.Get("nodegroupName") || u.addon != req.query.Get("addonName") {
		return nil, failStatus(404, "ResourceNotFoundException", "No update found for ID: %s", req.vars["updateId"])
	}
	return u.doc(), nil
}

func (c *Cloud) listUpdates(req *request) (any, error) {
	cl, err := c.clusterOf(req)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, id := range cl.updateOrder {
		if u := cl.updates[id]; u.group == req.query.Get("nodegroupName") && u.addon == req.query.Get("addonName") {
			ids = append(ids, id)
		}
	}
	return eksPage(c, req, "updateIds", ids)
}
