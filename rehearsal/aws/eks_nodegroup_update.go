package aws

import (
	"encoding/json"
	"slices"
	"strings"
)

// updatableGroup finds a node group that can take a change, or the update that the same token started.
func (c *Cloud) updatableGroup(req *request) (*cluster, *nodegroup, *update, error) {
	cl, g, err := c.nodegroupOf(req)
	if err != nil {
		return nil, nil, nil, err
	}
	id, err := c.once(req, text(req.body, "clientRequestToken"), func(id string) bool { return cl.updates[id] != nil })
	if err != nil {
		return nil, nil, nil, err
	}
	if id != "" {
		return cl, g, cl.updates[id], nil
	}
	if g.status != "ACTIVE" && g.status != "DEGRADED" {
		return nil, nil, nil, failStatus(409, "ResourceInUseException", "Nodegroup cannot be updated as it is currently not in Active State")
	}
	return cl, g, nil, nil
}

func (c *Cloud) updateNodegroupConfig(req *request) (any, error) {
	cl, g, running, err := c.updatableGroup(req)
	if err != nil {
		return nil, err
	}
	if running != nil {
		return running.doc(), nil
	}
	b := req.body
	trial := *g
	if err := trial.scale(object(b, "scalingConfig"), false); err != nil {
		return nil, err
	}
	trial.taints = slices.Clone(g.taints)
	taints := object(b, "taints")
	if err := trial.setTaints(taints["addOrUpdateTaints"]); err != nil {
		return nil, err
	}
	gone := &nodegroup{}
	if err := gone.setTaints(taints["removeTaints"]); err != nil {
		return nil, err
	}
	g.min, g.desired, g.max = trial.min, trial.desired, trial.max
	g.taints = slices.DeleteFunc(trial.taints, func(t Taint) bool {
		return slices.ContainsFunc(gone.taints, func(o Taint) bool { return o.Key == t.Key && o.Effect == t.Effect })
	})
	for k, v := range textMap(object(b, "labels"), "addOrUpdateLabels") {
		g.labels[k] = v
	}
	for _, k := range textList(object(b, "labels"), "removeLabels") {
		delete(g.labels, k)
	}
	if u := object(b, "updateConfig"); u != nil {
		g.doc["updateConfig"] = u
	}
	u := c.startGroupUpdate(req, cl, g, "ConfigUpdate", func() { c.resize(cl, g) })
	return u.doc(), nil
}

func (c *Cloud) startGroupUpdate(req *request, cl *cluster, g *nodegroup, kind string, apply func()) *update {
	u := c.startUpdate(req, cl, kind, groupParams(req.body))
	u.group = g.name
	c.remember(req, text(req.body, "clientRequestToken"), u.id)
	g.status = "UPDATING"
	c.spend(req, "eks:UpdateNodegroup", g.arn, nil, func() { apply(); g.status, u.status = "ACTIVE", "Successful" })
	return u
}

// failGroupUpdate is an update whose new nodes do not join: EKS gives up on it in the end, and keeps the old nodes.
func (c *Cloud) failGroupUpdate(req *request, cl *cluster, g *nodegroup) *update {
	u := c.startUpdate(req, cl, "VersionUpdate", groupParams(req.body))
	u.group = g.name
	c.remember(req, text(req.body, "clientRequestToken"), u.id)
	g.status = "UPDATING"
	c.spend(req, "eks:NodeCreationFailure", g.arn, nil, func() {
		g.status, u.status = "ACTIVE", "Failed"
		u.errors = []any{map[string]any{"errorCode": "NodeCreationFailure", "errorMessage": "Couldn't proceed with upgrade process as new nodes are not joining node group " + g.name, "resourceIds": []string{}}}
	})
	return u
}

// groupParams is how an update tells what was asked of it.
func groupParams(body map[string]any) map[string]string {
	out := map[string]string{}
	labels, sizes := object(body, "labels"), object(body, "scalingConfig")
	if add := textMap(labels, "addOrUpdateLabels"); len(add) > 0 {
		out["LabelsToAdd"] = jsonText(add)
	}
	if gone := textList(labels, "removeLabels"); len(gone) > 0 {
		out["LabelsToRemove"] = jsonText(gone)
	}
	for field, name := range map[string]string{"minSize": "MinSize", "maxSize": "MaxSize", "desiredSize": "DesiredSize"} {
		if v, ok := sizes[field]; ok {
			out[name] = jsonText(v)
		}
	}
	for field, name := range map[string]string{"version": "Version", "releaseVersion": "ReleaseVersion"} {
		if v := text(body, field); v != "" {
			out[name] = v
		}
	}
	return out
}

func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}

