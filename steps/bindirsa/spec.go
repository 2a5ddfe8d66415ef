package bindirsa

import (
	"strings"

	"pipectl.dev/steps"
	"pipectl.dev/steps/spec"
)

// Spec says which role which service accounts get.
type Spec struct {
	Cluster             steps.ClusterRef  `yaml:"cluster" json:"cluster" jsonschema:"required" jsonschema_description:"the EKS cluster"`
	RoleName            string            `yaml:"roleName,omitempty" json:"roleName,omitempty" jsonschema:"pattern=^[A-Za-z0-9+=\\,.@_-]{1\\,64}$" jsonschema_description:"name of the role; made from pipeline and service account when left out"`
	Path                string            `yaml:"path,omitempty" json:"path,omitempty" jsonschema:"default=/,pattern=^/([!-~]+/)?$" jsonschema_description:"IAM path of the role"`
	ServiceAccounts     []ServiceAccount  `yaml:"serviceAccounts" json:"serviceAccounts" jsonschema:"required" jsonschema_description:"service accounts that may take the role on, and no others"`
	PolicyARNs          []string          `yaml:"policyArns,omitempty" json:"policyArns,omitempty" jsonschema_description:"managed policies of the role"`
	InlinePolicies      map[string]string `yaml:"inlinePolicies,omitempty" json:"inlinePolicies,omitempty" jsonschema_description:"inline policies of the role, JSON documents by name"`
	PermissionsBoundary string            `yaml:"permissionsBoundary,omitempty" json:"permissionsBoundary,omitempty" jsonschema:"pattern=^arn:" jsonschema_description:"ARN of the policy that bounds the role"`
	Restart             []string          `yaml:"restart,omitempty" json:"restart,omitempty" jsonschema_description:"workloads to restart when a service account changed, as namespace/deployment/name: pods get the role only when they start"`
}

// ServiceAccount is one service account.
type ServiceAccount struct {
	Namespace string `yaml:"namespace" json:"namespace" jsonschema:"required" jsonschema_description:"namespace of the service account"`
	Name      string `yaml:"name" json:"name" jsonschema:"required" jsonschema_description:"name of the service account"`
	Create    *bool  `yaml:"create,omitempty" json:"create,omitempty" jsonschema:"default=true" jsonschema_description:"make it when it is missing, for the add-on or chart that brings it to take over; false: missing is an error"`
}

func (a ServiceAccount) String() string { return a.Namespace + "/" + a.Name }
func (a ServiceAccount) subject() string {
	return "system:serviceaccount:" + a.Namespace + ":" + a.Name
}

func (sp Spec) region(env steps.Env) string {
	if sp.Cluster.EKS != nil && sp.Cluster.EKS.Region != "" {
		return sp.Cluster.EKS.Region
	}
	return env.Identity.Region
}

// Validate refuses what would make a role for everybody, or for nobody.
func (sp *Spec) Validate() []spec.Problem {
	ps := sp.Cluster.Check("cluster")
	if len(ps) == 0 && sp.Cluster.EKS == nil {
		ps = append(ps, spec.Problem{Path: "cluster", Message: "expected an EKS cluster", Hint: "give eks: {name, region}, or the cluster output of provision-eks"})
	}
	if len(sp.ServiceAccounts) == 0 {
		ps = append(ps, spec.Problem{Path: "serviceAccounts", Message: "expected at least one service account"})
	}
	seen := map[string]bool{}
	for i, a := range sp.ServiceAccounts {
		at := spec.Index("serviceAccounts", i)
		if strings.ContainsAny(a.Namespace+a.Name, "*?") {
			ps = append(ps, spec.Problem{Path: at, Message: "wildcards are not allowed", Hint: "list the service accounts one by one"})
		}
		if seen[a.String()] {
			ps = append(ps, spec.Problem{Path: at, Message: a.String() + " is listed twice"})
		}
		seen[a.String()] = true
	}
	for i, arn := range sp.PolicyARNs {
		if !strings.HasPrefix(arn, "arn:") {
			ps = append(ps, spec.Problem{Path: spec.Index("policyArns", i), Message: "expected an ARN", Hint: "such as arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy"})
		}
	}
	for i, w := range sp.Restart {
		if _, err := parseWorkload(w); err != nil {
			ps = append(ps, spec.Problem{Path: spec.Index("restart", i), Message: err.Error()})
		}
	}
	return ps
}
