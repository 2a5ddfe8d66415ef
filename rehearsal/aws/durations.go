package aws

import (
	"maps"
	"time"
)

// DefaultDurations are the nominal durations of what AWS does on its own, by span name.
// Options.Durations overrides single ones. Keys are the call that starts the work.
func DefaultDurations() map[string]time.Duration { return maps.Clone(defaultDurations) }

var defaultDurations = map[string]time.Duration{
	"iam:propagation":          10 * time.Second,
	"ec2:lag":                  1500 * time.Millisecond, // longest read-after-create lag of an id
	"ec2:CreateVpc":            1 * time.Second,
	"ec2:CreateSubnet":         1 * time.Second,
	"ec2:CreateNatGateway":     105 * time.Second,
	"ec2:DeleteNatGateway":     79 * time.Second,
	"ec2:CreateVolume":         3 * time.Second,
	"ec2:AttachVolume":         3 * time.Second,
	"ec2:DetachVolume":         4 * time.Second,
	"ec2:DeleteVolume":         1 * time.Second,
	"ec2:ModifyVolume":         5 * time.Second,
	"ec2:OptimizeVolume":       50 * time.Second, // the volume can be used meanwhile, but not modified again
	"ec2:CreateSnapshot":       60 * time.Second,
	"ec2:TerminateInstances":   40 * time.Second,
	"elb:ReleaseInterfaces":    15 * time.Second,
	"eks:CreateCluster":        510 * time.Second,
	"eks:DeleteCluster":        150 * time.Second,
	"eks:UpdateClusterConfig":  120 * time.Second,
	"eks:UpdateClusterVersion": 540 * time.Second,
	"eks:CreateNodegroup":      115 * time.Second,
	"eks:DeleteNodegroup":      380 * time.Second,
	"eks:UpdateNodegroup":      90 * time.Second,
	"eks:NodeCreationFailure":  21 * time.Minute,
	"eks:LaunchFailure":        60 * time.Second,
	"eks:CreateAddon":          46 * time.Second, // Deployments: ebs-csi
	"eks:CreateAddonDaemonSet": 30 * time.Second, // vpc-cni, kube-proxy, coredns, pod identity
	"eks:AddonDegraded":        60 * time.Second,
	"eks:AddonRecheck":         15 * time.Minute,
	"eks:DeleteAddon":          10 * time.Second,
	"eks:UpdateAddon":          40 * time.Second,
}

// nominal is a duration without jitter.
func (c *Cloud) nominal(name string) time.Duration {
	if d, ok := c.opt.Durations[name]; ok {
		return d
	}
	return defaultDurations[name]
}

// draw is a duration with jitter where asked for.
func (c *Cloud) draw(name string) time.Duration {
	d := c.nominal(name)
	if c.opt.Jitter {
		d = time.Duration(float64(d) * (0.8 + 0.4*c.rand.Float64()))
	}
	return d
}

// Span is one piece of work that AWS did on its own: what started it, on which resource, when (emulated) and how long it takes.
type Span struct {
	Name  string // a key of DefaultDurations
	ID    string
	Start time.Time
	Took  time.Duration
	Call  int      // number of the ledger call that started it
	After []string // ids of resources that truly had to be complete before it could start
}

// spend records a span and runs done when it is over.
func (c *Cloud) spend(r *request, name, id string, after []string, done func()) time.Duration {
	d := c.draw(name)
	c.span(r, name, id, d, after)
	c.after(d, done)
	return d
}

func (c *Cloud) span(r *request, name, id string, d time.Duration, after []string) {
	call := 0
	if r != nil {
		call = r.n
	}
	c.spans = append(c.spans, Span{Name: name, ID: id, Start: c.emulated(time.Now()), Took: d, Call: call, After: after})
}
