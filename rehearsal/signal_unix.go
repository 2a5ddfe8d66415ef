//go:build unix

package rehearsal

import (
	"os"
	"syscall"
)

// interrupt is what Ctrl-C sends: the child then says so by its exit code, whatever stopped the rehearsal itself.
func interrupt(p *os.Process) error { return p.Signal(syscall.SIGINT) }
