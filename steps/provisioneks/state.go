package provisioneks

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"pipectl.dev/cloud"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

// Kinds of what this step makes, as they stand in owner tags and plans.
const (
	kindVPC         = "ec2:Vpc"
	kindDNS         = "ec2:VpcDns"
	kindIGW         = "ec2:InternetGateway"
	kindIGWAttached = "ec2:InternetGatewayAttachment"
	kindSubnet      = "ec2:Subnet"
	kindPublicIPs   = "ec2:SubnetPublicIps"
	kindEIP         = "ec2:ElasticIp"
	kindNAT         = "ec2:NatGateway"
	kindTable       = "ec2:RouteTable"
	kindRoute       = "ec2:Route"
	kindAssociation = "ec2:RouteTableAssociation"
	kindTemplate    = "ec2:LaunchTemplate"
	kindVolume      = "ec2:Volume" // of data-volume, and nodes' disks
	kindRole        = "iam:Role"
	kindRolePolicy  = "iam:RolePolicy"
	kindOIDC        = "iam:OidcProvider"
	kindCluster     = "eks:Cluster"
	kindGroup       = "eks:Nodegroup"
	kindAccess      = "eks:AccessEntry"
	kindKubeconfig  = "file:Kubeconfig"
)

type (
	resource = reconcile.Resource[state]
	status   = reconcile.Status
)

var absent = status{}

// state is what the resources of one run know. Fields below "learned" are written by the resource they belong to and read by those
// that need it; see layout for the slots of subnets, gateways and tables.
type state struct {
	aws    *cloud.Session
	env    steps.Env
	spec   Spec
	owner  string // identity, as in tags
	caller cloud.Caller
	// resumed says that something of ours was there when this run began.
	resumed bool
	tagged  bool // with tags of an earlier spec, perhaps
	down    bool // removing: drift is of no interest, and states that a run cannot use still count as there
	look    looks
	lay     layout
	open    kube.Opener       // on the way up: gives volumes of claims back; nil: nobody does
	claimed []ec2types.Volume // those volumes
	old     leftNetwork       // of another network.nat
	left    []Access          // entries of ours that the spec no longer has
	// oldGroups are node groups of ours that the spec no longer has.
	oldGroups []*leftGroup
	stayers   []string // node groups of the spec that stay in public subnets though there is NAT
	notes     []string // for the plan
	// stranded are zones that hold volumes and get no subnet.
	stranded []string
	unseen   error // what we may not look at, and which may hold the network

	learned
}

type learned struct {
	vpcID        string
	igwID        string
	clusterRole  string // ARN
	nodeRole     string // ARN
	cluster      *ekstypes.Cluster
	providerARN  string
	providerTags map[string]string
	roleTags     sync.Map // part -> map[string]string
	planeZones   []string // zones that EKS wants the control plane in, once it has refused others; empty: any
	releases     sync.Map // newest release by its public parameter
	roleMade     sync.Map // role name -> time.Time it was made or changed
	made         sync.Map // ID of a resource that this run has made
}

// looks are the lists of what is there, each fetched once a plan.
type looks struct {
	vpcs      *cloud.Look[[]ec2types.Vpc]
	igws      *cloud.Look[[]ec2types.InternetGateway]
	subnets   *cloud.Look[[]ec2types.Subnet]
	addresses *cloud.Look[[]ec2types.Address]
	nats      *cloud.Look[[]ec2types.NatGateway]
	tables    *cloud.Look[[]ec2types.RouteTable]
	templates *cloud.Look[[]ec2types.LaunchTemplate]
	policies  map[string]*cloud.Look[[]string] // ARNs attached to a role, by its part
	cluster   *cloud.Look[*ekstypes.Cluster]   // nil: there is none
	types     *cloud.Look[map[string]ec2types.InstanceTypeInfo]
}

// prefetch asks for all lists at once, so that a plan takes one round trip and not one for each level of dependency.
func (s *state) prefetch(ctx context.Context) {
	var wg sync.WaitGroup
	if !s.spec.Network.exists() || s.down {
		wg.Go(func() { s.look.vpcs.Warm(ctx) })
		wg.Go(func() { s.look.igws.Warm(ctx) })
		wg.Go(func() { s.look.addresses.Warm(ctx) })
		wg.Go(func() { s.look.nats.Warm(ctx) })
		wg.Go(func() { s.look.tables.Warm(ctx) })
		wg.Go(func() { s.look.subnets.Warm(ctx) })
	}
	wg.Go(func() { s.look.templates.Warm(ctx) })
	wg.Go(func() { s.look.cluster.Warm(ctx) })
	wg.Wait()
}

// name puts a part of the cluster's surroundings under the cluster's name.
func (s *state) name(part string) string { return s.spec.Name + "/" + part }

// mine reports whether tags are those of a part of this cluster of kind, and gives its name.
func (s *state) mine(tags []ec2types.Tag, kind string) (string, bool) {
	m := cloud.EC2TagMap(tags)
	name := m[cloud.TagName]
	ok := m[cloud.TagIdentity] == s.owner && m[cloud.TagKind] == kind && (name == s.spec.Name || strings.HasPrefix(name, s.spec.Name+"/"))
	return name, ok
}

func (s *state) token(kind, name string, facts ...any) *string {
	return aws.String(cloud.ClientToken(s.owner, kind, name, s.env.RunID, facts))
}

// settle repeats a call that names things made a moment ago for as long as AWS may not see them yet.
func (s *state) settle(ctx context.Context, call func(context.Context) error) error {
	return s.aws.Retry(ctx, time.Minute, func(err error) bool { return cloud.IsNotFound(err) || cloud.Code(err) == "InvalidSubnet" }, call)
}

// once makes what takes no client token. Where an earlier run has been at work, and may have been cut off a second ago, it looks again first:
// what was made last may not be listed yet.
func (s *state) once(ctx context.Context, find func(context.Context) (bool, error), create func(context.Context) error) error {
	if s.resumed {
		if found, err := s.aws.Appears(ctx, 3*time.Second, find); found || err != nil {
			return err
		}
	}
	return s.aws.Once(ctx, find, create)
}

func (s *state) markMade(kind, name string) { s.made.Store(reconcile.ID(kind, name), true) }

func (s *state) madeNow(kind, name string) bool {
	_, ok := s.made.Load(reconcile.ID(kind, name))
	return ok
}
