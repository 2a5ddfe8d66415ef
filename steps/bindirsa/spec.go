package bindirsa

import (
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strings"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/spec"
)

// Spec says which role which service accounts get.
type Spec struct {
	Cluster             steps.ClusterRef  `yaml:"cluster" json:"cluster" jsonschema:"required" jsonschema_description:"the cluster; one that is not of EKS needs an issuer"`
	Issuer              *Issuer           `yaml:"issuer,omitempty" json:"issuer,omitempty" jsonschema_description:"where the keys of a cluster that EKS does not run are published, for AWS to check its tokens by"`
	RoleName            string            `yaml:"roleName,omitempty" json:"roleName,omitempty" jsonschema:"pattern=^[A-Za-z0-9+=\\,.@_-]{1\\,64}$" jsonschema_description:"name of the role; made from pipeline and service account when left out"`
	Path                string            `yaml:"path,omitempty" json:"path,omitempty" jsonschema:"default=/,pattern=^/([!-~]+/)?$" jsonschema_description:"IAM path of the role"`
	ServiceAccounts     []ServiceAccount  `yaml:"serviceAccounts" json:"serviceAccounts" jsonschema:"required" jsonschema_description:"service accounts that may take the role on, and no others"`
	PolicyARNs          []string          `yaml:"policyArns,omitempty" json:"policyArns,omitempty" jsonschema_description:"managed policies of the role"`
	InlinePolicies      map[string]string `yaml:"inlinePolicies,omitempty" json:"inlinePolicies,omitempty" jsonschema_description:"inline policies of the role, JSON documents by name"`
	PermissionsBoundary string            `yaml:"permissionsBoundary,omitempty" json:"permissionsBoundary,omitempty" jsonschema:"pattern=^arn:" jsonschema_description:"ARN of the policy that bounds the role"`
	PodIdentity         bool              `yaml:"podIdentity,omitempty" json:"podIdentity,omitempty" jsonschema_description:"bind by EKS Pod Identity and not by IRSA: the cluster needs the add-on eks-pod-identity-agent, and the binding is proven once a pod runs as the service account"`
	Scan                bool              `yaml:"scan,omitempty" json:"scan,omitempty" jsonschema_description:"let plan tell which workloads and namespaces of the cluster still have annotations of kube2iam or kiam, and the stages to put in their place; nothing is changed"`
	Restart             []string          `yaml:"restart,omitempty" json:"restart,omitempty" jsonschema_description:"workloads to restart when a service account changed, as namespace/deployment/name: pods get the role only when they start"`
}

