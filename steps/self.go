package steps

import (
	"os"
	"os/user"
	"strings"
)

// Self is this process as the holder of a lock, without a run. What cannot be told stays empty: a take-over from it then has to watch the
// lock for its life.
func Self() Holder {
	h := Holder{PID: os.Getpid(), Machine: machine()}
	h.Host, _ = os.Hostname()
	if u, err := user.Current(); err == nil {
		h.Who = u.Username
	}
	return h
}

// machine is what process ids are unique in, between two starts of a machine: "" where the kernel does not say. Names do not suffice: all
// pods on the network of a node have the node's, and each has processes of its own.
func machine() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	processes, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + " " + processes
}
