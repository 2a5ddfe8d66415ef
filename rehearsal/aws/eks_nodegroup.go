package aws

import (
	"strings"
	"time"
)

type nodegroup struct {
	name, arn, status string
	role, ami         string
	subnets, types    []string
	min, desired, max int
	labels            map[string]string
	taints            []Taint
	doc               map[string]any
	tags              map[string]string
	issues            []any
	instances         []*instance
	template          templateVersion
	disk              int
}

var nodegroupOperations = map[string]operation{
	"CreateNodegroup":        writes((*Cloud).createNodegroup, "nodegroupName", "subnets", "nodeRole"),
	"DescribeNodegroup":      reads((*Cloud).describeNodegroup),
	"ListNodegroups":         reads((*Cloud).listNodegroups),
	"DeleteNodegroup":        writes((*Cloud).deleteNodegroup),
	"UpdateNodegroupConfig":  writes((*Cloud).updateNodegroupConfig),
	"UpdateNodegroupVersion": writes((*Cloud).updateNodegroupVersion),
}

func (c *Cloud) nodegroupOf(req *request) (*cluster, *nodegroup, error) {
	cl, err := c.clusterOf(req)
	if err != nil {
		return nil, nil, err
	}
	g := cl.groups[req.vars["nodegroupName"]]
	if g == nil {
		return nil, nil, failStatus(404, "ResourceNotFoundException", "No node group found for name: %s.", req.vars["nodegroupName"])
	}
	return cl, g, nil
}

func (c *Cloud) createNodegroup(req *request) (any, error) {
	cl, err := c.clusterOf(req)
	if err != nil {
		return nil, err
	}
	b := req.body
	name, token := text(b, "nodegroupName"), text(b, "clientRequestToken")
	id, err := c.once(req, token, func(id string) bool { return cl.groups[name] != nil && cl.groups[name].arn == id })
	if err != nil {
		return nil, err
	}
	if id != "" {
		return map[string]any{"nodegroup": c.nodegroupDoc(cl, cl.groups[name])}, nil
	}
	switch {
	case cl.status != "ACTIVE" && cl.status != "UPDATING":
		return nil, fail("InvalidRequestException", "Cluster '%s' is not in ACTIVE status", cl.name)
	case cl.groups[name] != nil:
		return nil, failStatus(409, "ResourceInUseException", "NodeGroup already exists with name %s and cluster name %s", name, cl.name)
	case len(cl.groups) >= c.quota("L-6D54EA21"):
		return nil, fail("ResourceLimitExceededException", "Nodegroup limit exceeded for this cluster.")
	}
	g := &nodegroup{name: name, arn: c.arn("eks", "nodegroup/"+cl.name+"/"+name+"/"+c.uuid()), status: "CREATING", role: text(b, "nodeRole"), ami: text(b, "amiType"),
		subnets: textList(b, "subnets"), types: textList(b, "instanceTypes"), labels: textMap(b, "labels"), tags: textMap(b, "tags"), disk: integer(b, "diskSize", 20)}
	if err := c.checkNodegroup(cl, g, b); err != nil {
		return nil, err
	}
	c.ensureLinkedRole("eks-nodegroup.amazonaws.com")
	c.ensureLinkedRole("autoscaling.amazonaws.com")
	cl.groups[name] = g
	c.remember(req, token, g.arn)
	req.created = append(req.created, g.arn)
	if cl.mode != "CONFIG_MAP" && cl.entries[g.role] == nil {
		c.addEntry(cl, g.role, "EC2_LINUX")
	}
	c.startNodegroup(req, cl, g)
	return map[string]any{"nodegroup": c.nodegroupDoc(cl, g)}, nil
}

// startNodegroup launches at a fifth of the time, and joins at its end when the nodes can reach the cluster.
func (c *Cloud) startNodegroup(req *request, cl *cluster, g *nodegroup) {
	after := append([]string{cl.arn, g.role}, g.subnets...)
	if code, message := c.launchProblem(g, req.doomed); code != "" {
		c.after(c.draw("eks:LaunchFailure"), func() { g.failed("CREATE_FAILED", code, message) })
		return
	}
	for _, id := range g.subnets {
		if sn, ok := c.ec2.subnets.find(id); ok {
			if rt := c.tableOf(sn); rt != nil {
				for _, r := range rt.routes {
					after = append(after, r.target)
				}
			}
		}
	}
	d := c.draw("eks:CreateNodegroup")
	c.span(req, "eks:CreateNodegroup", g.arn, d, after)
	c.after(d/5, func() { c.launchNodes(cl, g, g.desired) })
	start := time.Now()
	c.after(d, func() { c.join(cl, g, start) })
}

// failed puts a node group into a failed state with a health issue.
func (g *nodegroup) failed(status, code, message string) {
	ids := []string{}
	for _, i := range g.instances {
		ids = append(ids, i.id)
	}
	g.status = status
	g.issues = []any{map[string]any{"code": code, "message": message, "resourceIds": ids}}
}

