//go:build unix

package rehearsal

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// interrupt is what Ctrl-C sends: the child then says so by its exit code, whatever stopped the rehearsal itself.
func interrupt(p *os.Process) error { return p.Signal(syscall.SIGINT) }

// apart puts a child into a process group of its own, so that a signal to ours does not reach it.
func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// peakMemory is the most memory that an ended process had resident, in bytes.
func peakMemory(p *os.ProcessState) int64 {
	if p == nil {
		return 0
	}
	usage, _ := p.SysUsage().(*syscall.Rusage)
	return maxResident(usage)
}

// ownPeakMemory is the same of this process, up to now.
func ownPeakMemory() int64 {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return maxResident(&usage)
}

func maxResident(usage *syscall.Rusage) int64 {
	switch {
	case usage == nil:
		return 0
	case runtime.GOOS == "darwin": // bytes there, kilobytes elsewhere
		return int64(usage.Maxrss)
	}
	return int64(usage.Maxrss) * 1024
}
