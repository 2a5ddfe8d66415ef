package treecopy

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strconv"

	"github.com/zeebo/blake3"
)

// digest names a set of entries whatever their order: the sum, modulo 2^256, of the BLAKE3 hashes of their proofs. So entries
// can be added and taken away one by one.
type digest struct {
	acc     [4]uint64
	unknown int64 // entries whose content hash is missing: while there are some, there is nothing to say
	counts  Counts
	bytes   int64
}

// tally counts one entry.
func (c *Counts) tally(r *record) {
	switch {
	case r.leader != "":
		c.HardLinks++
	case r.kind == 'f':
		c.Files++
	case r.kind == 'd':
		c.Dirs++
	case r.kind == 'l':
		c.Symlinks++
	case r.kind == 'p':
		c.FIFOs++
	}
}

// plus adds o, or takes it away when sign is -1.
func (c *Counts) plus(o Counts, sign int64) {
	c.Files += sign * o.Files
	c.Dirs += sign * o.Dirs
	c.Symlinks += sign * o.Symlinks
	c.FIFOs += sign * o.FIFOs
	c.HardLinks += sign * o.HardLinks
}

// add takes an entry in; scratch is returned to be used again.
func (d *digest) add(r *record, dir, name string, scratch []byte) []byte {
	one, scratch := digestOf(r, dir, name, scratch)
	d.plus(&one)
	return scratch
}

// remove takes an entry out that was added before.
func (d *digest) remove(r *record, dir, name string, scratch []byte) []byte {
	one, scratch := digestOf(r, dir, name, scratch)
	d.minus(&one)
	return scratch
}

func digestOf(r *record, dir, name string, scratch []byte) (digest, []byte) {
	var d digest
	if r.kind == 'f' && (r.sum.n == 0 || r.dirty) {
		d.unknown = 1
	}
	d.counts.tally(r)
	if r.leader == "" && r.kind == 'f' {
		d.bytes = r.size
	}
	scratch = r.proof(scratch[:0], dir, name)
	h := blake3.Sum256(scratch)
	for i := range d.acc {
		d.acc[i] = binary.LittleEndian.Uint64(h[8*i:])
	}
	return d, scratch
}

func (d *digest) plus(o *digest) {
	var c uint64
	for i := range d.acc {
		d.acc[i], c = bits.Add64(d.acc[i], o.acc[i], c)
	}
	d.unknown += o.unknown
	d.bytes += o.bytes
	d.counts.plus(o.counts, 1)
}

func (d *digest) minus(o *digest) {
	var c uint64
	for i := range d.acc {
		d.acc[i], c = bits.Sub64(d.acc[i], o.acc[i], c)
	}
	d.unknown -= o.unknown
	d.bytes -= o.bytes
	d.counts.plus(o.counts, -1)
}

func (d *digest) String() string {
	if d.unknown != 0 {
		return ""
	}
	return d.sum()
}

func (d *digest) sum() string {
	return fmt.Sprintf("%016x%016x%016x%016x", d.acc[3], d.acc[2], d.acc[1], d.acc[0])
}

func (d *digest) parse(sum string) error {
	if len(sum) != 64 {
		return errTornManifest
	}
	for i := range d.acc {
		v, err := strconv.ParseUint(sum[48-16*i:64-16*i], 16, 64)
		if err != nil {
			return err
		}
		d.acc[i] = v
	}
	return nil
}
