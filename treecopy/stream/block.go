package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// A block is a kind, its size on the wire, its size unpacked (4 bytes each), and its content: frames, each with its size (4 bytes) and
// kind in front. No frame goes over the end of a block.
const (
	blockPlain = 0
	blockZstd  = 1
	headerSize = 9
	frameHead  = 5
)

// outlet gathers frames and writes them in blocks: what comes while a block is being written goes into the next.
type outlet struct {
	w       io.Writer
	packing bool

	mu     sync.Mutex
	more   *sync.Cond
	frames []byte
	err    error
	ended  bool // nothing more will come
	done   chan struct{}

	gauge  gauge
	looked bool
	enc    *zstd.Encoder
	packed []byte
}

func newOutlet(w io.Writer, packing bool) *outlet {
	o := &outlet{w: w, packing: packing, done: make(chan struct{})}
	o.more = sync.NewCond(&o.mu)
	return o
}

var errTooLarge = errors.New("a frame is too large")

// full is how much may be gathered before senders wait.
const full = maxBlock - maxFrame - frameHead

// send hands a frame over. It waits while the connection does not keep up, and gives the connection's error.
func (o *outlet) send(kind byte, fill func(*encoder)) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.frames) >= full && o.err == nil {
		o.more.Wait()
	}
	if o.err != nil {
		return o.err
	}
	at := len(o.frames)
	e := encoder{append(o.frames, 0, 0, 0, 0, kind)}
	if fill != nil {
		fill(&e)
	}
	size := len(e.b) - at - frameHead
	if size > maxFrame {
		o.frames = e.b[:at]
		return errTooLarge
	}
	binary.LittleEndian.PutUint32(e.b[at:], uint32(size))
	o.frames = e.b
	o.more.Broadcast()
	return nil
}

// run writes until stop or an error.
func (o *outlet) run() {
	defer close(o.done)
	defer func() {
		if o.enc != nil {
			_ = o.enc.Close() // nothing is in it
		}
	}()
	var spare []byte
	for {
		o.mu.Lock()
		for len(o.frames) == 0 && o.err == nil && !o.ended {
			o.more.Wait()
		}
		if o.err != nil || len(o.frames) == 0 {
			o.mu.Unlock()
			return
		}
		block := o.frames
		o.frames = spare[:0]
		o.more.Broadcast()
		o.mu.Unlock()
		if err := o.write(block); err != nil {
			o.fail(err)
			return
		}
		spare = block
	}
}

// fail ends the outlet: who waits and who comes gets err.
func (o *outlet) fail(err error) {
	o.mu.Lock()
	if o.err == nil {
		o.err = err
	}
	o.more.Broadcast()
	o.mu.Unlock()
}

// finish writes what is there and ends.
func (o *outlet) finish() {
	o.mu.Lock()
	o.ended = true
	o.more.Broadcast()
	o.mu.Unlock()
	<-o.done
}

func (o *outlet) write(raw []byte) error {
	kind, body := byte(blockPlain), raw
	if o.packing && len(raw) >= 512 {
		if p := o.pack(raw); p != nil {
			kind, body = blockZstd, p
		}
	}
	var head [headerSize]byte
	head[0] = kind
	binary.LittleEndian.PutUint32(head[1:], uint32(len(body)))
	binary.LittleEndian.PutUint32(head[5:], uint32(len(raw)))
	began := time.Now()
	if _, err := o.w.Write(head[:]); err != nil {
		return err
	}
	_, err := o.w.Write(body)
	o.gauge.busy += time.Since(began)
	o.gauge.raw += int64(len(raw))
	o.gauge.wire += int64(len(body))
	return err
}

// pack gives the packed block, or nil when it is to be sent as it is. Now and then it looks whether packing helps; while it is off, by a
// sample of the block in hand.
func (o *outlet) pack(raw []byte) []byte {
	g := &o.gauge
	look := g.due(o.looked)
	if !g.on && !look {
		return nil
	}
	if o.enc == nil {
		var err error
		o.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20), zstd.WithEncoderCRC(false))
		if err != nil {
			o.packing = false
			return nil
		}
	}
	if !g.on {
		o.sample(raw[:min(len(raw), sampleSize)])
		return nil
	}
	began := time.Now()
	o.packed = o.enc.EncodeAll(raw, o.packed[:0])
	g.pack += time.Since(began)
	if look {
		*g = gauge{on: g.judge(float64(g.wire) / float64(g.raw))}
	}
	if len(o.packed) > len(raw)*9/10 {
		return nil
	}
	return o.packed
}

// sampleSize is enough to tell text from what is packed already, and takes about a millisecond.
const sampleSize = 256 << 10

// sample decides whether to begin to pack.
func (o *outlet) sample(part []byte) {
	g := &o.gauge
	began := time.Now()
	o.packed = o.enc.EncodeAll(part, o.packed[:0])
	g.pack = time.Duration(float64(time.Since(began)) / float64(len(part)) * float64(g.raw))
	*g, o.looked = gauge{on: g.judge(float64(len(o.packed)) / float64(len(part)))}, true
}

// inlet reads blocks and takes them apart.
type inlet struct {
	r         io.Reader
	dec       *zstd.Decoder
	body, raw []byte
	wire      int64 // bytes read
	unpacked  int64 // bytes of blocks after unpacking
	packed    int64 // blocks that were packed
}

var errBlock = errors.New("a block is wrong: the peer does not speak this protocol")

// next reads a block and calls take for each frame; payloads are valid during the call only.
func (n *inlet) next(take func(kind byte, payload []byte) error) error {
	var head [headerSize]byte
	if _, err := io.ReadFull(n.r, head[:]); err != nil {
		return err
	}
	size, rawSize := binary.LittleEndian.Uint32(head[1:]), binary.LittleEndian.Uint32(head[5:])
	if head[0] > blockZstd || size > maxBlock || rawSize > maxBlock || rawSize == 0 || head[0] == blockPlain && size != rawSize {
		return errBlock
	}
	n.body = slices.Grow(n.body[:0], int(size))[:size]
	if _, err := io.ReadFull(n.r, n.body); err != nil {
		return err
	}
	frames, err := n.unpack(head[0], int(rawSize))
	if err != nil {
		return err
	}
	n.wire, n.unpacked = n.wire+int64(size)+headerSize, n.unpacked+int64(rawSize)
	for len(frames) > 0 {
		if len(frames) < frameHead {
			return errFrame
		}
		l, kind := binary.LittleEndian.Uint32(frames), frames[4]
		if frames = frames[frameHead:]; l > maxFrame || int(l) > len(frames) {
			return errFrame
		}
		if err := take(kind, frames[:l:l]); err != nil {
			return err
		}
		frames = frames[l:]
	}
	return nil
}

func (n *inlet) unpack(kind byte, rawSize int) ([]byte, error) {
	if kind == blockPlain {
		return n.body, nil
	}
	if n.dec == nil {
		var err error
		if n.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBlock), zstd.WithDecoderMaxWindow(maxBlock)); err != nil {
			return nil, err
		}
	}
	n.packed++
	raw, err := n.dec.DecodeAll(n.body, n.raw[:0])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBlock, err)
	}
	if n.raw = raw; len(raw) != rawSize {
		return nil, errBlock
	}
	return raw, nil
}

func (n *inlet) close() {
	if n.dec != nil {
		n.dec.Close()
	}
}
