package rehearsal

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pipectl.dev/engine"
)

// keep leaves the world running until it is interrupted.
func (w *world) keep(ctx context.Context) error {
	w.ledger.flush()
	if err := w.explainKeep(); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// explainKeep tells how to work with the world that goes on. What a client needs stands in a file to source, not on the terminal: it
// holds keys, and is long.
func (w *world) explainKeep() error {
	file := filepath.Join(w.dir, "env.sh")
	if err := os.WriteFile(file, []byte(w.exports()), 0o600); err != nil {
		return err
	}
	verb := "status"
	if w.opts.NoRun {
		verb = "run"
	}
	fmt.Fprintf(w.opts.Stderr, `rehearsal: the world goes on until Ctrl-C. In another terminal:
  . %s
  %s %s %s --results %s
  kubectl --kubeconfig %s/clusters/eks-*/kubeconfig get pods -A
`, quote(file), quote(w.opts.Self), verb, quote(w.opts.File), quote(w.results()), quote(w.dir))
	return nil
}

// exports sets, in a shell, what the rehearsal's own client was told: the environment, and the repositories as params. The shell's home
// stays its own (build caches, histories), so what a client would read below it about AWS is turned off instead.
func (w *world) exports() string {
	var b strings.Builder
	set := func(name, value string) { fmt.Fprintf(&b, "export %s=%s\n", name, quote(value)) }
	own := []string{"HOME", "PATH", "TERM", "LANG", "TMPDIR", "COLUMNS", "NO_COLOR", "COLORTERM", "GOCOVERDIR"} // the other shell has its own
	for _, v := range w.env() {
		if name, value, _ := strings.Cut(v, "="); !slices.Contains(own, name) {
			set(name, value)
		}
	}
	b.WriteString("unset AWS_PROFILE AWS_SESSION_TOKEN\n")
	set("AWS_CONFIG_FILE", os.DevNull)
	set("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	for name, value := range w.params() {
		set(engine.EnvName(name), value)
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
