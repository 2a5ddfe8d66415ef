// Package spawn starts processes that cannot outlive this one: each leads its own process group, and the kernel
// kills it when this process is gone, whatever the way it went. It knows nothing of what it starts.
package spawn

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// The kernel ties a parent-death signal to the thread that forked, not to the process. All children are therefore
// started from one goroutine that never gives its thread back.
var starts = sync.OnceValue(func() chan<- func() {
	queue := make(chan func())
	go func() {
		runtime.LockOSThread()
		for start := range queue {
			start()
		}
	}()
	return queue
})

// Process is a started child.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// Start starts cmd; its SysProcAttr is replaced. Output should be files: pipes would hold Wait until grandchildren end.
func Start(cmd *exec.Cmd) (*Process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	starts() <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	p := &Process{cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		// What the child left behind in its group must not outlive it.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		close(p.done)
	}()
	return p, nil
}

// Done is closed once the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Pid is the process id, which is its group's id too.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends s to the whole group; a process that has ended is no error.
func (p *Process) Signal(s syscall.Signal) {
	select {
	case <-p.done:
	default:
		_ = syscall.Kill(-p.cmd.Process.Pid, s)
	}
}

// Stop asks the process to end, waits for at most grace, then kills its group. It returns when the process is gone.
// Only the process itself is asked, as in a container: it may need its children to end well.
func (p *Process) Stop(grace time.Duration) {
	select {
	case <-p.done:
		return
	default:
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.Signal(syscall.SIGKILL)
		<-p.done
	}
}

// ExitCode is the code of an ended process: its own, or 128 + the signal that ended it, as container runtimes count.
func (p *Process) ExitCode() int {
	<-p.done
	if p.err == nil {
		return 0
	}
	var exit *exec.ExitError
	if !errors.As(p.err, &exit) {
		return 128
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}

// Self is the path that starts the running binary again, whatever was put in its place since.
const Self = "/proc/self/exe"