// launchNodes starts instances up to n, spread over the subnets.
func (c *Cloud) launchNodes(cl *cluster, g *nodegroup, n int) {
	groups := []string{cl.group}
	if sg := g.template.params["SecurityGroupId.1"]; sg != "" {
		groups = []string{sg}
	}
	for len(g.instances) < n {
		sn, ok := c.ec2.subnets.find(g.subnets[len(g.instances)%len(g.subnets)])
		if !ok {
			return
		}
		arch := "x86_64"
		if t := typeNamed(g.types[0]); t != nil {
			arch = t.arch
		}
		i, err := c.launch(sn, g.types[0], arch, groups, sn.publicIP)
		if err != nil {
			g.issues = []any{map[string]any{"code": "InsufficientFreeAddresses", "message": err.Error(), "resourceIds": []string{sn.id}}}
			return
		}
		i.state, i.cluster, i.group, i.labels, i.taints, i.role, i.spot = "running", cl.name, g.name, nodeLabels(g), g.taints, g.role, g.spot()
		for k, v := range templateTags(g.template, "instance") {
			i.tags[k] = v
		}
		for k, v := range map[string]string{"eks:cluster-name": cl.name, "eks:nodegroup-name": g.name, "kubernetes.io/cluster/" + cl.name: "owned",
			"aws:eks:cluster-name": cl.name, "aws:autoscaling:groupName": g.asg()} {
			i.tags[k] = v
		}
		c.addRootVolume(i, g.disk, templateTags(g.template, "volume"))
		g.instances = append(g.instances, i)
	}
}

func nodeLabels(g *nodegroup) map[string]string {
	out := map[string]string{"eks.amazonaws.com/nodegroup": g.name, "eks.amazonaws.com/capacityType": text(g.doc, "capacityType")}
	for k, v := range g.labels {
		out[k] = v
	}
	return out
}

// templateTags are the tags that a launch template gives to what it launches.
func templateTags(v templateVersion, kind string) map[string]string {
	out := map[string]string{}
	for i := 1; ; i++ {
		p := "TagSpecification." + itoa(i)
		if v.params[p+".ResourceType"] == "" {
			return out
		}
		if v.params[p+".ResourceType"] != kind {
			continue
		}
		for j := 1; v.params[p+".Tag."+itoa(j)+".Key"] != ""; j++ {
			out[v.params[p+".Tag."+itoa(j)+".Key"]] = v.params[p+".Tag."+itoa(j)+".Value"]
		}
	}
}

func (g *nodegroup) asg() string {
	return "eks-" + g.name + "-" + g.arn[strings.LastIndex(g.arn, "/")+1:]
}

// join turns the group ACTIVE when its nodes can reach the cluster; else it looks again until EKS would give up.
func (c *Cloud) join(cl *cluster, g *nodegroup, start time.Time) {
	if g.status != "CREATING" || c.eks[cl.name] != cl {
		return
	}
	if problem := c.joinProblem(cl, g); problem != "" {
		if time.Since(start) >= c.scaled(c.nominal("eks:NodeCreationFailure")) {
			g.failed("CREATE_FAILED", "NodeCreationFailure", "Instances failed to join the kubernetes cluster")
			return
		}
		c.after(15*time.Second, func() { c.join(cl, g, start) })
		return
	}
	g.status = "ACTIVE"
	c.nodesJoined(cl, g, g.instances)
}

func (c *Cloud) nodesJoined(cl *cluster, g *nodegroup, instances []*instance) {
	nodes := worldInstances(instances)
	c.tell(func() { c.world.NodesJoined(cl.name, g.name, nodes) })
}

func worldInstances(list []*instance) []Instance {
	out := make([]Instance, len(list))
	for n, i := range list {
		out[n] = i.world()
	}
	return out
}

func (c *Cloud) nodegroupDoc(cl *cluster, g *nodegroup) map[string]any {
	out := map[string]any{}
	for k, v := range g.doc {
		out[k] = v
	}
	taints := []any{}
	for _, t := range g.taints {
		taints = append(taints, map[string]any{"key": t.Key, "value": t.Value, "effect": apiEffect[t.Effect]})
	}
	issues := g.issues
	if issues == nil {
		issues = []any{}
	}
	for k, v := range map[string]any{"nodegroupName": g.name, "nodegroupArn": g.arn, "clusterName": cl.name, "status": g.status, "nodeRole": g.role, "amiType": g.ami,
		"subnets": g.subnets, "labels": g.labels, "taints": taints, "tags": g.tags, "scalingConfig": map[string]any{"minSize": g.min, "desiredSize": g.desired, "maxSize": g.max},
		"health": map[string]any{"issues": issues}, "resources": map[string]any{"autoScalingGroups": []any{map[string]any{"name": g.asg()}}}} {
		out[k] = v
	}
	return out
}

func (c *Cloud) describeNodegroup(req *request) (any, error) {
	cl, g, err := c.nodegroupOf(req)
	if err != nil {
		return nil, err
	}
	return map[string]any{"nodegroup": c.nodegroupDoc(cl, g)}, nil
}

func (c *Cloud) listNodegroups(req *request) (any, error) {
	cl, err := c.clusterOf(req)
	if err != nil {
		return nil, err
	}
	return eksPage(c, req, "nodegroups", sortedKeys(cl.groups))
}

func (c *Cloud) deleteNodegroup(req *request) (any, error) {
	cl, g, err := c.nodegroupOf(req)
	if err != nil {
		return nil, err
	}
	switch g.status {
	case "DELETING":
		return map[string]any{"nodegroup": c.nodegroupDoc(cl, g)}, nil
	case "CREATING", "UPDATING":
		return nil, failStatus(409, "ResourceInUseException", "Nodegroup cannot be deleted as it is currently not in Active State (%s)", g.status)
	}
	g.status = "DELETING"
	req.deleted = append(req.deleted, g.arn)
	d := c.draw("eks:DeleteNodegroup")
	c.span(req, "eks:DeleteNodegroup", g.arn, d, nil)
	nodes := worldInstances(g.instances)
	c.after(d*15/100, func() {
		if len(nodes) > 0 {
			c.tell(func() { c.world.NodesLeaving(cl.name, nodes) })
		}
	})
	c.after(d*85/100, func() {
		for _, i := range g.instances {
			c.terminate(i)
		}
	})
	c.after(d, func() { delete(cl.groups, g.name) })
	return map[string]any{"nodegroup": c.nodegroupDoc(cl, g)}, nil
}
