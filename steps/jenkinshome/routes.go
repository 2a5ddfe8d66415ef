package jenkinshome

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"pipectl.dev/steps"
)

// Routes, in the order in which they are preferred: what reads the live home without the network first.
const (
	routeAuto     = "auto"
	routeSameNode = "sameNode"
	routeAttach   = "attach"
	routeSnapshot = "snapshot"
	routeStream   = "stream"
)

// option is one route with what speaks for or against it.
type option struct {
	Route string
	Why   string
	Err   error // why it cannot be taken; nil: it can
}

// ground is what the choice of a route rests on. Each error says why a route cannot be taken.
type ground struct {
	Claim    string // target claim in the source cluster, "" where there is none
	SameNode error
	ToCome   bool   // the claim is made by a stage that has not run yet
	Node     string // that runs Jenkins
	Instance string // EC2 instance of it
	Attach   error
	Disk     string // EBS volume that has the home
	Worker   string // node that would copy from a snapshot of it, or from a stream
	Snapshot error
	Stream   error
}

// weigh says of every route whether it can be taken and why. It is pure.
func weigh(g ground) []option {
	out := []option{
		{Route: routeSameNode, Err: g.SameNode, Why: fmt.Sprintf("home and claim %s are in one cluster: a mover on node %s mounts both", g.Claim, g.Node)},
		{Route: routeAttach, Err: g.Attach, Why: fmt.Sprintf("the old node %s is the EC2 instance %s in the volume's zone: the volume is attached to it, no data goes over the network", g.Node, g.Instance)},
		{Route: routeSnapshot, Err: g.Snapshot, Why: fmt.Sprintf("the home is on %s: node %s in the volume's zone copies from snapshots of it, the old node is left alone", g.Disk, g.Worker)},
		{Route: routeStream, Err: g.Stream, Why: fmt.Sprintf("a mover on the old node %s serves the home to one%s, which writes to the volume; pipectl carries what they say, encrypted, between both", g.Node, onWorker(g.Worker))},
	}
	switch {
	case g.Claim != "":
	case g.ToCome:
		out[0].Why = fmt.Sprintf("home and the claim that is to be made of the volume are in one cluster: a mover on node %s mounts both", g.Node)
	default:
		out[0].Err = &steps.Error{Code: "NoClaim", Category: steps.Precondition, Message: "no claim of the source cluster is bound to the volume",
			Hints: []string{"attach-volume makes one, before this stage"}}
	}
	return out
}

func onWorker(node string) string {
	if node == "" {
		return " in the volume's zone"
	}
	return " on node " + node
}

// pick chooses: what was asked for, else the first that can be taken. Where none can, the error of attaching says most; it tells the others'.
func pick(asked string, all []option) (option, error) {
	if asked != routeAuto && asked != "" {
		i := slices.IndexFunc(all, func(o option) bool { return o.Route == asked })
		if i < 0 {
			return option{}, fmt.Errorf("route %s: is not known", asked)
		}
		return all[i], all[i].Err
	}
	for _, o := range all {
		if o.Err == nil {
			return o, nil
		}
	}
	none := all[slices.IndexFunc(all, func(o option) bool { return o.Route == routeAttach })]
	var e *steps.Error
	if !errors.As(none.Err, &e) {
		return option{}, none.Err
	}
	told := *e
	told.Hints = slices.Clone(e.Hints)
	for _, o := range all {
		if o.Route != none.Route {
			told.Hints = append(told.Hints, fmt.Sprintf("route %s: %s", o.Route, reason(o.Err)))
		}
	}
	return option{}, &told
}

// reason is an error in one line, with what would mend it.
func reason(err error) string {
	e := steps.Classify(err)
	return strings.Join(append([]string{e.Message}, e.Hints[:min(1, len(e.Hints))]...), "; ")
}

// explain tells in one line each why this route is taken and why the others are not.
func explain(chosen, asked string, all []option) []string {
	i := slices.IndexFunc(all, func(o option) bool { return o.Route == chosen })
	if i < 0 {
		return nil
	}
	why := all[i].Why
	if asked == chosen {
		why += " (asked for)"
	}
	out := []string{fmt.Sprintf("route %s: %s", chosen, why)}
	for n, o := range all {
		switch {
		case n == i:
		case o.Err != nil:
			out = append(out, fmt.Sprintf("not route %s: %s", o.Route, reason(o.Err)))
		case n > i:
			out = append(out, fmt.Sprintf("not route %s: it could be taken too, but costs more time", o.Route))
		default:
			out = append(out, fmt.Sprintf("not route %s: %s was asked for", o.Route, chosen))
		}
	}
	return out
}

