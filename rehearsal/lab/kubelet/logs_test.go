package kubelet

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestStampPutsTimeBeforeEveryLine(t *testing.T) {
	var out bytes.Buffer
	stamp(&out, strings.NewReader("one\n\nlast"))
	lines := strings.SplitAfter(out.String(), "\n")
	if len(lines) != 4 || lines[3] != "" {
		t.Fatalf("got %q", out.String())
	}
	for i, text := range []string{"one", "", "last"} {
		if !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ` + text + "\n$").MatchString(lines[i]) {
			t.Errorf("line %d is %q", i, lines[i])
		}
	}
}

func TestCopyLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	content := "2026-01-01T00:00:01.000000000Z a\n2026-01-01T00:00:02.000000000Z b\n2026-01-01T00:00:03.000000000Z c\n"
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	n := func(i int64) *int64 { return &i }
	for name, c := range map[string]struct {
		options logOptions
		want    string
	}{
		"all":                    {logOptions{}, "a\nb\nc\n"},
		"the last two":           {logOptions{tail: n(2)}, "b\nc\n"},
		"none":                   {logOptions{tail: n(0)}, ""},
		"more than there are":    {logOptions{tail: n(9)}, "a\nb\nc\n"},
		"since the second":       {logOptions{since: time.Date(2026, 1, 1, 0, 0, 2, 0, time.UTC)}, "b\nc\n"},
		"three bytes":            {logOptions{limit: n(3)}, "a\nb"},
		"with their times":       {logOptions{timestamps: true, tail: n(1)}, "2026-01-01T00:00:03.000000000Z c\n"},
		"the last, since the 2.": {logOptions{tail: n(1), since: time.Date(2026, 1, 1, 0, 0, 2, 0, time.UTC)}, "c\n"},
	} {
		var out bytes.Buffer
		if err := copyLog(t.Context(), &out, path, c.options, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if out.String() != c.want {
			t.Errorf("%s: got %q, want %q", name, out.String(), c.want)
		}
	}
}

func TestCopyLogFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "log")
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			// A line may arrive in halves.
			for _, part := range []string{"2026-01-01T00:00:01Z a\n2026-01-01T", "00:00:02Z b\n", "2026-01-01T00:00:03Z c\n"} {
				_, _ = file.WriteString(part)
				time.Sleep(3 * followEvery)
			}
		}()
		var out bytes.Buffer
		if err := copyLog(context.Background(), &out, path, logOptions{follow: true}, ended); err != nil {
			t.Fatal(err)
		}
		if out.String() != "a\nb\nc\n" {
			t.Errorf("got %q", out.String())
		}
	})
}