// ServiceAccount is one service account.
type ServiceAccount struct {
	Namespace string `yaml:"namespace" json:"namespace" jsonschema:"required" jsonschema_description:"namespace of the service account"`
	Name      string `yaml:"name" json:"name" jsonschema:"required" jsonschema_description:"name of the service account"`
	Create    *bool  `yaml:"create,omitempty" json:"create,omitempty" jsonschema:"default=true" jsonschema_description:"make it when it is missing, for the add-on or chart that brings it to take over; false: missing is an error"`
	Wildcard  bool   `yaml:"wildcard,omitempty" json:"wildcard,omitempty" jsonschema_description:"take * and ? in namespace and name for wildcards; accounts that match are admitted, but neither made nor annotated"`
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
	switch eks := sp.Cluster.EKS != nil; {
	case len(ps) > 0:
	case !eks && sp.Issuer == nil:
		ps = append(ps, spec.Problem{Path: "cluster", Message: "expected an EKS cluster, or an issuer", Hint: "give eks: {name, region}, or the cluster output of provision-eks; for a cluster of your own, issuer: {bucket: NAME}"})
	case eks && sp.Issuer != nil:
		ps = append(ps, spec.Problem{Path: "issuer", Message: "an EKS cluster has an issuer of its own", Hint: "leave issuer out"})
	}
	if sp.Issuer != nil {
		ps = append(ps, sp.Issuer.check()...)
		if sp.PodIdentity {
			ps = append(ps, spec.Problem{Path: "podIdentity", Message: "Pod Identity is of EKS alone", Hint: "leave it out: with an issuer the role is bound by tokens"})
		}
	}
	if len(sp.ServiceAccounts) == 0 {
		ps = append(ps, spec.Problem{Path: "serviceAccounts", Message: "expected at least one service account"})
	}
	seen := map[string]bool{}
	for i, a := range sp.ServiceAccounts {
		at := spec.Index("serviceAccounts", i)
		ps = append(ps, a.check(at)...)
		if seen[a.String()] {
			ps = append(ps, spec.Problem{Path: at, Message: a.String() + " is listed twice"})
		}
		seen[a.String()] = true
		if a.Wildcard && sp.PodIdentity {
			ps = append(ps, spec.Problem{Path: at + ".wildcard", Message: "Pod Identity knows no wildcards", Hint: "list the service accounts one by one"})
		}
	}
	if _, ok := foreigner(sp.ServiceAccounts); !ok && len(ps) == 0 {
		ps = append(ps, spec.Problem{Path: "serviceAccounts", Message: "they match every service account that the proof could be refused with", Hint: "name fewer namespaces"})
	}
	for i, arn := range sp.PolicyARNs {
		if !strings.HasPrefix(arn, "arn:") {
			ps = append(ps, spec.Problem{Path: spec.Index("policyArns", i), Message: "expected an ARN", Hint: "such as arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy"})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sp.InlinePolicies)) {
		if text := sp.InlinePolicies[name]; text != "" && !json.Valid([]byte(text)) {
			ps = append(ps, spec.Problem{Path: spec.Join("inlinePolicies", name), Message: "expected a policy as JSON", Hint: "a block (`|`) keeps its quotes and braces from YAML"})
		}
	}
	for i, w := range sp.Restart {
		if _, err := parseWorkload(w); err != nil {
			ps = append(ps, spec.Problem{Path: spec.Index("restart", i), Message: err.Error()})
		}
	}
	return ps
}

// check refuses wildcards that were not asked for, and one that stands for everybody.
func (a ServiceAccount) check(at string) []spec.Problem {
	switch has := wild(a.Namespace + a.Name); {
	case has && !a.Wildcard:
		return []spec.Problem{{Path: at, Message: "wildcards are taken only where they are asked for", Hint: "list the service accounts one by one, or set wildcard: true"}}
	case !has && a.Wildcard:
		return []spec.Problem{{Path: at + ".wildcard", Message: "there is neither * nor ? in " + a.String()}}
	case !has:
		return append(kube.CheckNamespace(spec.Join(at, "namespace"), a.Namespace), kube.CheckName(spec.Join(at, "name"), a.Name)...)
	case strings.ContainsAny(a.Namespace+a.Name, `[]\/:`):
		return []spec.Problem{{Path: at, Message: "no service account has such a name: " + a.String()}}
	case a.Wildcard && strings.Trim(a.Namespace, "*?") == "":
		return []spec.Problem{{Path: at + ".namespace", Message: "a wildcard for every namespace admits whoever may make a namespace", Hint: "start it with what your namespaces have in common, such as team-a-*"}}
	}
	return nil
}

// matches says whether this entry admits the service account b.
func (a ServiceAccount) matches(b ServiceAccount) bool {
	if !a.Wildcard {
		return a.String() == b.String()
	}
	ns, err1 := path.Match(a.Namespace, b.Namespace) // names have no slash, so * means the same as in IAM
	name, err2 := path.Match(a.Name, b.Name)
	return ns && name && err1 == nil && err2 == nil
}

// foreigner is a service account that every cluster has and that is not bound here.
func foreigner(bound []ServiceAccount) (ServiceAccount, bool) {
	for _, a := range []ServiceAccount{{Namespace: "default", Name: "default"}, {Namespace: "kube-public", Name: "default"}, {Namespace: "kube-node-lease", Name: "default"},
		{Namespace: "kube-system", Name: "default"}, {Namespace: "kube-system", Name: "namespace-controller"}} {
		if !slices.ContainsFunc(bound, func(b ServiceAccount) bool { return b.matches(a) }) {
			return a, true
		}
	}
	return ServiceAccount{}, false
}
