package aws

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"time"
)

// cluster is an EKS cluster with all that belongs to it.
type cluster struct {
	name, arn, version, status, issuer string
	vpc, group                         string
	subnets                            []string
	doc                                map[string]any
	tags                               map[string]string
	mode                               string // authentication mode
	creator                            string // with implicit rights where mode is CONFIG_MAP
	interfaces                         []string
	groups                             map[string]*nodegroup
	addons                             map[string]*addon
	entries                            map[string]*accessEntry
	pods                               map[string]*podIdentity
	updates                            map[string]*update
	updateOrder                        []string
	protected                          bool
}

type update struct {
	id, kind, status, group, addon string
	created                        time.Time
	params                         []map[string]any
	errors                         []any
}

var clusterOperations = map[string]operation{
	"CreateCluster":             writes((*Cloud).createCluster, "name", "roleArn", "resourcesVpcConfig"),
	"DescribeCluster":           reads((*Cloud).describeCluster),
	"ListClusters":              reads((*Cloud).listClusters),
	"DeleteCluster":             writes((*Cloud).deleteCluster),
	"UpdateClusterConfig":       writes((*Cloud).updateClusterConfig),
	"AssociateEncryptionConfig": writes((*Cloud).associateEncryptionConfig, "encryptionConfig"),
	"UpdateClusterVersion":      writes((*Cloud).updateClusterVersion, "version"),
	"DescribeClusterVersions":   reads((*Cloud).describeClusterVersions),
	"DescribeUpdate":            reads((*Cloud).describeUpdate),
	"ListUpdates":               reads((*Cloud).listUpdates),
}

func (c *Cloud) clusterNamed(name string) (*cluster, error) {
	if cl := c.eks[name]; cl != nil {
		return cl, nil
	}
	return nil, failStatus(404, "ResourceNotFoundException", "No cluster found for name: %s.", name)
}

func (c *Cloud) clusterOf(req *request) (*cluster, error) { return c.clusterNamed(req.vars["name"]) }

func (c *Cloud) clusterOfIssuer(issuer string) *cluster {
	for _, cl := range c.eks {
		if cl.issuer == issuer {
			return cl
		}
	}
	return nil
}

var clusterName = regexp.MustCompile(`^[0-9A-Za-z][A-Za-z0-9_-]{0,99}$`)

func (c *Cloud) createCluster(req *request) (any, error) {
	b := req.body
	name, token := text(b, "name"), text(b, "clientRequestToken")
	id, err := c.once(req, token, func(id string) bool { return c.eks[name] != nil && c.eks[name].issuer == id })
	if err != nil {
		return nil, err
	}
	if id != "" {
		return map[string]any{"cluster": c.clusterDoc(c.eks[name])}, nil
	}
	if !clusterName.MatchString(name) {
		return nil, fail("InvalidParameterException", "The cluster name %q does not match ^[0-9A-Za-z][A-Za-z0-9_-]{0,99}$", name)
	}
	if c.eks[name] != nil {
		return nil, failStatus(409, "ResourceInUseException", "Cluster already exists with name: %s", name)
	}
	if len(c.eks) >= c.quota("L-1194D53C") {
		return nil, fail("ResourceLimitExceededException", "Cluster limit exceeded for this account.")
	}
	v := versionNamed("1.34")
	if asked := text(b, "version"); asked != "" {
		v = versionNamed(asked)
		if v == nil || v.status(c.opt.Today) == "UNSUPPORTED" {
			return nil, fail("InvalidParameterException", "unsupported Kubernetes version %s", asked)
		}
	}
	cl := &cluster{name: name, arn: c.arn("eks", "cluster/"+name), version: v.name, status: "CREATING", subnets: textList(object(b, "resourcesVpcConfig"), "subnetIds"),
		tags: textMap(b, "tags"), mode: "CONFIG_MAP", creator: req.principal, groups: map[string]*nodegroup{}, addons: map[string]*addon{},
		entries: map[string]*accessEntry{}, pods: map[string]*podIdentity{}, updates: map[string]*update{}, protected: flag(b, "deletionProtection")}
	if err := c.checkSubnets(cl); err != nil {
		return nil, err
	}
	if err := c.checkRole(text(b, "roleArn"), "eks.amazonaws.com", []string{"AmazonEKSClusterPolicy"}); err != nil {
		return nil, err
	}
	if err := c.checkEncryption(b); err != nil {
		return nil, err
	}
	c.ensureLinkedRole("eks.amazonaws.com")
	cl.issuer = "https://oidc.eks." + c.opt.Region + "." + c.domain() + "/id/" + strings.ToUpper(c.hex(32))
	c.eks[name] = cl
	c.remember(req, token, cl.issuer)
	req.created = append(req.created, cl.arn)
	c.fillCluster(cl, v, b)
	c.startCluster(req, cl, text(b, "roleArn"))
	return map[string]any{"cluster": c.clusterDoc(cl)}, nil
}

