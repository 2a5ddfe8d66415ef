package stream

import (
	"encoding/json"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pipectl.dev/treecopy/treetest"
)

// TestWhatComesInTheBlockOfTheGreeting lets a peer ask before its greeting has left, as one does whose writer is held up while it hears ours.
func TestWhatComesInTheBlockOfTheGreeting(t *testing.T) {
	src := filepath.Join(scratch(t), "src")
	must(t, treetest.JenkinsHome(src, treetest.Options{Files: 10, Seed: 1}))
	for name, c := range map[string]struct {
		identity string
		more     []byte // kinds of frames behind the greeting
		answers  []byte
		says     string // by Serve; "" for its good end
	}{
		"a request":                    {ident, []byte{kindBegin}, []byte{kindHello, kindBegun}, ""},
		"a good bye":                   {ident, []byte{kindBye}, nil, ""},
		"a request of another copy":    {"other", []byte{kindBegin}, []byte{kindHello}, "of another copy"},
		"something that is no request": {ident, []byte{kindBegun}, nil, "a frame is cut off or wrong"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, served := ends(t, src, same)
			out := newOutlet(conn, false)
			text, err := json.Marshal(hello{Identity: c.identity})
			must(t, err)
			must(t, out.send(kindHello, func(e *encoder) { e.bytes(text) }))
			for _, kind := range c.more {
				must(t, out.send(kind, func(e *encoder) { e.uint(1) }))
			}
			go func() {
				if _, err := io.WriteString(conn, magic); err == nil {
					out.run()
				}
			}()
			_, err = io.ReadFull(conn, make([]byte, len(magic)))
			must(t, err)
			var got []byte
			in := &inlet{r: conn}
			for len(got) < len(c.answers) {
				must(t, in.next(func(kind byte, _ []byte) error {
					got = append(got, kind)
					return nil
				}))
			}
			if c.says == "" && len(got) > 0 {
				must(t, out.send(kindBye, nil))
			} else { // it hears of nothing more, and must not wait for us
				go func() { _, _ = io.Copy(io.Discard, conn) }()
			}
			if !slices.Equal(got, c.answers) {
				t.Errorf("answered %v, want %v", got, c.answers)
			}
			if err := <-served; (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("Serve says %v, want %q", err, c.says)
			}
		})
	}
}