// resize launches or ends instances until the group has its desired size.
func (c *Cloud) resize(cl *cluster, g *nodegroup) {
	have := len(g.instances)
	if have < g.desired {
		c.launchNodes(cl, g, g.desired)
		c.nodesJoined(cl, g, g.instances[have:])
		return
	}
	leaving := slices.Clone(g.instances[g.desired:])
	g.instances = g.instances[:g.desired]
	if len(leaving) == 0 {
		return
	}
	nodes := worldInstances(leaving)
	c.tell(func() { c.world.NodesLeaving(cl.name, nodes) })
	for _, i := range leaving {
		i.state = "shutting-down"
		c.after(c.draw("ec2:TerminateInstances"), func() { c.terminate(i) })
	}
}

// changeTemplate gives a group another version of its launch template. Whose image it is cannot change: EKS's stays EKS's.
func (c *Cloud) changeTemplate(g *nodegroup, b map[string]any) error {
	spec := object(b, "launchTemplate")
	if spec == nil {
		return nil
	}
	custom, was := g.ami == "CUSTOM", object(g.doc, "launchTemplate")
	trial := *g
	trial.ami = ""
	request := map[string]any{"launchTemplate": spec}
	for _, k := range []string{"version", "releaseVersion"} {
		if v := b[k]; v != nil {
			request[k] = v
		}
	}
	if err := c.checkTemplate(&trial, request); err != nil {
		return err
	}
	switch {
	case was == nil || text(was, "id") != text(spec, "id"):
		return fail("InvalidParameterException", "You must specify the launch template that the nodegroup was created with")
	case custom && trial.ami != "CUSTOM":
		return fail("InvalidParameterException", "You must specify an image id within the launch template, since your nodegroup is configured to use a custom AMI.")
	case !custom && trial.ami == "CUSTOM":
		return fail("InvalidParameterException", "You cannot specify an image id within the launch template, since your nodegroup is configured to use an EKS optimized AMI.")
	}
	g.template, g.disk, g.types = trial.template, trial.disk, trial.types
	g.doc["launchTemplate"] = spec
	return nil
}

// checkRelease refuses a release of another minor version, and to go back.
func checkRelease(g *nodegroup, v *kubernetesVersion, release string) error {
	bottlerocket := strings.HasPrefix(g.ami, "BOTTLEROCKET")
	if !bottlerocket && !strings.HasPrefix(release, v.name+".") {
		return fail("InvalidParameterException", "Requested release version %s is not valid for kubernetes version %s.", release, v.name)
	}
	day := func(r string) string { _, d, _ := strings.Cut(r, "-"); return d }
	if !bottlerocket && text(g.doc, "version") == v.name && day(release) < day(text(g.doc, "releaseVersion")) {
		return fail("InvalidParameterException", "Nodegroup release version %s cannot be updated to the older %s.", text(g.doc, "releaseVersion"), release)
	}
	return nil
}

// updateNodegroupVersion replaces the instances: new ones join, then the old ones leave.
func (c *Cloud) updateNodegroupVersion(req *request) (any, error) {
	cl, g, running, err := c.updatableGroup(req)
	if err != nil {
		return nil, err
	}
	if running != nil {
		return running.doc(), nil
	}
	v := versionNamed(cl.version)
	if asked := text(req.body, "version"); asked != "" && asked != cl.version {
		return nil, fail("InvalidParameterException", "Requested Nodegroup version %s is not supported for cluster version %s", asked, cl.version)
	}
	if strings.HasPrefix(g.ami, "AL2_") && v.minor() > 32 {
		return nil, fail("InvalidParameterException", "AMI Type %s is only supported for kubernetes versions 1.32 or earlier", g.ami)
	}
	was, template := *g, g.doc["launchTemplate"]
	if err := c.changeTemplate(g, req.body); err != nil {
		return nil, err
	}
	if problem := c.userDataProblem(cl, g); problem != "" {
		g.template, g.disk, g.types, g.doc["launchTemplate"] = was.template, was.disk, was.types, template
		return c.failGroupUpdate(req, cl, g).doc(), nil
	}
	release := text(req.body, "releaseVersion")
	if release == "" {
		release = c.release(v, g.ami)
	} else if err := checkRelease(g, v, release); err != nil {
		return nil, err
	}
	u := c.startGroupUpdate(req, cl, g, "VersionUpdate", func() {
		g.doc["version"], g.doc["releaseVersion"] = v.name, release
		if g.ami == "CUSTOM" {
			g.doc["releaseVersion"] = g.template.params["ImageId"]
		}
		old := g.instances
		g.instances = nil
		c.launchNodes(cl, g, g.desired)
		c.nodesJoined(cl, g, g.instances)
		nodes := worldInstances(old)
		c.tell(func() { c.world.NodesLeaving(cl.name, nodes) })
		for _, i := range old {
			c.terminate(i)
		}
	})
	return u.doc(), nil
}
