package jenkinshome

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"pipectl.dev/steps"
)

// lastCopy is the last pass of routes that have it made by the orchestrator: the mover has stopped Jenkins, and waits.
func (m *mission) lastCopy(ctx context.Context) error {
	find, pass := m.diskAgain, m.snapshotPass
	switch m.move.Route {
	case routeSnapshot:
	case routeStream:
		find, pass = m.receiverAgain, m.streamPass
	default:
		return nil
	}
	if err := m.rec.reload(ctx); err != nil {
		return err
	}
	if m.rec.Phase != Copied || m.rec.Abort {
		return errLookAgain
	}
	began := time.Now()
	if m.disk.Instance == "" {
		if err := find(ctx); err != nil {
			return err
		}
	}
	if err := m.attach(ctx); err != nil {
		return err
	}
	res, err := pass(ctx, true)
	if err != nil {
		return err
	}
	if res.Final == nil {
		return fmt.Errorf("last pass of route %s: the mover told no hash", m.move.Route)
	}
	m.last = res.Final
	m.last.Copy = max(m.last.Copy, time.Since(began).Seconds()-m.last.Verify) // it may have begun before Jenkins was seen to be gone
	return nil
}

// diskAgain finds the disk after Jenkins has stopped: its pod is gone, so the record tells.
func (m *mission) diskAgain(ctx context.Context) error {
	if m.rec.Cut.Disk == "" {
		return &steps.Error{Code: "StateDamaged", Category: steps.Precondition, Message: "the record of the move does not say which disk has the home", Hints: []string{"`pipectl move abort`, then run again"}}
	}
	var err error
	m.disk, err = m.copier(ctx, sourceDisk{Volume: m.rec.Cut.Disk, Dir: m.rec.Cut.DiskDir})
	if err == nil {
		m.move.Source.InstanceID, m.move.Source.Node = m.disk.Instance, m.disk.Node
	}
	return err
}

// carryOn takes from the volume by which route the move goes, once it has begun. Volumes of before the tag were attached.
func (m *mission) carryOn() {
	s := m.vol.state()
	if s == None || s == Precopying || s == Precopied {
		return // a running Jenkins is looked at, and the route chosen by that
	}
	m.move.Route = cmp.Or(m.vol.Tags[tagRoute], routeAttach)
	if m.vol.Tags[tagRoute] == "" && m.move.Claim != "" {
		m.move.Route = routeSameNode
	}
}
