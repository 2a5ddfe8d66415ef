package rehearsal

import (
	"os/exec"
	"syscall"
)

// tied has the kernel interrupt the child should this process be killed.
func tied(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGINT} }
