package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"syscall"

	"pipectl.dev/treecopy"
)

// magic begins either direction; the number is the version of the protocol.
const magic = "pipectl-tree 2\n"

// Bounds of what a peer may send.
const (
	maxBlock    = 2 << 20   // bytes of a block, unpacked
	maxFrame    = 512 << 10 // bytes of a frame
	maxListing  = 256 << 20 // bytes of all frames of a listing
	maxRequests = 16 << 10  // requests under way
	window      = 2 << 20   // bytes of a file sent ahead of credit
	smallFile   = 256 << 10 // a file up to this size may be sent before it is needed
)

// Kinds of frames. A request has an id chosen by who asks; frames that answer carry it.
const (
	kindHello    = iota + 1 // JSON of a hello
	kindPing                // nothing
	kindBye                 // nothing: the peer is done
	kindBegin               // id
	kindList                // cross, then (id, dir)…
	kindOpen                // cross, hash, dir, then (id, name)…
	kindSum                 // id, hash, size, dir, name
	kindMeasure             // id, block, cross, patterns
	kindChanges             // id, mark of the call before
	kindAwait               // id
	kindCredit              // id, bytes
	kindCancel              // id
	kindBegun               // id, JSON of treecopy.RemoteAbout
	kindEntries             // id; stat and attributes of the directory in the first; entries; whether it is the last
	kindFile                // id, stat, attributes
	kindData                // id, offset, bytes
	kindEnd                 // id, what was found after reading
	kindSummed              // id, hash
	kindMeasured            // id, usage
	kindChanged             // id, method, why whole, mark, (dir, deep)…, inodes
	kindStill               // id
	kindFailed              // id, errno, message
)

// hello is the greeting of either side.
type hello struct {
	Identity string `json:"identity"`
}

// encoder builds a frame: integers are varints, texts and bytes have their length in front.
type encoder struct{ b []byte }

func (e *encoder) uint(v uint64) { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) int(v int64)   { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) text(s string) {
	e.uint(uint64(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) bytes(b []byte) {
	e.uint(uint64(len(b)))
	e.b = append(e.b, b...)
}

func (e *encoder) bool(v bool) {
	if v {
		e.b = append(e.b, 1)
	} else {
		e.b = append(e.b, 0)
	}
}

func (e *encoder) stat(s *treecopy.Stat) {
	for _, v := range []uint64{uint64(s.Mode), uint64(s.UID), uint64(s.GID), uint64(s.Nlink), s.Dev, s.Ino} {
		e.uint(v)
	}
	for _, v := range []int64{s.Size, s.Blocks, s.MTime.Sec, s.MTime.Nsec, s.CTime.Sec, s.CTime.Nsec} {
		e.int(v)
	}
}

func (e *encoder) attrs(list []treecopy.Attr) {
	e.uint(uint64(len(list)))
	for _, a := range list {
		e.text(a.Name)
		e.bytes(a.Value)
	}
}

// failure keeps the errno, by which the other side tells what to make of it.
func (e *encoder) failure(err error) {
	var no syscall.Errno
	if err != nil && !errors.As(err, &no) {
		no = syscall.EIO
	}
	e.uint(uint64(no))
	text := ""
	if err != nil {
		text = err.Error()
	}
	e.text(text[:min(len(text), 1000)])
}

func (e *encoder) entry(x *treecopy.RemoteEntry) {
	e.text(x.Name)
	e.failure(x.Error)
	if x.Error != nil {
		return
	}
	e.stat(&x.Stat)
	e.attrs(x.Attrs)
	e.text(x.Target)
}

var errFrame = errors.New("a frame is cut off or wrong")

// decoder reads a frame; after the first error all it gives is zero.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail() {
	d.b, d.err = nil, errFrame
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

// bytes gives a part of the frame itself.
func (d *decoder) bytes() []byte {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	b := d.b[:n:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) text() string { return string(d.bytes()) }

func (d *decoder) bool() bool {
	if len(d.b) == 0 || d.b[0] > 1 {
		d.fail()
		return false
	}
	v := d.b[0] == 1
	d.b = d.b[1:]
	return v
}

func (d *decoder) uint32() uint32 {
	v := d.uint()
	if v > 1<<32-1 {
		d.fail()
	}
	return uint32(v)
}

func (d *decoder) stat() (s treecopy.Stat) {
	s.Mode, s.UID, s.GID, s.Nlink, s.Dev, s.Ino = d.uint32(), d.uint32(), d.uint32(), d.uint32(), d.uint(), d.uint()
	s.Size, s.Blocks = d.int(), d.int()
	s.MTime = treecopy.Time{Sec: d.int(), Nsec: d.int()}
	s.CTime = treecopy.Time{Sec: d.int(), Nsec: d.int()}
	return s
}

func (d *decoder) attrs() []treecopy.Attr {
	n := d.uint()
	if n > uint64(len(d.b)) { // each takes more than a byte
		d.fail()
		return nil
	}
	var list []treecopy.Attr
	for range n {
		list = append(list, treecopy.Attr{Name: d.text(), Value: append([]byte(nil), d.bytes()...)})
	}
	return list
}

// remoteError is an error that the other side met.
type remoteError struct {
	no   syscall.Errno
	text string
}

func (e *remoteError) Error() string { return e.text }

// Unwrap gives the errno.
func (e *remoteError) Unwrap() error { return e.no }

func (d *decoder) failure() error {
	no, text := d.uint(), d.text()
	if no == 0 || d.err != nil {
		return d.err
	}
	if no > 4095 {
		d.fail()
		return d.err
	}
	return &remoteError{syscall.Errno(no), treecopy.EscapeName(text)}
}

func (d *decoder) entry() (x treecopy.RemoteEntry) {
	x.Name = d.text()
	if x.Error = d.failure(); x.Error != nil {
		return x
	}
	x.Stat, x.Attrs, x.Target = d.stat(), d.attrs(), d.text()
	return x
}

func (e *encoder) changes(c *treecopy.Changes) {
	e.text(string(c.Method))
	e.text(c.Whole)
	e.text(c.Mark)
	e.uint(uint64(len(c.Dirs)))
	for dir, deep := range c.Dirs {
		e.text(dir)
		e.bool(deep)
	}
	e.uint(uint64(len(c.Inodes)))
	for _, ino := range c.Inodes {
		e.uint(ino)
	}
}

func (d *decoder) changes() treecopy.Changes {
	c := treecopy.Changes{Method: treecopy.Method(d.text()), Whole: d.text(), Mark: d.text(), Dirs: map[string]bool{}}
	for n := d.uint(); n > 0 && d.err == nil; n-- {
		dir := d.text()
		c.Dirs[dir] = d.bool()
	}
	for n := d.uint(); n > 0 && d.err == nil; n-- {
		c.Inodes = append(c.Inodes, d.uint())
	}
	return c
}

// lost makes an error of a connection what treecopy takes for its end.
func lost(err error) error {
	if errors.Is(err, treecopy.ErrLost) {
		return err
	}
	if errors.Is(err, io.EOF) { // the end of a connection between two frames must not pass for the end of a file
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: %w", treecopy.ErrLost, err)
}