// route finds out which routes can be taken and takes one, which from the first copy on is written on the volume: what was copied by
// one is carried on by the same, unless another is asked for.
func (m *mission) route(ctx context.Context) error {
	m.asked = cmp.Or(m.asked, m.move.Route, routeAuto)
	asked := m.asked
	if before := m.vol.Tags[tagRoute]; before != "" && asked == routeAuto {
		asked = before
	}
	if m.move.VolumeID != "" && m.home.Disk == m.move.VolumeID {
		return &steps.Error{Code: "HomeIsThere", Category: steps.Precondition, Message: "the home is on the data volume " + m.home.Disk + " already: source and target are one",
			Hints: []string{"there is nothing to move; or correct `volume`"}}
	}
	g, err := m.ground(ctx, asked)
	if err != nil {
		return err
	}
	m.options = weigh(g)
	o, err := pick(asked, m.options)
	if err != nil && asked != m.asked { // the one before is no longer possible
		o, err = pick(m.asked, m.options)
	}
	if err != nil {
		return err
	}
	m.move.Route = o.Route
	if o.Route == routeSameNode && g.Claim != "" {
		m.move.Claim = g.Claim
	}
	if copiesElsewhere(o.Route) {
		m.move.Source.InstanceID, m.move.Source.Node = m.disk.Instance, m.disk.Node
	}
	return nil
}

// ground looks at what a route may rest on. Where the volume can be attached nobody asks for more: a snapshot's cluster need not answer.
func (m *mission) ground(ctx context.Context, asked string) (ground, error) {
	g := ground{Node: m.home.Node.Name, Instance: m.home.Instance}
	if err := m.mayRunMover(ctx); err != nil {
		return g, err
	}
	var err error
	if g.Claim, g.SameNode, err = m.ownClaim(ctx); err != nil {
		return g, err
	}
	g.ToCome = m.early && g.Claim == "" && asked == routeSameNode
	g.Attach = m.attachable(ctx)
	if cannotTell(g.Attach) {
		return g, g.Attach
	}
	if g.Attach == nil && !copiesElsewhere(asked) {
		g.Snapshot, g.Stream = errNoNeed, errNoStream
		return g, nil
	}
	if g.Snapshot = errAskedStream; asked != routeStream {
		m.disk, g.Snapshot = m.sourceDisk(ctx)
		g.Disk, g.Worker = m.disk.Volume, m.disk.Node
		if asked == routeSnapshot && cannotTell(g.Snapshot) {
			return g, g.Snapshot
		}
	}
	if g.Stream = errNoStream; g.Snapshot != nil {
		g.Stream = m.streamable(ctx)
		g.Worker = m.disk.Node
		if asked == routeStream && cannotTell(g.Stream) {
			return g, g.Stream
		}
	}
	return g, nil
}

var errNoNeed = &steps.Error{Code: "NotNeeded", Category: steps.Precondition, Message: "the volume can be attached to the old node, which spares the minutes that snapshots take"}

var (
	errNoStream    = &steps.Error{Code: "NotNeeded", Category: steps.Precondition, Message: "the home can be had without sending it over the network"}
	errAskedStream = &steps.Error{Code: "NotNeeded", Category: steps.Precondition, Message: "stream was asked for"}
)

// cannotTell says of an error that it is none of a route: the world did not answer.
func cannotTell(err error) bool {
	return err != nil && steps.Classify(err).Category != steps.Precondition && steps.Classify(err).Category != steps.Conflict && steps.Classify(err).Category != steps.Quota
}

// attachable says why the volume could not be attached to the old node and mounted there.
func (m *mission) attachable(ctx context.Context) error {
	if m.home.NoInstance != nil {
		return m.home.NoInstance
	}
	if _, _, before := parseSource(m.vol.Tags[tagSource]); before != "" && before != m.home.Instance && !copiesElsewhere(m.vol.Tags[tagRoute]) {
		return &steps.Error{Code: "OtherNode", Category: steps.Conflict,
			Message: fmt.Sprintf("Jenkins runs on %s (%s), but its home was copied from %s (%s)", m.home.Node.Name, m.home.Instance, m.vol.Tags[tagNode], before),
			Hints:   []string{"let it run on the old node again, or begin anew with another volume"}}
	}
	if m.vol.Instance == m.home.Instance && m.vol.ID != "" {
		return nil
	}
	machine, err := readInstance(ctx, m.aws, m.home.Instance)
	if err != nil {
		return err
	}
	if m.vol.ID != "" { // else its zone is not known
		if err := inZone(m.vol, m.home.Instance, machine); err != nil {
			return err
		}
	}
	return m.takes(ctx, machine, 1)
}
