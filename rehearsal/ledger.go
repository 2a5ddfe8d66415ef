package rehearsal

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"

	"pipectl.dev/rehearsal/aws"
)

// ledger keeps every call that the cloud saw, in memory for judging and as NDJSON for people.
type ledger struct {
	mu    sync.Mutex
	file  *os.File
	out   *bufio.Writer
	calls []aws.Call
}

func openLedger(path string) (*ledger, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &ledger{file: f, out: bufio.NewWriter(f)}, nil
}

func (l *ledger) add(c aws.Call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, c)
	if raw, err := json.Marshal(c); err == nil {
		_, _ = l.out.Write(append(raw, '\n'))
	}
}

// mark is a place in the ledger, to judge what came after it.
func (l *ledger) mark() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.calls)
}

// tally is what calls come to.
type tally struct {
	Calls  int            `json:"calls"`
	Writes int            `json:"writes"`          // changes of managed resources
	Other  int            `json:"otherWrites"`     // locks, tokens, tags
	Reads  int            `json:"reads"`           //
	By     map[string]int `json:"byService"`       //
	Wrote  []string       `json:"wrote,omitempty"` // the managed writes, for a message
}

func (l *ledger) since(mark int) tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := tally{By: map[string]int{}}
	for _, c := range l.calls[mark:] {
		t.Calls++
		t.By[c.Service]++
		switch {
		case !c.Write:
			t.Reads++
		case c.Class == "resource" || c.Class == "tag":
			t.Writes++
			t.Wrote = append(t.Wrote, c.Service+":"+c.Action)
		default:
			t.Other++
		}
	}
	return t
}

func (l *ledger) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.out.Flush()
}

func (l *ledger) close() {
	l.flush()
	_ = l.file.Close()
}
