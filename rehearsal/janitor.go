package rehearsal

import (
	"os"
	"os/exec"
)

// sweep removes a directory once its standard input ends; whoever wrote there may take a moment longer to end. Argo CD shuts the directories
// of its checkouts, even to their owner.
const sweep = `cat >/dev/null; for i in 1 2 3 4 5 6 7 8 9 10; do
	rm -rf -- "$0" 2>/dev/null && exit; chmod -R u+rwx -- "$0" 2>/dev/null; rm -rf -- "$0" 2>/dev/null && exit; sleep 1
done`

// janitor has dir removed even when this process is killed: another one holds the end of a pipe from it. The function that it returns
// removes dir itself and lets the other end.
func janitor(dir string) func() {
	remove := func() { _ = os.RemoveAll(dir) }
	cmd := exec.Command("sh", "-c", sweep, dir)
	apart(cmd)
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return remove
	}
	if cmd.Start() != nil {
		return remove // no shell, so only what ends well is tidy
	}
	return func() {
		remove()
		_ = pipe.Close()
		_ = cmd.Wait()
	}
}
