// Package datavolume is the step data-volume: an EBS volume that outlives clusters, found again by its owner tags in whatever zone it is.
//
// It must never remove a volume but by `destroy --with-data`, and knows nothing of what is on it; tags of a finished move are only read.
package datavolume

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
	"pipectl.dev/steps/spec"
)

// Spec is the volume that should be there.
type Spec struct {
	Name          string    `yaml:"name" json:"name" jsonschema:"required,pattern=^[A-Za-z0-9][A-Za-z0-9._-]{0\\,62}$" jsonschema_description:"name of the volume within the pipeline"`
	Region        string    `yaml:"region,omitempty" json:"region,omitempty" jsonschema_description:"AWS region; the pipeline's when left out"`
	Zone          string    `yaml:"zone" json:"zone" jsonschema:"required" jsonschema_description:"availability zone to make it in, such as ap-northeast-2a; a volume that exists stays where it is"`
	Relocate      bool      `yaml:"relocate,omitempty" json:"relocate,omitempty" jsonschema_description:"move a volume that is in another zone to the one named here, by a snapshot, while nothing uses it; the one before is kept"`
	Size          spec.Size `yaml:"size" json:"size" jsonschema:"required" jsonschema_description:"size, such as 20Gi; a larger one than before enlarges the volume, a smaller one is refused"`
	Type          string    `yaml:"type,omitempty" json:"type,omitempty" jsonschema:"enum=gp3,enum=io2,default=gp3" jsonschema_description:"volume type"`
	Encrypted     *bool     `yaml:"encrypted,omitempty" json:"encrypted,omitempty" jsonschema:"default=true" jsonschema_description:"encrypt what is on it"`
	KMSKeyID      string    `yaml:"kmsKeyId,omitempty" json:"kmsKeyId,omitempty" jsonschema_description:"KMS key to encrypt with; default: the account's own for EBS"`
	IOPS          int32     `yaml:"iops,omitempty" json:"iops,omitempty" jsonschema:"minimum=100,maximum=256000" jsonschema_description:"operations a second; default: what the type brings (gp3: 3000)"`
	Throughput    int32     `yaml:"throughput,omitempty" json:"throughput,omitempty" jsonschema:"minimum=125,maximum=2000" jsonschema_description:"MiB a second of a gp3 volume; default 125"`
	Snapshots     int       `yaml:"snapshots,omitempty" json:"snapshots,omitempty" jsonschema:"minimum=0,maximum=100" jsonschema_description:"how many of its snapshots to keep: down takes one each time a cluster has let the volume go, and removes the oldest of too many; 0: none is taken"`
	FinalSnapshot *bool     `yaml:"finalSnapshot,omitempty" json:"finalSnapshot,omitempty" jsonschema:"default=true" jsonschema_description:"take a last snapshot before destroy --with-data removes the volume; it stays and costs"`
}

// Outputs is the volume as it is.
type Outputs struct {
	VolumeID string  `json:"volumeId" jsonschema_description:"id of the volume"`
	Zone     string  `json:"zone" jsonschema_description:"availability zone it is in; nodes that use it must be there"`
	SizeGiB  int32   `json:"sizeGiB" jsonschema_description:"size in GiB"`
	State    string  `json:"state" jsonschema_description:"available or in-use"`
	Imported *Import `json:"imported,omitempty" jsonschema_description:"the finished move that filled it, if there was one"`
}

// Import tells of a finished move onto the volume.
type Import struct {
	Source string `json:"source" jsonschema_description:"where the data came from"`
	Time   string `json:"time" jsonschema_description:"when the move was finished, RFC 3339"`
}

// Validate finds what is wrong with the spec without asking AWS.
func (s *Spec) Validate() []spec.Problem {
	var ps []spec.Problem
	if s.Size.Bytes > 0 && s.Size.GiB() > 65536 {
		ps = append(ps, spec.Problem{Path: "size", Message: "EBS volumes end at 64Ti"})
	}
	if s.Size.Bytes == 0 {
		ps = append(ps, spec.Problem{Path: "size", Message: "must be at least 1Gi"})
	}
	if s.Throughput > 0 && s.Type != "gp3" {
		ps = append(ps, spec.Problem{Path: "throughput", Message: "only gp3 volumes have it", Hint: "leave throughput out, or use type: gp3"})
	}
	if s.Type == "io2" && s.IOPS == 0 {
		ps = append(ps, spec.Problem{Path: "iops", Message: "io2 volumes need it"})
	}
	if s.KMSKeyID != "" && s.Encrypted != nil && !*s.Encrypted {
		ps = append(ps, spec.Problem{Path: "kmsKeyId", Message: "the volume is not encrypted", Hint: "leave kmsKeyId out, or drop `encrypted: false`"})
	}
	return ps
}

// ResourceKeys names what no other stage may make.
func (s *Spec) ResourceKeys() []string {
	if s.Name == "" {
		return nil
	}
	return []string{reconcile.ID(kindVolume, s.Name)}
}

