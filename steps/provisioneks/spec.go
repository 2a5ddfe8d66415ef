package provisioneks

import (
	"pipectl.dev/steps"
)

// Spec is what the cluster and all around it should be.
type Spec struct {
	Name       string      `yaml:"name" json:"name" jsonschema:"required,pattern=^[0-9A-Za-z][A-Za-z0-9_-]{0\\,99}$" jsonschema_description:"name of the cluster; the names of all around it start with it"`
	Region     string      `yaml:"region,omitempty" json:"region,omitempty" jsonschema_description:"AWS region; the pipeline's when left out"`
	Version    string      `yaml:"version,omitempty" json:"version,omitempty" jsonschema:"pattern=^1\\.[0-9]+$" jsonschema_description:"Kubernetes version, such as 1.34; left out, EKS's default is taken when the cluster is made and never changed unasked"`
	Existing   bool        `yaml:"existing,omitempty" json:"existing,omitempty" jsonschema_description:"use a cluster made elsewhere: it is read, never tagged, changed or removed; only a kubeconfig is written for it where one is asked for"`
	Network    Network     `yaml:"network,omitempty" json:"network,omitempty" jsonschema_description:"the VPC to make, or one that exists"`
	Endpoint   Endpoint    `yaml:"endpoint,omitempty" json:"endpoint,omitempty" jsonschema_description:"who reaches the API server"`
	NodeGroups []NodeGroup `yaml:"nodeGroups,omitempty" json:"nodeGroups,omitempty" jsonschema_description:"managed node groups"`
	ExpectPods int32       `yaml:"expectPods,omitempty" json:"expectPods,omitempty" jsonschema:"minimum=0" jsonschema_description:"pods that the pipeline will run besides the system's own: the preflight refuses nodes that have no room for them"`
	Access     []Access    `yaml:"access,omitempty" json:"access,omitempty" jsonschema_description:"IAM principals that may use the cluster, besides the one that makes it"`
	Logging    []string    `yaml:"logging,omitempty" json:"logging,omitempty" jsonschema_description:"control plane logs to keep in CloudWatch: api, audit, authenticator, controllerManager, scheduler"`
	// LogRetentionDays is one of the numbers that CloudWatch knows.
	LogRetentionDays int32       `yaml:"logRetentionDays,omitempty" json:"logRetentionDays,omitempty" jsonschema:"default=30,minimum=1" jsonschema_description:"days that the control plane's logs are kept; they go with the cluster"`
	KMSKeyARN        string      `yaml:"kmsKeyArn,omitempty" json:"kmsKeyArn,omitempty" jsonschema:"pattern=^arn:" jsonschema_description:"KMS key that Secrets are encrypted with; may be added to a cluster that is there, never changed or taken back"`
	FinalSnapshots   *bool       `yaml:"finalSnapshots,omitempty" json:"finalSnapshots,omitempty" jsonschema:"default=true" jsonschema_description:"take a last snapshot of each volume of a claim before destroy --with-data removes it; the snapshots stay and cost"`
	Kubeconfig       *Kubeconfig `yaml:"kubeconfig,omitempty" json:"kubeconfig,omitempty" jsonschema_description:"write access to the cluster into a kubeconfig file"`
	// Tags go beside pipectl's own.
	Tags map[string]string `yaml:"tags,omitempty" json:"tags,omitempty" jsonschema_description:"AWS tags, such as a cost centre, of all that is made, put on what is there as well, and taken off when they leave this list; nodes and their disks take changed ones when their launch template gets its next version"`
}

// Network is a VPC to make (cidr and subnets) or one that exists (vpcId or vpcTags, and subnetIds or subnetTags).
type Network struct {
	CIDR           string            `yaml:"cidr,omitempty" json:"cidr,omitempty" jsonschema_description:"IPv4 range of the VPC, /16 to /28; default 10.0.0.0/16"`
	PrivateSubnets []string          `yaml:"privateSubnets,omitempty" json:"privateSubnets,omitempty" jsonschema_description:"ranges of the private subnets, one a zone; left out, three are cut from cidr"`
	PublicSubnets  []string          `yaml:"publicSubnets,omitempty" json:"publicSubnets,omitempty" jsonschema_description:"ranges of the public subnets, one a zone; left out, as many as there are private ones"`
	NAT            string            `yaml:"nat,omitempty" json:"nat,omitempty" jsonschema:"enum=single,enum=per-az,enum=regional,enum=none,default=single" jsonschema_description:"NAT gateways: one for all, one a zone, one of EC2's regional kind, which spans the zones by itself with addresses that AWS allocates, or none: nodes then live in the public subnets"`
	Zones          []string          `yaml:"zones,omitempty" json:"zones,omitempty" jsonschema_description:"availability zones of the subnets, in their order; left out, zones of pinned node groups come first, then those that hold volumes of the pipeline, then those by name that EKS and the instance types support"`
	VPCID          string            `yaml:"vpcId,omitempty" json:"vpcId,omitempty" jsonschema:"pattern=^vpc-" jsonschema_description:"use this VPC; nothing in it is changed"`
	VPCTags        map[string]string `yaml:"vpcTags,omitempty" json:"vpcTags,omitempty" jsonschema_description:"use the one VPC that has these tags; nothing in it is changed"`
	SubnetIDs      []string          `yaml:"subnetIds,omitempty" json:"subnetIds,omitempty" jsonschema_description:"subnets of that VPC, in two zones at least, for control plane and nodes"`
	SubnetTags     map[string]string `yaml:"subnetTags,omitempty" json:"subnetTags,omitempty" jsonschema_description:"use the subnets of that VPC that have these tags, in the order of their zones"`
}

