package attachvolume

import (
	"fmt"
	"strings"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/spec"
)

// Spec is the step's `with:`.
type Spec struct {
	Cluster      steps.ClusterRef `yaml:"cluster" json:"cluster" jsonschema:"required" jsonschema_description:"cluster that gets the volume; it runs the EBS CSI driver"`
	Volume       string           `yaml:"volume" json:"volume" jsonschema:"required,pattern=^vol-[0-9a-f]+$" jsonschema_description:"id of the EBS volume"`
	Claim        string           `yaml:"claim" json:"claim" jsonschema:"required" jsonschema_description:"PersistentVolumeClaim to make, as namespace/name; a namespace that is missing is made"`
	StorageClass string           `yaml:"storageClass,omitempty" json:"storageClass,omitempty" jsonschema_description:"storageClassName of volume and claim; none is right unless a chart insists"`
	FSType       string           `yaml:"fsType,omitempty" json:"fsType,omitempty" jsonschema:"enum=ext4,enum=xfs" jsonschema_description:"file system that is on the volume, or that a blank one gets; default: what a move has written on the volume that it is formatted with, else ext4"`
	AccessMode   string           `yaml:"accessMode,omitempty" json:"accessMode,omitempty" jsonschema:"enum=ReadWriteOnce,enum=ReadWriteOncePod,default=ReadWriteOnce" jsonschema_description:"ReadWriteOncePod lets a single pod use it, not all of one node"`
	Timeout      spec.Duration    `yaml:"timeout,omitempty" json:"timeout,omitempty" jsonschema:"default=10m" jsonschema_description:"longest wait for the claim to be bound, or let go"`
}

// Outputs is what the step leaves for later stages.
type Outputs struct {
	VolumeID         string `json:"volumeId" jsonschema_description:"the EBS volume"`
	PersistentVolume string `json:"persistentVolume" jsonschema_description:"name of the PersistentVolume"`
	Claim            string `json:"claim" jsonschema_description:"the claim, as namespace/name"`
	Values           string `json:"values" jsonschema_description:"values of the official Jenkins chart that let it use the claim and, after a move, keep the kubelet from changing all files at each start; to be committed to Git"`
	Zone             string `json:"zone" jsonschema_description:"availability zone that pods of the claim are held to"`
}

// Validate checks what tags cannot say.
func (s *Spec) Validate() []spec.Problem {
	out := s.Cluster.Check("cluster")
	if s.Claim == "" {
		return out
	}
	if s.namespace() == "" || s.claim() == "" {
		return append(out, spec.Problem{Path: "claim", Message: fmt.Sprintf("expected namespace/name, got %q", s.Claim)})
	}
	return append(out, append(kube.CheckNamespace("claim", s.namespace()), kube.CheckName("claim", s.claim())...)...)
}

// ResourceKeys names the volume and the claim, so that no two stages give the same volume away.
func (s *Spec) ResourceKeys() []string {
	if s.Cluster.IsZero() {
		return nil
	}
	var out []string
	if s.Volume != "" {
		out = append(out, "k8s:PersistentVolume/"+s.Cluster.String()+"/"+volumeName(s.Volume))
	}
	if s.Claim != "" {
		out = append(out, "k8s:PersistentVolumeClaim/"+s.Cluster.String()+"/"+s.Claim)
	}
	return out
}

func (s Spec) namespace() string { ns, _, _ := strings.Cut(s.Claim, "/"); return ns }
func (s Spec) claim() string     { _, name, _ := strings.Cut(s.Claim, "/"); return name }

// volumeName is the PersistentVolume's name: one per EBS volume, so that a second claim on it is a visible conflict.
func volumeName(volume string) string { return "pipectl-" + volume }
