package treetest

import (
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"path"
	"time"
)

// plan is a tree decided on before anything is written, so that files can be written in parallel and still be the same.
type plan struct {
	o     Options
	rng   *rand.Rand
	pool  []byte // text that file contents are cut from
	dirs  []dirPlan
	made  map[string]bool
	files []filePlan
	links []linkPlan
	stats Stats
}

type dirPlan struct {
	path  string
	mode  fs.FileMode
	mtime time.Time
}

type filePlan struct {
	path   string
	mode   fs.FileMode
	mtime  time.Time
	text   string // whole content, or the head of it
	size   int    // when larger than len(text), filled up from the pool
	offset int
}

type linkPlan struct {
	path, target string
	mtime        time.Time
}

func newPlan(o Options) *plan {
	p := &plan{o: o, rng: rand.New(rand.NewPCG(uint64(o.Seed), 0x6a656e6b696e73)), made: map[string]bool{".": true}}
	p.pool = logPool(p.rng)
	return p
}

// dir plans a directory and its parents.
func (p *plan) dir(name string, mode fs.FileMode) {
	if p.made[name] {
		return
	}
	p.dir(path.Dir(name), 0o755)
	p.made[name] = true
	p.dirs = append(p.dirs, dirPlan{name, mode, p.past()})
	p.stats.Dirs++
}

// text plans a file with exactly this content.
func (p *plan) text(name string, mode fs.FileMode, content string) {
	p.add(filePlan{path: name, mode: mode, text: content, size: len(content)})
}

// filled plans a file of size bytes that starts with head.
func (p *plan) filled(name, head string, size int) {
	p.add(filePlan{path: name, mode: 0o644, text: head, size: max(size, len(head))})
}

func (p *plan) add(f filePlan) {
	p.dir(path.Dir(f.path), 0o755)
	f.mtime, f.offset = p.past(), p.rng.IntN(len(p.pool))
	p.files = append(p.files, f)
	p.stats.Files++
	p.stats.Bytes += int64(f.size)
}

func (p *plan) link(name, target string) {
	p.dir(path.Dir(name), 0o755)
	p.links = append(p.links, linkPlan{name, target, p.past()})
	p.stats.Symlinks++
}

// past is a time in the two years before the epoch, down to the nanosecond.
func (p *plan) past() time.Time {
	return epoch.Add(-time.Duration(p.rng.Int64N(int64(2 * 365 * 24 * time.Hour))))
}

// size draws a lognormal size: most are near the median, a few are far larger, as logs are.
func (p *plan) size(median, sigma float64, limit int) int {
	return min(limit, int(median*math.Exp(sigma*p.rng.NormFloat64())))
}

func (p *plan) hex(n int) string {
	b := make([]byte, 0, n)
	for len(b) < n {
		b = fmt.Appendf(b, "%016x", p.rng.Uint64())
	}
	return string(b[:n])
}

// content renders a file into buf.
func (p *plan) content(buf []byte, f *filePlan) []byte {
	buf = append(buf, f.text...)
	for at := f.offset; len(buf) < f.size; at = 0 {
		buf = append(buf, p.pool[at:min(len(p.pool), at+f.size-len(buf))]...)
	}
	return buf
}

// logPool is 256 KiB of text with the look of a build log.
func logPool(r *rand.Rand) []byte {
	words := []string{
		"[Pipeline] sh", "+ make test", "ok", "[INFO] Downloading from central", "PASS", "Compiling", "npm warn deprecated",
		"> git fetch --tags --force", "using credential", "Finished: SUCCESS", "[Pipeline] }", "cached", "Step 4/9", "--->",
	}
	b := make([]byte, 0, 256<<10+128)
	for len(b) < 256<<10 {
		b = fmt.Appendf(b, "[2026-02-%02dT%02d:%02d:%02d.%03dZ] %s %s %x\n", 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60), r.IntN(1000),
			words[r.IntN(len(words))], words[r.IntN(len(words))], r.Uint64())
	}
	return b[:256<<10]
}
