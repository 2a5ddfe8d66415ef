package aws

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// ClusterSeed describes an EKS cluster that somebody made before the run, in the account's default VPC: its nodes have joined, and IAM
// knows its issuer.
type ClusterSeed struct {
	Name     string
	Nodes    int      // spread over the zones; default 3
	NodeType string   // default t3.large
	Admins   []string // ARNs of principals that may do all in it
	Addons   []string // add-ons in their default version; aws-ebs-csi-driver gets its role
}

// elsewhere is who made what is seeded.
const elsewhere = "elsewhere"

// SeedCluster makes the cluster and waits until its control plane answers. What AWS takes minutes for is done at once; calls of other
// clients meanwhile would be too. It appears neither in the ledger nor in any count of calls.
func (c *Cloud) SeedCluster(ctx context.Context, s ClusterSeed) error {
	if s.Nodes == 0 {
		s.Nodes = 3
	}
	if s.NodeType == "" {
		s.NodeType = "t3.large"
	}
	done := c.hurry()
	defer done()
	cl, err := c.seedControlPlane(ctx, s.Name)
	if err == nil {
		err = c.seedNodes(ctx, cl, s)
	}
	for _, arn := range s.Admins {
		if err == nil {
			c.SeedAccess(s.Name, arn)
			cl.entries[arn].policies[c.accessPolicy(clusterAdminPolicy)] = map[string]any{"type": "cluster"}
		}
	}
	for _, addon := range s.Addons {
		if err == nil {
			err = c.seedAddon(ctx, cl, addon)
		}
	}
	if err != nil {
		return fmt.Errorf("seed cluster %s: %w", s.Name, err)
	}
	return nil
}

// hurry makes all durations next to nothing until the function that it returns is called; that also marks what is new as seeded.
func (c *Cloud) hurry() func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	durations, before := c.opt.Durations, map[string]bool{}
	for _, r := range c.resources() {
		before[r.ID] = true
	}
	none := map[string]time.Duration{}
	for name := range defaultDurations {
		none[name] = 0
	}
	// What has several moments must keep their order: nodes start before they join.
	for _, name := range []string{"eks:CreateCluster", "eks:CreateNodegroup"} {
		none[name] = time.Duration(float64(50*time.Millisecond) * c.opt.Speed)
	}
	c.opt.Durations = none
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.opt.Durations = durations
		for _, r := range c.resources() {
			if !before[r.ID] {
				c.seeded[r.ID] = true
			}
		}
	}
}

// inside makes one call as an unknown third party.
func (c *Cloud) inside(service, action string, form url.Values, body, vars map[string]any) error {
	req := c.internal(service, action, c.iamARN()+":user/"+elsewhere, form)
	req.body = body
	for name, v := range vars {
		req.vars[name] = fmt.Sprint(v)
	}
	c.mu.Lock()
	defer c.unlock()
	_, err := operations[service][action].run(c, req)
	return err
}

func (c *Cloud) seedControlPlane(ctx context.Context, name string) (*cluster, error) {
	role := c.SeedRole(elsewhere+"-"+name+"-cluster", serviceTrust("eks.amazonaws.com"), c.managed("AmazonEKSClusterPolicy"))
	body := map[string]any{
		"name": name, "roleArn": role, "resourcesVpcConfig": map[string]any{"subnetIds": c.seedSubnets("")},
		"accessConfig": map[string]any{"authenticationMode": "API_AND_CONFIG_MAP"},
	}
	if err := c.inside("eks", "CreateCluster", nil, body, nil); err != nil {
		return nil, err
	}
	c.mu.Lock()
	cl := c.eks[name]
	c.mu.Unlock()
	if err := c.await(ctx, cl, func() string { return cl.status }); err != nil {
		return nil, err
	}
	return cl, c.inside("iam", "CreateOpenIDConnectProvider", url.Values{"Url": {cl.issuer}, "ClientIDList.member.1": {"sts.amazonaws.com"}}, nil, nil)
}

