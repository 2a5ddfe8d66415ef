package spawn

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestExitCode(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		want   int
	}{
		"its own":                {"exit 3", 3},
		"none":                   {"true", 0},
		"a signal's, as 128 + n": {"kill -TERM $$", 143},
	} {
		p, err := Start(exec.Command("sh", "-c", c.script))
		if err != nil {
			t.Fatal(err)
		}
		if got := p.ExitCode(); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestStopTakesTheWholeGroup(t *testing.T) {
	for name, script := range map[string]string{
		"a process that ends when asked": "sleep 1000 & echo $!; trap 'exit 0' TERM; wait",
		"a process that will not end":    "trap '' TERM; sleep 1000 & echo $!; while :; do wait; done",
	} {
		t.Run(name, func(t *testing.T) {
			p, grandchild := family(t, script)
			p.Stop(50 * time.Millisecond)
			for deadline := time.Now().Add(10 * time.Second); alive(grandchild); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("grandchild %d lives on", grandchild)
				}
			}
		})
	}
}

// family starts a script that prints the pid of a child of its own.
func family(t *testing.T, script string) (*Process, int) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	cmd := exec.Command("sh", "-c", script)
	cmd.Stdout = writer
	p, err := Start(cmd)
	_ = writer.Close()
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(reader).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	return p, pid
}

// alive counts a zombie that nobody has waited for as dead.
func alive(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestStartNamesWhatIsMissing(t *testing.T) {
	_, err := Start(exec.Command("/no/such/program"))
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("got %v", err)
	}
}