// Endpoint says who reaches the API server.
type Endpoint struct {
	Public      *bool    `yaml:"public,omitempty" json:"public,omitempty" jsonschema:"default=true" jsonschema_description:"reachable from the internet"`
	Private     *bool    `yaml:"private,omitempty" json:"private,omitempty" jsonschema:"default=true" jsonschema_description:"reachable from inside the VPC; nodes then need no way out for it"`
	PublicCIDRs []string `yaml:"publicCIDRs,omitempty" json:"publicCIDRs,omitempty" jsonschema_description:"addresses that may reach the public endpoint; default: all"`
}

// NodeGroup is one managed node group.
type NodeGroup struct {
	Name           string            `yaml:"name" json:"name" jsonschema:"required,pattern=^[0-9A-Za-z][A-Za-z0-9_-]{0\\,62}$" jsonschema_description:"name of the node group"`
	InstanceTypes  []string          `yaml:"instanceTypes" json:"instanceTypes" jsonschema:"required" jsonschema_description:"instance types in order of preference, of one architecture"`
	AMIType        string            `yaml:"amiType,omitempty" json:"amiType,omitempty" jsonschema_description:"image family, such as AL2023_x86_64_STANDARD or BOTTLEROCKET_ARM_64; left out, Amazon Linux 2023 of the instances' architecture"`
	ReleaseVersion string            `yaml:"releaseVersion,omitempty" json:"releaseVersion,omitempty" jsonschema_description:"release of the image: latest, or one such as 1.34.4-20261115; left out, the newest is taken when the group is made and never changed unasked"`
	Min            int32             `yaml:"min,omitempty" json:"min,omitempty" jsonschema:"minimum=0" jsonschema_description:"fewest nodes"`
	Desired        *int32            `yaml:"desired,omitempty" json:"desired,omitempty" jsonschema:"minimum=0" jsonschema_description:"nodes at the start; later an autoscaler's business. Default: min, at least 1"`
	Max            int32             `yaml:"max,omitempty" json:"max,omitempty" jsonschema:"minimum=1" jsonschema_description:"most nodes; default: desired"`
	Zones          []string          `yaml:"zones,omitempty" json:"zones,omitempty" jsonschema_description:"only in these zones, such as that of a data volume; default: all of the network"`
	Labels         map[string]string `yaml:"labels,omitempty" json:"labels,omitempty" jsonschema_description:"Kubernetes labels of the nodes"`
	Taints         []Taint           `yaml:"taints,omitempty" json:"taints,omitempty" jsonschema_description:"Kubernetes taints of the nodes"`
	DiskSize       int32             `yaml:"diskSize,omitempty" json:"diskSize,omitempty" jsonschema:"default=20,minimum=8,maximum=16384" jsonschema_description:"size of a node's disk in GiB (gp3, encrypted)"`
	CapacityType   string            `yaml:"capacityType,omitempty" json:"capacityType,omitempty" jsonschema:"enum=ON_DEMAND,enum=SPOT,default=ON_DEMAND" jsonschema_description:"how instances are bought"`
	UpdateConfig   UpdateConfig      `yaml:"updateConfig,omitempty" json:"updateConfig,omitempty" jsonschema_description:"how many nodes may be away at once while a change is rolled out"`
	Stopped        bool              `yaml:"stopped,omitempty" json:"stopped,omitempty" jsonschema_description:"no nodes for now: the group stays with none, whatever min, desired and max say; taken out again, it comes back as they say"`
	LaunchTemplate LaunchTemplate    `yaml:"launchTemplate,omitempty" json:"launchTemplate,omitempty" jsonschema_description:"what only a launch template can say"`
}

// Taint keeps pods away that do not tolerate it.
type Taint struct {
	Key    string `yaml:"key" json:"key" jsonschema:"required" jsonschema_description:"key of the taint"`
	Value  string `yaml:"value,omitempty" json:"value,omitempty" jsonschema_description:"value of the taint"`
	Effect string `yaml:"effect" json:"effect" jsonschema:"required,enum=NoSchedule,enum=PreferNoSchedule,enum=NoExecute" jsonschema_description:"what happens to pods that do not tolerate it"`
}

