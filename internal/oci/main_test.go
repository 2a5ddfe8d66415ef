package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The layouts must be the Dockerfile's images: what one description says of user, entry point and paths, the other must say too.
func TestImagesAreThoseOfTheDockerfile(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	targets := strings.Split(string(raw), "FROM scratch AS ")[1:]
	all := images("1")
	if len(targets) != len(all) {
		t.Fatalf("the Dockerfile has %d targets, here are %d", len(targets), len(all))
	}
	for i, im := range all {
		text := targets[i]
		name, _, _ := strings.Cut(text, "\n")
		if name != im.name {
			t.Errorf("target %d is %s, here it is %s", i, name, im.name)
		}
		want := []string{"USER " + im.config.User, "WORKDIR " + im.config.WorkingDir, "STOPSIGNAL " + im.config.StopSignal, "ENV " + strings.Join(im.config.Env, " ")}
		for _, tree := range im.trees {
			want = append(want, "COPY "+tree+"/ /")
		}
		for _, l := range want {
			if !strings.Contains(text, l+"\n") {
				t.Errorf("%s: the Dockerfile lacks %q", im.name, l)
			}
		}
		if got := strings.Contains(text, "\nENTRYPOINT "); got != (im.config.Entrypoint != nil) {
			t.Errorf("%s: ENTRYPOINT in the Dockerfile: %v", im.name, got)
		}
	}
}

func TestSameFilesSameBytes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"b": "1", "a/c": "2"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	at := time.Unix(1000, 0)
	_, first, err := layer(dir, at)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(dir, "b"), time.Now(), time.Now()); err != nil {
		t.Fatal(err)
	}
	_, second, err := layer(dir, at)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Error("a file's time changed the image")
	}
}