// seedSubnets are the default VPC's in all zones that can host a control plane, and nodes of the instance family where one is named.
func (c *Cloud) seedSubnets(family string) []any {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []any
	for _, z := range c.zones() {
		if !z.noEKS && z.kind2 == "availability-zone" && !slices.Contains(z.lacks, family) {
			ids = append(ids, c.defaultSubnet(z.name).id)
		}
	}
	return ids
}

// await polls, without the emulator's lock held, until a status is ACTIVE.
func (c *Cloud) await(ctx context.Context, cl *cluster, status func() string) error {
	for {
		c.mu.Lock()
		now, why := status(), ""
		if now == "FAILED" {
			why = fmt.Sprint(": ", cl.doc["health"])
		}
		c.mu.Unlock()
		switch now {
		case "ACTIVE":
			return nil
		case "CREATING":
		default:
			return errors.New("it became " + now + why)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (c *Cloud) seedNodes(ctx context.Context, cl *cluster, s ClusterSeed) error {
	role := c.SeedRole(elsewhere+"-"+s.Name+"-node", serviceTrust("ec2."+c.domain()),
		c.managed("AmazonEKSWorkerNodePolicy"), c.managed("AmazonEKS_CNI_Policy"), c.managed("AmazonEC2ContainerRegistryReadOnly"))
	const group = "default"
	family, _, _ := strings.Cut(s.NodeType, ".")
	body := map[string]any{
		"nodegroupName": group, "nodeRole": role, "subnets": c.seedSubnets(family), "instanceTypes": []any{s.NodeType},
		"scalingConfig": map[string]any{"minSize": float64(s.Nodes), "desiredSize": float64(s.Nodes), "maxSize": float64(s.Nodes + 1)},
	}
	if err := c.inside("eks", "CreateNodegroup", nil, body, map[string]any{"name": s.Name}); err != nil {
		return err
	}
	return c.await(ctx, cl, func() string { return cl.groups[group].status })
}

// SeedAccess adds an access entry that puts a principal into Kubernetes groups.
func (c *Cloud) SeedAccess(clusterName, principal string, groups ...string) {
	defer c.seeding()()
	c.addEntry(c.eks[clusterName], principal, "STANDARD").groups = groups
}

func (c *Cloud) seedAddon(ctx context.Context, cl *cluster, name string) error {
	row := addonNamed(name)
	if row == nil {
		return fmt.Errorf("add-on %s: not known", name)
	}
	body := map[string]any{"addonName": name}
	if name == "aws-ebs-csi-driver" {
		body["serviceAccountRoleArn"] = c.SeedRole(elsewhere+"-"+cl.name+"-ebs-csi", c.TrustOf(cl.name, row.ns, row.sa), c.managed("service-role/AmazonEBSCSIDriverPolicy"))
	}
	if err := c.inside("eks", "CreateAddon", nil, body, map[string]any{"name": cl.name}); err != nil {
		return err
	}
	return c.await(ctx, cl, func() string { return cl.addons[name].status })
}

// SeedPolicy adds a customer managed policy and returns its ARN. document is a policy document.
func (c *Cloud) SeedPolicy(name, document string) string {
	defer c.seeding()()
	arn := c.iamARN() + ":policy/" + name
	c.iam.policies[arn] = &managedPolicy{arn: arn, name: name, path: "/", document: document, tags: map[string]string{}, created: time.Now()}
	return arn
}

// TrustOf is a trust policy for one service account of a seeded cluster.
func (c *Cloud) TrustOf(clusterName, namespace, account string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	issuer := ""
	if cl := c.eks[clusterName]; cl != nil {
		issuer = cl.issuer[len("https://"):]
	}
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRoleWithWebIdentity",` +
		`"Principal":{"Federated":"` + c.iamARN() + `:oidc-provider/` + issuer + `"},"Condition":{"StringEquals":{` +
		`"` + issuer + `:sub":"system:serviceaccount:` + namespace + `:` + account + `","` + issuer + `:aud":"sts.amazonaws.com"}}}]}`
}

func serviceTrust(service string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"` + service + `"}}]}`
}
