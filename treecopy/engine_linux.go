package treecopy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// engine is one pass over a tree.
type engine struct {
	recorder
	o      Options
	ctx    context.Context
	cancel context.CancelCauseFunc

	reading        bool        // there is no target: the tree is only read
	src, dst       int         // roots
	far            Remote      // the source, when it lies on another machine; src is -1 then
	about          RemoteAbout // what it tells
	srcSt, dstSt   stat
	srcDir, dstDir string
	skip           *excludes
	protected      map[string]bool // paths in the target that belong to the copy: marker, manifests
	made           bool            // the target is new
	owned          bool            // what the target holds came from this source, so it may be removed
	distrust       bool            // the machine died during the former pass: equal stat data proves nothing
	noOwner        atomic.Bool     // may not give files away
	attrs          attrStore
	q              *queue
	links          linkTable
	rate, pace     *limiter // bytes, entries
	prev           *Manifest
	out, delta     *manifestWriter
	syncMu         sync.Mutex
	syncErr        error        // of the first write-back that failed
	written        atomic.Int64 // bytes handed to the target, for early write-back
	temps          atomic.Int64 // makes temporary names unique
	memories       sync.Pool    // of *memory

	taken  dirtySet   // from the tracker, for this pass
	dirty  *dirtyWalk // nil: the pass looks everywhere
	visits atomic.Int64

	lateMu   sync.Mutex
	suspects []string       // directories with files that were changing
	extras   []extra        // what the source no longer has
	touched  map[*node]bool // directories changed after they were settled
}

// extra are names in a target directory that the source does not have.
type extra struct {
	n     *node
	names []string
}

// worker has what must not be shared.
type worker struct {
	*engine
	h     *hasher
	small []byte // whole small files
	large []byte // chunks, made when first needed
	dents []byte
	list  []dirent
	b     block  // for the manifest
	own   []task // tasks found and not shared with other workers
}

const (
	smallFile  = 256 << 10
	chunk      = 1 << 20
	batchFiles = 48 // files of one directory handled as one task
	bigTask    = 4 << 20
)

// writing says whether the pass may touch the target.
func (e *engine) writing() bool { return !e.reading && !e.o.DryRun }

func (e *engine) stopped() bool { return e.ctx.Err() != nil }

// stop ends the pass: workers finish what they have in hand and let go of the rest.
func (e *engine) stop(err error) { e.cancel(err) }

// fail records an error at path. A full or broken target ends the pass, as does cancellation; the rest is one problem of many.
func (e *engine) fail(path string, err error) {
	switch {
	case e.stopped():
	case isFull(err):
		e.stop(e.full(path, err))
	case errors.Is(err, ErrLost):
		e.stop(err)
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.EIO), errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		e.stop(fmt.Errorf("%s: %w", EscapeName(path), err))
	default:
		e.problem(path, denied(err))
	}
}

// denied adds to a refusal what may stand behind it.
func denied(err error) error {
	var h *HintError
	if !errors.Is(err, fs.ErrPermission) || errors.As(err, &h) {
		return err
	}
	if unix.Geteuid() == 0 {
		return hint(err, "root is refused: is this an NFS export with root_squash, or a container without the capability (DAC_READ_SEARCH to read, "+
			"CHOWN and FOWNER to write)? Export it to this machine with no_root_squash, or give the capability")
	}
	return hint(err, "run as root, or exclude it")
}

// gone records an entry that vanished: news in a live pass, an error in a final one.
func (e *engine) gone(path string) {
	if !e.o.Live {
		e.problem(path, hint(ErrVanished, "stop what writes to the source before the final pass"))
		return
	}
	e.sample(&e.rep.Vanished, path)
}

// walk copies the tree with the pass's workers: all of it, or where way leads.
func (e *engine) walk(way *branch) {
	e.q = newQueue()
	root := &node{path: ".", src: -1, dst: -1, st: e.srcSt, way: way}
	root.left.Store(1)
	e.q.push(task{n: root, visit: true})
	e.parallel(func() {
		w := e.newWorker()
		for {
			t, ok := e.q.pop()
			if !ok {
				return
			}
			w.drain(t)
			e.q.done()
		}
	})
}