// checkSubnets: they exist, in one VPC, in two zones or more, all of which can host a control plane.
func (c *Cloud) checkSubnets(cl *cluster) error {
	zones := map[string]bool{}
	for _, id := range cl.subnets {
		sn, err := c.ec2.subnets.get(id)
		if err != nil {
			return fail("InvalidParameterException", "The subnet ID '%s' does not exist (Service: AmazonEC2; Status Code: 400; Error Code: InvalidSubnetID.NotFound)", id)
		}
		if cl.vpc != "" && sn.vpc != cl.vpc {
			return fail("InvalidParameterException", "Subnets specified must belong to the same VPC.")
		}
		cl.vpc = sn.vpc
		zones[sn.zone] = true
	}
	var valid []string
	bad := ""
	for _, z := range c.zones() {
		if z.noEKS && zones[z.name] {
			bad = z.name
		}
		if !z.noEKS && z.kind2 == "availability-zone" {
			valid = append(valid, z.name)
		}
	}
	if bad != "" {
		return &apiError{code: "UnsupportedAvailabilityZoneException", message: "Cannot create cluster '" + cl.name + "' because EKS does not support creating control plane instances in " + bad +
			", the targeted availability zone. Retry cluster creation using control plane subnets that span at least two of these availability zones: " + strings.Join(valid, ", ") + ".",
			fields: map[string]any{"clusterName": cl.name, "validZones": valid}}
	}
	if len(zones) < 2 {
		return fail("InvalidParameterException", "Subnets specified must be in at least two different AZs")
	}
	return nil
}

// checkRole is EKS' look at a role: visible by now, trusting the service, with the policies it wants.
func (c *Cloud) checkRole(arn, service string, policies []string) error {
	r := c.roleByARN(arn)
	if r == nil || r.arn != arn || time.Now().Before(r.known) || !r.trusts(service, "sts:AssumeRole") {
		return fail("InvalidParameterException", "Role with arn: %s, could not be assumed because it does not exist or the trusted entity is not correct", arn)
	}
	var missing []string
	for _, p := range policies {
		if !slices.Contains(r.attached, c.managed(p)) {
			missing = append(missing, c.managed(p))
		}
	}
	if len(missing) > 0 {
		return fail("InvalidParameterException", "The provided role doesn't have the Amazon EKS Managed Policies associated with it. Please ensure the following policies %v are attached", missing)
	}
	return nil
}

// startCluster makes the security group at once, the interfaces half-way, and turns the cluster ACTIVE when both the
// duration has passed and the World's control plane answers.
func (c *Cloud) startCluster(req *request, cl *cluster, roleARN string) {
	sg := c.addGroup(nil, cl.vpc, "eks-cluster-sg-"+cl.name+"-"+digitsOnly(c.hex(10)), "EKS created security group applied to ENI that is attached to EKS Control Plane master nodes, as well as any managed workloads.")
	sg.tags = map[string]string{"Name": sg.name, "kubernetes.io/cluster/" + cl.name: "owned", "aws:eks:cluster-name": cl.name}
	sg.rules = append(sg.rules, rule{id: "sgr-0" + c.hex(16), protocol: "-1", group: sg.id, from: -1, to: -1})
	cl.group = sg.id
	name, version, issuer := cl.name, cl.version, cl.issuer
	c.tell(func() { c.world.ClusterCreating(name, version, issuer) })
	d := c.draw("eks:CreateCluster")
	c.span(req, "eks:CreateCluster", cl.arn, d, append([]string{roleARN}, cl.subnets...))
	c.after(d/2, func() { c.attachControlPlane(cl) })
	c.after(d, func() { c.background(func(ctx context.Context) { c.finishCluster(ctx, cl) }) })
}

func (c *Cloud) attachControlPlane(cl *cluster) {
	if cl.status != "CREATING" {
		return
	}
	for _, id := range cl.subnets[:2] {
		if sn, ok := c.ec2.subnets.find(id); ok {
			if e, ok := c.newInterface(sn, "Amazon EKS "+cl.name, []string{cl.group}); ok {
				e.managed, e.requester = true, "amazon-eks"
				cl.interfaces = append(cl.interfaces, e.id)
			}
		}
	}
}

func (c *Cloud) finishCluster(ctx context.Context, cl *cluster) {
	endpoint, ca, err := c.world.ClusterEndpoint(ctx, cl.name)
	if ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	defer c.unlock()
	if c.eks[cl.name] != cl || cl.status != "CREATING" {
		return
	}
	if err != nil {
		cl.status = "FAILED"
		cl.doc["health"] = map[string]any{"issues": []any{map[string]any{"code": "InternalFailure", "message": err.Error()}}}
		return
	}
	cl.status = "ACTIVE"
	cl.doc["endpoint"] = endpoint
	c.writeLogs(cl)
	cl.doc["certificateAuthority"] = map[string]any{"data": ca}
	cl.doc["identity"] = map[string]any{"oidc": map[string]any{"issuer": cl.issuer}}
	if cl.creator != "" && cl.mode != "CONFIG_MAP" {
		e := c.addEntry(cl, c.identity(cl.creator), "STANDARD")
		e.policies[c.accessPolicy(clusterAdminPolicy)] = map[string]any{"type": "cluster"}
	}
}

// digitsOnly maps hexadecimal digits to decimal ones.
func digitsOnly(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' {
			return r - 'a' + '0'
		}
		return r
	}, s)
}

func (c *Cloud) describeCluster(req *request) (any, error) {
	cl, err := c.clusterOf(req)
	if err != nil {
		return nil, err
	}
	return map[string]any{"cluster": c.clusterDoc(cl)}, nil
}

func (c *Cloud) listClusters(req *request) (any, error) {
	return eksPage(c, req, "clusters", sortedKeys(c.eks))
}
