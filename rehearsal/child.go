package rehearsal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"pipectl.dev/steps"
)

// outcome is what one child left.
type outcome struct {
	Verb     string
	Exit     int
	Duration time.Duration
	Memory   int64 // the most that it had resident, in bytes
	Killed   int   // how often it was killed and run again
	Tally    tally
	Run      runResult
}

// runResult is what a rehearsal reads of the child's RunResult.
type runResult struct {
	Status  string           `json:"status"`
	Stages  []steps.Result   `json:"stages"`
	Outputs json.RawMessage  `json:"outputs"`
	Error   *steps.ErrorInfo `json:"error"`
}

// client runs one verb of pipectl against the world, as a user would, again after each kill.
func (w *world) client(ctx context.Context, verb string, flags ...string) (outcome, error) {
	o := outcome{Verb: verb}
	mark, began := w.ledger.mark(), time.Now()
	for {
		killed, stdout, peak, err := w.once(ctx, verb, flags)
		o.Memory = max(o.Memory, peak)
		if killed {
			o.Killed++
			fmt.Fprintf(w.opts.Stderr, "rehearsal: the client was killed at cloud call %d; running it again\n", w.opts.KillAt)
			continue
		}
		o.Duration, o.Tally = time.Since(began), w.ledger.since(mark)
		if uerr := json.Unmarshal(stdout, &o.Run); uerr != nil && err == nil {
			err = fmt.Errorf("%s: result: %w", verb, uerr)
		}
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			o.Exit, err = exit.ExitCode(), nil
		}
		return o, err
	}
}

func (w *world) once(ctx context.Context, verb string, flags []string) (killed bool, stdout []byte, peak int64, err error) {
	if err := os.MkdirAll(w.events(), 0o755); err != nil {
		return false, nil, 0, err
	}
	w.runs++
	events := filepath.Join(w.events(), fmt.Sprintf("%d-%s.ndjson", w.runs, verb))
	args := []string{verb, w.opts.File, "--yes", "-o", "json", "--results", w.results(), "--events", events}
	for _, stage := range w.outline.approvals() {
		if verb == "run" {
			args = append(args, "--approve", stage)
		}
	}
	for name, value := range w.params() {
		args = append(args, "--param", name+"="+value)
	}
	args = append(append(args, w.opts.Run...), flags...)
	cmd := exec.CommandContext(ctx, w.opts.Self, args...)
	cmd.Env = w.env()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, w.opts.Stderr
	tied(cmd)
	cmd.Cancel = func() error { return interrupt(cmd.Process) }
	cmd.WaitDelay = 30 * time.Second // longer than the client takes to record what it has
	if err := cmd.Start(); err != nil {
		return false, nil, 0, err
	}
	ended := make(chan struct{})
	shot := make(chan bool, 1)
	go func() {
		select {
		case <-w.kill:
			_ = cmd.Process.Kill()
			shot <- true
		case <-ended:
			shot <- false
		}
	}()
	err = cmd.Wait()
	close(ended)
	return <-shot, out.Bytes(), peakMemory(cmd.ProcessState), err
}