// drain runs a task and all that it leads to, depth first. Where other workers wait, they get the older half, which are the
// larger subtrees.
func (w *worker) drain(t task) {
	for w.own = append(w.own, t); len(w.own) > 0; {
		last := len(w.own) - 1
		t, w.own[last] = w.own[last], task{}
		w.own = w.own[:last]
		w.run(t)
		if half := (len(w.own) + 1) / 2; half > 0 && w.q.idle.Load() > 0 {
			w.q.push(w.own[:half]...)
			w.own = append(w.own[:0], w.own[half:]...)
		}
	}
}

func (e *engine) newWorker() *worker {
	return &worker{engine: e, h: newHasher(e.o.Hash), small: make([]byte, smallFile+1), dents: make([]byte, 32<<10)}
}

// parallel runs do once per worker and waits for all.
func (e *engine) parallel(do func()) {
	var wg sync.WaitGroup
	for range e.o.Workers {
		wg.Go(do)
	}
	wg.Wait()
}

func (w *worker) run(t task) {
	if !w.stopped() {
		if t.visit {
			w.visit(t.n)
		} else {
			w.files(t.n, t.files)
		}
	}
	w.release(t.n)
}

// A target that is slower than its source has to be kept busy from the beginning: what it waits for is missing at the end. So write-back
// begins with little, and soon after the one before has ended.
const (
	writeBackEvery = 100 * time.Millisecond
	writeBackBytes = 8 << 20
)

// background runs what accompanies a pass: progress, and write-back started early so that the final sync is short.
func (e *engine) background() (finish func()) {
	quit := make(chan struct{})
	var wg sync.WaitGroup
	if e.o.Progress != nil {
		wg.Go(func() { e.tick(quit, e.o.ProgressEvery, func() { e.o.Progress(e.progress()) }) })
	}
	if e.writing() {
		var synced int64
		wg.Go(func() {
			e.tick(quit, writeBackEvery, func() {
				if n := e.written.Load(); n-synced > writeBackBytes {
					synced = n
					if err := e.sync(); err != nil {
						e.cancel(err)
					}
				}
			})
		})
	}
	return sync.OnceFunc(func() {
		close(quit)
		wg.Wait()
	})
}

// sync writes the target back. The system tells a failure once and forgets it, whoever asked, and the data with it: it is kept for the pass.
func (e *engine) sync() error {
	e.syncMu.Lock()
	defer e.syncMu.Unlock()
	if e.syncErr == nil {
		if err := e.o.syncfs(e.dst); err != nil {
			e.syncErr = fmt.Errorf("sync: %w", err)
		}
	}
	return e.syncErr
}

// unsynced says in the marker that what the target's files look like proves nothing, where data were lost on their way to the device: they
// look complete until they are read from it.
func (e *engine) unsynced(marker *Marker, err error) error {
	e.syncMu.Lock()
	lost := e.syncErr != nil
	e.syncMu.Unlock()
	if !lost {
		return err
	}
	marker.BootID = notWritten
	return errors.Join(err, marker.write(e.dstDir))
}

func (e *engine) tick(quit <-chan struct{}, every time.Duration, do func()) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-quit:
			return
		case <-t.C:
			do()
		}
	}
}

// task is a directory to visit or some files of one.
type task struct {
	n     *node
	visit bool
	files []int32
}

// queue is a stack of tasks: depth first, so few directories are open at a time.
type queue struct {
	mu   sync.Mutex
	more *sync.Cond
	list []task
	open int // tasks queued or running
	idle atomic.Int32
}

func newQueue() *queue {
	q := &queue{}
	q.more = sync.NewCond(&q.mu)
	return q
}

func (q *queue) push(t ...task) {
	q.mu.Lock()
	q.list = append(q.list, t...)
	q.open += len(t)
	q.mu.Unlock()
	if len(t) == 1 {
		q.more.Signal()
	} else {
		q.more.Broadcast()
	}
}

// pop waits for a task; false when all are done.
func (q *queue) pop() (task, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.list) == 0 {
		if q.open == 0 {
			return task{}, false
		}
		q.idle.Add(1)
		q.more.Wait()
		q.idle.Add(-1)
	}
	t := q.list[len(q.list)-1]
	q.list[len(q.list)-1] = task{}
	q.list = q.list[:len(q.list)-1]
	return t, true
}

func (q *queue) done() {
	q.mu.Lock()
	q.open--
	last := q.open == 0
	q.mu.Unlock()
	if last {
		q.more.Broadcast()
	}
}