// New makes the step.
func New(open cloud.Opener) steps.Definition {
	return steps.Define(steps.About{
		Name: "data-volume",
		Least: func(kind, name string) (steps.Least, bool) {
			return steps.Least{With: fmt.Sprintf("{name: %q, zone: null, size: null}", name), Partial: []string{"zone", "size"}}, kind == kindVolume && !strings.Contains(name, "/")
		},
		Summary: "Keep an EBS volume that outlives every cluster",
		Example: "name: jenkins-home\nzone: ap-northeast-2a\nsize: 20Gi\n",
		Doc: "The volume is found by its owner tags in any zone of the region, else it is made. `down` keeps it, and a later run finds it again; its zone then\n" +
			"decides where nodes go, also when the spec names another one, unless `relocate: true` has it moved there by a snapshot. Only `destroy --with-data` removes it, and takes a last snapshot first.\n\n" +
			"With `snapshots: N`, `down` takes a snapshot once attach-volume has taken the volume back from a cluster, one for each such use. It goes on being made\n" +
			"while the cluster is removed. Of the snapshots that the step itself has taken of this volume the newest N whole ones are kept; no others are ever removed.",
		AWS:    true,
		Data:   true,
		Expect: 5 * time.Second,
	}, &step{open: open})
}

type step struct{ open cloud.Opener }

func (p *step) begin(ctx context.Context, env steps.Env, sp Spec, down bool) (*state, owned.List[state], error) {
	session, err := p.open(ctx, sp.Region)
	if err != nil {
		return nil, owned.List[state]{}, err
	}
	s := &state{aws: session, env: env, spec: sp, owner: env.Identity.String(), down: down}
	return s, owned.List[state]{AWS: session, Resources: []reconcile.Resource[state]{volume(sp)}, Report: env.Report, Blocked: attachedTo}, nil
}

func (p *step) Plan(ctx context.Context, env steps.Env, sp Spec) (steps.Plan[Outputs], error) {
	var plan steps.Plan[Outputs]
	s, list, err := p.begin(ctx, env, sp, false)
	if err != nil {
		return plan, err
	}
	if plan.Changes, err = list.Plan(ctx, s); err != nil {
		return plan, err
	}
	if err := s.tooLarge(); err != nil {
		return plan, err
	}
	if len(plan.Changes) == 1 && plan.Changes[0].Action == reconcile.Keep {
		out := s.outputs()
		plan.Outputs = &out
	} else {
		plan.Foreseen = s.foreseen()
	}
	switch {
	case s.found == nil || sp.Zone == "" || s.zone() == sp.Zone:
	case sp.Relocate:
		plan.Forecast.Notes = append(plan.Forecast.Notes, fmt.Sprintf("%s moves from %s to %s by a snapshot; the volume before is kept, and costs, until `destroy --with-data`", aws.ToString(s.found.VolumeId), s.zone(), sp.Zone))
		if err := movable(s.found); err != nil {
			plan.Forecast.Notes = append(plan.Forecast.Notes, "now this would be refused: "+err.Error())
		}
	default:
		plan.Forecast.Notes = append(plan.Forecast.Notes, fmt.Sprintf("the volume is in %s, not in %s: a volume cannot change its zone, so nodes follow it (`relocate: true` moves it by a snapshot)", s.zone(), sp.Zone))
	}
	plan.Forecast.Cost = s.cost()
	if plan.Outputs == nil {
		plan.Forecast.Seconds = 5
	}
	return plan, err
}

func (p *step) Apply(ctx context.Context, env steps.Env, sp Spec) (Outputs, error) {
	s, list, err := p.begin(ctx, env, sp, false)
	if err != nil {
		return Outputs{}, err
	}
	if err := list.Apply(ctx, s); err != nil {
		return Outputs{}, err
	}
	return s.outputs(), nil
}

func (p *step) Observe(ctx context.Context, env steps.Env, sp Spec) (Outputs, bool, error) {
	s, list, err := p.begin(ctx, env, sp, true)
	if err != nil {
		return Outputs{}, false, err
	}
	if _, err := list.Plan(ctx, s); err != nil || s.found == nil {
		return Outputs{}, false, err
	}
	return s.outputs(), true, nil
}

// Release keeps what the last cluster has left on the volume.
func (p *step) Release(ctx context.Context, env steps.Env, sp Spec) error {
	if sp.Snapshots == 0 || env.Unknown("name") || env.Unknown("region") {
		return nil
	}
	s, _, err := p.begin(ctx, env, sp, true)
	if err != nil {
		return err
	}
	if s.found, err = s.find(ctx); err != nil || s.found == nil {
		return cloud.Explain(err)
	}
	return cloud.Explain(s.afterUse(ctx))
}

// Delete removes the volume only where data may go; else only snapshots beyond the number to keep.
func (p *step) Delete(ctx context.Context, env steps.Env, sp Spec, o steps.DeleteOptions) error {
	if !o.WithData {
		if sp.Snapshots == 0 || env.Unknown("name") || env.Unknown("region") {
			return nil
		}
		s, _, err := p.begin(ctx, env, sp, true)
		if err != nil {
			return err
		}
		return cloud.Explain(s.prune(ctx))
	}
	s, list, err := p.begin(ctx, env, sp, true)
	if err != nil {
		return err
	}
	return list.Destroy(ctx, s, true)
}
