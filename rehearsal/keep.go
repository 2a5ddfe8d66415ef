package rehearsal

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pipectl.dev/engine"
)

// explainKeep tells how to work with the world that goes on. What a client needs stands in a file to source, not on the terminal: it
// holds keys, and is long.
func (w *world) explainKeep() error {
	file := filepath.Join(w.dir, "env.sh")
	if err := os.WriteFile(file, []byte(w.exports()), 0o600); err != nil {
		return err
	}
	pipeline := quote(w.opts.File)
	fmt.Fprintf(w.opts.Stderr, `rehearsal: the world goes on until Ctrl-C. In another terminal:
  . %s
  %s status %s --results %s
  kubectl --kubeconfig %s/clusters/eks-*/kubeconfig get pods -A
`, quote(file), quote(w.opts.Self), pipeline, quote(w.results()), quote(w.dir))
	return nil
}

// exports sets, in a shell, what the rehearsal's own client was told: the environment, and the repositories as params.
func (w *world) exports() string {
	var b strings.Builder
	set := func(name, value string) { fmt.Fprintf(&b, "export %s=%s\n", name, quote(value)) }
	terminal := []string{"PATH", "TERM", "LANG", "TMPDIR", "COLUMNS", "NO_COLOR", "COLORTERM", "GOCOVERDIR"} // the other shell has its own
	for _, v := range w.env() {
		if name, value, _ := strings.Cut(v, "="); !slices.Contains(terminal, name) {
			set(name, value)
		}
	}
	for name, dir := range w.repos {
		set(engine.EnvName(name), fileURL(dir))
	}
	return b.String()
}

// quote makes one word of a shell of s.
func quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=@%+,") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
