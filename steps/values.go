package steps

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"gopkg.in/yaml.v3"

	"pipectl.dev/steps/spec"
)

// Secret is a value that must not be seen. It prints, logs and marshals as "***"; only Reveal gives it away.
type Secret struct{ value string }

// NewSecret hides value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the hidden value, for the one call that needs it.
func (s Secret) Reveal() string { return s.value }

// IsSet reports whether there is a value.
func (s Secret) IsSet() bool { return s.value != "" }

// String hides the value, and so do the next three.
func (s Secret) String() string { return "***" }

// GoString is for %#v.
func (s Secret) GoString() string { return "***" }

// LogValue is for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue("***") }

// MarshalJSON is for results and events.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal("***") }

// UnmarshalYAML takes any scalar.
func (s *Secret) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return errors.New("expected a string")
	}
	s.value = n.Value
	return nil
}

// ClusterRef says which Kubernetes cluster: exactly one of its fields is set. The `cluster` output of provision-eks is one.
// EKS tokens are made in process when needed; no kubeconfig travels.
type ClusterRef struct {
	EKS        *EKSCluster `yaml:"eks,omitempty" json:"eks,omitempty" jsonschema_description:"an EKS cluster; tokens are made in process"`
	Context    string      `yaml:"context,omitempty" json:"context,omitempty" jsonschema_description:"a context of the kubeconfig"`
	Kubeconfig string      `yaml:"kubeconfig,omitempty" json:"kubeconfig,omitempty" jsonschema_description:"path of a kubeconfig whose current context is used"`
	InCluster  bool        `yaml:"inCluster,omitempty" json:"inCluster,omitempty" jsonschema_description:"the cluster that pipectl runs in"`
}

// EKSCluster names an EKS cluster; what is not given is asked of DescribeCluster.
type EKSCluster struct {
	Name                 string `yaml:"name" json:"name" jsonschema:"required" jsonschema_description:"name of the cluster"`
	Region               string `yaml:"region" json:"region" jsonschema:"required" jsonschema_description:"AWS region it is in"`
	ARN                  string `yaml:"arn,omitempty" json:"arn,omitempty" jsonschema_description:"ARN of the cluster"`
	Endpoint             string `yaml:"endpoint,omitempty" json:"endpoint,omitempty" jsonschema_description:"https URL of the API server"`
	CertificateAuthority string `yaml:"certificateAuthority,omitempty" json:"certificateAuthority,omitempty" jsonschema_description:"base64 of the PEM"`
	Version              string `yaml:"version,omitempty" json:"version,omitempty" jsonschema_description:"Kubernetes version, such as 1.34"`
	CreatedAt            string `yaml:"createdAt,omitempty" json:"createdAt,omitempty" jsonschema_description:"RFC 3339; tells a re-created cluster from the one before"`
}

// IsZero reports whether no cluster is named.
func (r ClusterRef) IsZero() bool { return r == ClusterRef{} }

// Check reports what is wrong with r at path, for Validate methods.
func (r ClusterRef) Check(path string) []spec.Problem {
	n := 0
	for _, set := range []bool{r.EKS != nil, r.Context != "", r.Kubeconfig != "", r.InCluster} {
		if set {
			n++
		}
	}
	if n == 1 {
		return nil
	}
	return []spec.Problem{{Path: path, Message: fmt.Sprintf("expected exactly one of eks, context, kubeconfig, inCluster, got %d", n)}}
}

// String names the cluster for people.
func (r ClusterRef) String() string {
	switch {
	case r.EKS != nil:
		return "eks:" + r.EKS.Region + "/" + r.EKS.Name
	case r.Context != "":
		return "context:" + r.Context
	case r.Kubeconfig != "":
		return "kubeconfig:" + r.Kubeconfig
	case r.InCluster:
		return "in-cluster"
	default:
		return "(no cluster)"
	}
}
