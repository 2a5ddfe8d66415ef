package treecopy

import (
	"hash"

	"github.com/zeebo/blake3"
	"github.com/zeebo/xxh3"
)

// Hash names a content hash.
type Hash string

// The hashes. XXH3 finds every accident and costs next to nothing; BLAKE3 also stands against a forger.
const (
	XXH3   Hash = "xxh3-128" // 16 bytes
	BLAKE3 Hash = "blake3"   // 32 bytes
	NoHash Hash = "none"
)

func (h Hash) valid() bool { return h == XXH3 || h == BLAKE3 || h == NoHash }

// sum is the hash of one file; n is 0 where the content is not known.
type sum struct {
	n byte
	b [32]byte
}

func (s sum) bytes() []byte { return s.b[:s.n] }

// hasher digests one stream after another.
type hasher struct {
	kind   Hash
	stream hash.Hash
	x      *xxh3.Hasher128
}

func newHasher(kind Hash) *hasher {
	h := &hasher{kind: kind}
	switch kind {
	case XXH3:
		h.x = xxh3.New128()
	case BLAKE3:
		h.stream = blake3.New()
	}
	return h
}

// whole hashes content that is in memory as one piece.
func (h *hasher) whole(b []byte) (s sum) {
	switch h.kind {
	case XXH3:
		x := xxh3.Hash128(b).Bytes()
		s.n = byte(copy(s.b[:], x[:]))
	case BLAKE3:
		s.b, s.n = blake3.Sum256(b), 32
	}
	return s
}

func (h *hasher) reset() {
	switch h.kind {
	case XXH3:
		h.x.Reset()
	case BLAKE3:
		h.stream.Reset()
	}
}

func (h *hasher) write(b []byte) {
	switch h.kind {
	case XXH3:
		_, _ = h.x.Write(b)
	case BLAKE3:
		_, _ = h.stream.Write(b)
	}
}

var zeros [64 << 10]byte

// writeZeros feeds a hole.
func (h *hasher) writeZeros(n int64) {
	if h.kind == NoHash {
		return
	}
	for ; n > 0; n -= int64(len(zeros)) {
		h.write(zeros[:min(n, int64(len(zeros)))])
	}
}

func (h *hasher) sum() (s sum) {
	switch h.kind {
	case XXH3:
		x := h.x.Sum128().Bytes()
		s.n = byte(copy(s.b[:], x[:]))
	case BLAKE3:
		s.n = byte(len(h.stream.Sum(s.b[:0])))
	}
	return s
}
