package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestMain plays the pipectl binary when it is started under that name: containers of the tests run this very file.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) != "pipectl" {
		os.Exit(m.Run())
	}
	if err := standIn(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(7)
	}
}

func standIn(args []string) error {
	switch args[0] {
	case "copy":
		if err := os.CopyFS(args[2], os.DirFS(args[1])); err != nil {
			return err
		}
		return message(map[string]any{"copied": args[1]})
	case "show":
		// Reports the files named, and everything of its environment that a test may ask for.
		files := map[string]string{}
		for _, path := range args[1:] {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			files[filepath.Base(path)] = string(data)
		}
		return message(map[string]any{"files": files, "user": os.Getenv("DB_USER"), "node": os.Getenv("NODE"), "devices": os.Getenv("PIPECTL_REHEARSAL_DEVICES")})
	case "fail":
		return fmt.Errorf("cannot %s", args[1])
	case "serve":
		return serve(args[1])
	case "write":
		return os.WriteFile(args[1], []byte(args[2]), 0o644)
	case "linger":
		return linger(args[1])
	}
	return fmt.Errorf("unknown %q", args[0])
}

func message(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(os.Getenv("PIPECTL_TERMINATION_LOG"), data, 0o644)
}

// serve answers on the pod's own address until it is told to end.
func serve(dir string) error {
	listener, err := net.Listen("tcp", net.JoinHostPort(os.Getenv("POD_IP"), "8000"))
	if err != nil {
		return err
	}
	fmt.Println("serving")
	return http.Serve(listener, http.FileServer(http.Dir(dir)))
}

// linger needs a moment to end well, and notes that it did.
func linger(path string) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	fmt.Println("lingering")
	<-signals
	time.Sleep(300 * time.Millisecond)
	return os.WriteFile(path, []byte("ended well"), 0o644)
}
