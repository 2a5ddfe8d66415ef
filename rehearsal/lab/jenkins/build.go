package jenkins

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// mark is in the record of a build that the stand-in ran, so that a home sees one only once.
const mark = "<description>run by the rehearsal</description>"

// running is the build that keeps the one executor busy.
type running struct {
	job    job
	number int
	began  time.Time
}

// needsBuild tells whether a build should run at start.
func needsBuild(busy string, j job) bool {
	if busy != "once" {
		return busy == "always" || busy == "endless"
	}
	for _, b := range j.builds {
		data, err := os.ReadFile(filepath.Join(j.dir, "builds", strconv.Itoa(b.number), "build.xml"))
		if err == nil && containsMark(data) {
			return false
		}
	}
	return true
}

// begin writes what Jenkins writes first: the next number, then the build's directory and log.
func begin(j job, now time.Time) (*running, *os.File, error) {
	r := &running{job: j, number: j.next, began: now}
	if err := replace(filepath.Join(j.dir, "nextBuildNumber"), fmt.Sprintf("%d\n", r.number+1)); err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(r.dir(), 0o755); err != nil {
		return nil, nil, err
	}
	log, err := os.OpenFile(filepath.Join(r.dir(), "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, nil, err
	}
	if _, err := fmt.Fprintln(log, "Started by timer"); err != nil {
		return nil, nil, err
	}
	return r, log, nil
}

func (r *running) dir() string {
	return filepath.Join(r.job.dir, "builds", strconv.Itoa(r.number))
}

// run says something every second until it may finish or ctx ends, then writes the build's record.
func (r *running) run(ctx context.Context, log *os.File, quiet <-chan struct{}) error {
	defer log.Close()
	tick := time.NewTicker(logEvery)
	defer tick.Stop()
	var finish <-chan time.Time
	for line := 1; ; line++ {
		select {
		case <-ctx.Done():
			return r.end(log, "ABORTED")
		case <-finish:
			return r.end(log, "SUCCESS")
		case <-quiet:
			quiet = nil
			timer := time.NewTimer(finishTime)
			defer timer.Stop()
			finish = timer.C
		case <-tick.C:
			if _, err := fmt.Fprintf(log, "[%s] step %d\n", time.Now().UTC().Format(time.RFC3339), line); err != nil {
				return err
			}
		}
	}
}

func (r *running) end(log *os.File, result string) error {
	if _, err := fmt.Fprintln(log, "Finished: "+result); err != nil {
		return err
	}
	record := fmt.Sprintf("<?xml version='1.1' encoding='UTF-8'?>\n<build>\n  <number>%d</number>\n  %s\n  <startTime>%d</startTime>\n  <duration>%d</duration>\n  <result>%s</result>\n</build>\n",
		r.number, mark, r.began.UnixMilli(), time.Since(r.began).Milliseconds(), result)
	if err := replace(filepath.Join(r.dir(), "build.xml"), record); err != nil {
		return err
	}
	if result != "SUCCESS" {
		return nil
	}
	n := r.number
	return replace(filepath.Join(r.job.dir, "builds", "permalinks"),
		fmt.Sprintf("lastCompletedBuild %d\nlastFailedBuild -1\nlastStableBuild %d\nlastSuccessfulBuild %d\nlastUnstableBuild -1\nlastUnsuccessfulBuild -1\n", n, n, n))
}

// replace writes a file as Jenkins does: under another name first.
func replace(path, content string) error {
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+"-atomic*tmp")
	if err != nil {
		return err
	}
	if _, err = temp.WriteString(content); err == nil {
		err = temp.Chmod(0o644)
	}
	if cerr := temp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temp.Name())
	}
	return err
}

// executor is the one executor: at most one build, from the start on.
type executor struct {
	mu    sync.Mutex
	build *running
	done  chan struct{}
	err   error
}

// start runs a build of j in the background.
func (e *executor) start(ctx context.Context, j job, quiet <-chan struct{}) error {
	build, log, err := begin(j, time.Now())
	if err != nil {
		return fmt.Errorf("jenkins: build of %s: %w", j.fullName, err)
	}
	e.build, e.done = build, make(chan struct{})
	go func() {
		defer close(e.done)
		err := build.run(ctx, log, quiet)
		e.mu.Lock()
		defer e.mu.Unlock()
		e.build, e.err = nil, err
	}()
	return nil
}

// current is the running build; nil when idle.
func (e *executor) current() *running {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.build
}
