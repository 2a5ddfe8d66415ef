package treecopy

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestGuardsOfTheTarget(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare func(t *testing.T, src, dst string)
		options Options
		want    error
		hint    string
	}{
		"an empty directory is taken": {
			prepare: func(t *testing.T, _, dst string) { must(t, os.MkdirAll(filepath.Join(dst, "lost+found"), 0o700)) },
		},
		"a directory with content is refused": {
			prepare: func(t *testing.T, _, dst string) { must(t, os.MkdirAll(filepath.Join(dst, "theirs"), 0o700)) },
			want:    ErrNotEmpty, hint: "empty directory",
		},
		"unless that is allowed": {
			prepare: func(t *testing.T, _, dst string) { must(t, os.MkdirAll(filepath.Join(dst, "theirs"), 0o700)) },
			options: Options{AllowNonEmpty: true},
		},
		"but never together with delete": {
			prepare: func(t *testing.T, _, dst string) { must(t, os.MkdirAll(filepath.Join(dst, "theirs"), 0o700)) },
			options: Options{AllowNonEmpty: true, Delete: true}, want: ErrNotEmpty,
		},
		"the copy of another source is refused": {
			prepare: func(t *testing.T, src, dst string) { copyOK(t, src, dst, Options{Source: "other"}) },
			want:    ErrForeign, hint: "another target",
		},
		"the same source is welcome again": {
			prepare: func(t *testing.T, src, dst string) { copyOK(t, src, dst, Options{}) },
		},
		"a damaged marker is not guessed at": {
			prepare: func(t *testing.T, _, dst string) {
				must(t, os.Mkdir(dst, 0o700))
				must(t, os.WriteFile(filepath.Join(dst, MarkerName), []byte(`{"kind":`), 0o600))
			},
			want: errAny, hint: "marker",
		},
		"a parent that is not there": {
			prepare: func(t *testing.T, _, dst string) { must(t, os.Symlink("nowhere/at/all", dst)) },
			want:    errAny,
		},
		"a veto": {
			options: Options{Check: func(string, string) error { return ErrSwapped }}, want: ErrSwapped,
		},
	} {
		t.Run(name, func(t *testing.T) {
			src, dst := tree(t, map[string]string{"a": "1", "d/b": "2"})
			if tc.prepare != nil {
				tc.prepare(t, src, dst)
			}
			_, err := Copy(t.Context(), src, dst, tc.options)
			if errors.Is(tc.want, errAny) && err != nil {
				err = errAny2{err}
			}
			if !errors.Is(err, tc.want) {
				t.Fatalf("err = %v, want %v", err, tc.want)
			}
			var h *HintError
			if tc.hint != "" && (!errors.As(err, &h) || !strings.Contains(h.Hint(), tc.hint)) {
				t.Errorf("hint of %v does not say %q", err, tc.hint)
			}
		})
	}
}

var errAny = errors.New("any error")

type errAny2 struct{ error }

func (errAny2) Is(target error) bool { return target == errAny }

func (e errAny2) Unwrap() error { return e.error }

func TestOverlapsAreRefused(t *testing.T) {
	src, dst := tree(t, map[string]string{"sub/a": "1"})
	must(t, os.Symlink(src, dst))
	for name, pair := range map[string][2]string{
		"the same directory":             {src, src},
		"the same by a link":             {src, dst},
		"target inside source":           {src, filepath.Join(src, "sub", "new")},
		"source inside target":           {filepath.Join(src, "sub"), src},
		"target inside source by a link": {src, filepath.Join(dst, "sub")},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Copy(t.Context(), pair[0], pair[1], Options{AllowNonEmpty: true}); !errors.Is(err, ErrOverlap) {
				t.Errorf("err = %v", err)
			}
		})
	}
}

func TestACopyIsNotCopiedBackOverItsSource(t *testing.T) {
	src, dst := tree(t, map[string]string{"a": "1"})
	copyOK(t, src, dst, Options{})
	if _, err := Copy(t.Context(), dst, src, Options{AllowNonEmpty: true}); !errors.Is(err, ErrSwapped) {
		t.Errorf("reversed: err = %v", err)
	}
	third := dst + "-third"
	copyOK(t, dst, third, Options{}) // a finished copy is a source like any other
	mustEqual(t, src, third)
	m, err := ReadMarker(dst)
	must(t, err)
	m.State = MarkerCopying
	must(t, m.write(dst))
	if _, err := Copy(t.Context(), dst, third+"2", Options{}); !errors.Is(err, ErrSwapped) {
		t.Errorf("unfinished source: err = %v", err)
	}
}