// UpdateConfig says how fast nodes are replaced: in numbers or in percent.
type UpdateConfig struct {
	MaxUnavailable           int32 `yaml:"maxUnavailable,omitempty" json:"maxUnavailable,omitempty" jsonschema:"minimum=1,maximum=100" jsonschema_description:"nodes at once; 1 when the group is made and nothing is said"`
	MaxUnavailablePercentage int32 `yaml:"maxUnavailablePercentage,omitempty" json:"maxUnavailablePercentage,omitempty" jsonschema:"minimum=1,maximum=100" jsonschema_description:"percent of the nodes at once, instead of a number"`
}

// LaunchTemplate adds to the launch template that every node group has (IMDSv2 only, encrypted gp3 disk).
type LaunchTemplate struct {
	ImageID   string `yaml:"imageId,omitempty" json:"imageId,omitempty" jsonschema:"pattern=^ami-" jsonschema_description:"an image of your own; amiType must then be left out, and EKS gives its nodes no user data: the launch template tells them their cluster as amiFamily says"`
	AMIFamily string `yaml:"amiFamily,omitempty" json:"amiFamily,omitempty" jsonschema:"enum=AmazonLinux2023,enum=Bottlerocket,enum=Custom" jsonschema_description:"what the image of imageId reads at its start: a NodeConfig of nodeadm (AmazonLinux2023, the default), TOML settings (Bottlerocket), or nothing but userData (Custom: it must join by itself)"`
	UserData  string `yaml:"userData,omitempty" json:"userData,omitempty" jsonschema_description:"user data of your own for the image of imageId: a script, #cloud-config, NodeConfig or MIME document for AmazonLinux2023, TOML for Bottlerocket; what the nodes must know of their cluster is added"`
}

// Access lets an IAM principal use the cluster.
type Access struct {
	PrincipalARN     string   `yaml:"principalArn" json:"principalArn" jsonschema:"required,pattern=^arn:" jsonschema_description:"IAM role or user"`
	Policy           string   `yaml:"policy,omitempty" json:"policy,omitempty" jsonschema:"enum=clusterAdmin,enum=admin,enum=adminView,enum=edit,enum=view,enum=none,default=clusterAdmin" jsonschema_description:"what it may do; none: only what kubernetesGroups may"`
	Namespaces       []string `yaml:"namespaces,omitempty" json:"namespaces,omitempty" jsonschema_description:"the policy only in these namespaces; default: the whole cluster"`
	KubernetesGroups []string `yaml:"kubernetesGroups,omitempty" json:"kubernetesGroups,omitempty" jsonschema_description:"groups that role bindings in the cluster name"`
}

// Kubeconfig says where to write access to the cluster.
type Kubeconfig struct {
	Path string `yaml:"path,omitempty" json:"path,omitempty" jsonschema:"default=~/.kube/config" jsonschema_description:"file to merge into; it is made when missing"`
	Exec string `yaml:"exec,omitempty" json:"exec,omitempty" jsonschema:"enum=pipectl,enum=aws,default=pipectl" jsonschema_description:"program that makes tokens: pipectl token, or aws eks get-token"`
}

// Outputs is what later stages may use.
type Outputs struct {
	Cluster    steps.ClusterRef `json:"cluster" jsonschema_description:"the cluster, for the cluster input of other steps"`
	OIDC       OIDC             `json:"oidc" jsonschema_description:"issuer of service account tokens"`
	VPCID      string           `json:"vpcId" jsonschema_description:"VPC of the cluster"`
	SubnetIDs  SubnetIDs        `json:"subnetIds" jsonschema_description:"subnets by kind"`
	Zones      []string         `json:"zones" jsonschema_description:"availability zones of the subnets"`
	NodeGroups []NodeGroupInfo  `json:"nodeGroups" jsonschema_description:"the managed node groups"`
	Kubeconfig string           `json:"kubeconfig,omitempty" jsonschema_description:"file on this machine that access to the cluster was written to; missing where there is none"`
}

// OIDC is the issuer of the cluster's service account tokens.
type OIDC struct {
	Issuer      string `json:"issuer" jsonschema_description:"https URL"`
	ProviderARN string `json:"providerArn" jsonschema_description:"IAM OpenID Connect provider"`
}

// SubnetIDs are subnets by kind, in the order of the zones.
type SubnetIDs struct {
	Private []string `json:"private" jsonschema_description:"subnets without a route from the internet"`
	Public  []string `json:"public" jsonschema_description:"subnets with one"`
}

// NodeGroupInfo is a node group as it is.
type NodeGroupInfo struct {
	Name          string   `json:"name" jsonschema_description:"name of the node group"`
	ARN           string   `json:"arn" jsonschema_description:"ARN of the node group"`
	InstanceTypes []string `json:"instanceTypes" jsonschema_description:"instance types in order of preference"`
	Zones         []string `json:"zones" jsonschema_description:"zones it may use"`
	RoleARN       string   `json:"roleArn" jsonschema_description:"IAM role of the nodes"`
}
