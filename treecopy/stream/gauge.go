package stream

import "time"

// gauge decides whether packing saves time, going by what was measured over the last stretch: the time that writing took, what packing
// takes, and how much smaller it makes things.
type gauge struct {
	on   bool
	raw  int64         // bytes since the last decision
	wire int64         // bytes that were written for them
	busy time.Duration // for which the connection took nothing more
	pack time.Duration // spent on packing; when not on: what packing all of raw would take
}

// Bytes between two decisions. The first comes early: by then a socket's own buffers are full.
const (
	firstLook = 1 << 20
	nextLook  = 4 << 20
)

// judge is pure. Not on: packing would take pack and save the part of busy that goes by size (sample: packed size by raw size). On: what is
// sent took busy, and unpacked it would have taken longer by the same measure.
func (g *gauge) judge(sample float64) bool {
	if sample <= 0 || sample > 0.95 {
		return false
	}
	saved := time.Duration(float64(g.busy) * (1 - sample))
	if g.on {
		saved = time.Duration(float64(g.busy) * (1/sample - 1))
	}
	return g.pack < saved
}

// due says that there is enough to go by.
func (g *gauge) due(looked bool) bool {
	switch {
	case !looked:
		return g.raw >= firstLook
	case g.on:
		return g.raw >= nextLook
	}
	return g.raw >= 4*nextLook // each look costs a sample
}
