package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pipectl.dev/treecopy"
	"pipectl.dev/treecopy/treetest"
)

// course is one call of the benchmark.
type course struct {
	ctx    context.Context // ends with an interrupt, so that disks are unmounted and scratch goes
	self   string          // this program
	dir    string          // scratch, on tmpfs
	src    string
	files  int
	rounds int
	rclone string // path; "" = not compared
}

func bench(args []string) error {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	c := course{}
	dir := f.String("dir", "/dev/shm", "scratch directory, on tmpfs")
	only := f.String("only", "tmpfs,delta,cold,throttled,million", "scenarios; delta and those on disks need root")
	f.IntVar(&c.files, "files", 60_000, "regular files in the tree")
	f.IntVar(&c.rounds, "rounds", 5, "rounds")
	f.StringVar(&c.rclone, "rclone", "", "path of an rclone to compare with")
	if err := f.Parse(args); err != nil {
		return err
	}
	var stop func()
	c.ctx, stop = signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if c.self, err = os.Executable(); err != nil {
		return err
	}
	if c.dir, err = os.MkdirTemp(*dir, "treecopy-bench-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(c.dir) }() // scratch
	c.src = filepath.Join(c.dir, "src")
	stats, err := treetest.JenkinsHomeStats(c.src, treetest.Options{Files: c.files, Seed: 1})
	if err != nil {
		return err
	}
	fmt.Printf("%s; %d CPUs; tree: %d files, %d directories, %.0f MB; %d rounds, the tools in turn in each\n", machine(), runtime.NumCPU(), stats.Files, stats.Dirs,
		float64(stats.Bytes)/1e6, c.rounds)
	for _, s := range []struct {
		name string
		do   func() ([]table, error)
	}{{"tmpfs", c.tmpfs}, {"delta", c.delta}, {"cold", c.cold}, {"throttled", c.throttled}, {"million", c.million}} {
		if !slices.Contains(strings.Split(*only, ","), s.name) {
			continue
		}
		tables, err := s.do()
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		for i := range tables {
			tables[i].print(os.Stdout)
		}
	}
	return nil
}

// tool is one way to copy src to dst, both without a slash at the end.
type tool struct {
	name string
	argv func(src, dst string) []string
}

func shell(script string, args ...string) []string {
	return append([]string{"sh", "-c", script, "sh"}, args...)
}

func (c *course) tools() []tool {
	all := []tool{
		{"treecopy", func(src, dst string) []string {
			return []string{c.self, "-manifest", dst + ".manifest", "copy", src, dst}
		}},
		{"rsync -aHAX", func(src, dst string) []string { return []string{"rsync", "-aHAX", src + "/", dst + "/"} }},
		{"tar pipe", func(src, dst string) []string {
			return shell(`mkdir -p "$2" && tar -C "$1" -cf - . | tar -C "$2" -xpf -`, src, dst)
		}},
		{"cp -a", func(src, dst string) []string { return []string{"cp", "-a", src + "/.", dst + "/"} }},
	}
	if c.rclone != "" {
		all = append(all, tool{"rclone copy", func(src, dst string) []string {
			return []string{c.rclone, "--config", "", "copy", "--links", "--metadata", "--transfers", "8", "--checkers", "8", src, dst}
		}})
	}
	return all
}

// tmpfs compares copies and rescans where only CPU and system calls count.
func (c *course) tmpfs() ([]table, error) {
	copies := table{title: "Copy, tmpfs to tmpfs, hashing on"}
	again := table{title: "Rescan, nothing changed"}
	check := table{title: "Verify: read the target back and compare with the manifest"}
	for range c.rounds {
		for _, t := range c.tools() {
			dst := filepath.Join(c.dir, "dst")
			if err := os.Mkdir(dst, 0o755); err != nil {
				return nil, err
			}
			s, err := c.took(t.argv(c.src, dst)...)
			if err != nil {
				return nil, err
			}
			copies.add(t.name, s)
			if err := c.after(t, dst, &again, &check); err != nil {
				return nil, err
			}
			if err := errors.Join(os.RemoveAll(dst), os.RemoveAll(dst+".manifest")); err != nil {
				return nil, err
			}
		}
	}
	return []table{copies, again, check}, nil
}

// after runs what some tools can do with a finished copy.
func (c *course) after(t tool, dst string, again, check *table) error {
	switch t.name {
	case "treecopy":
		s, err := c.took(c.self, "-manifest", dst+".manifest", "-delete", "copy", c.src, dst)
		if err != nil {
			return err
		}
		again.add("treecopy, with delete", s)
		if s, err = c.took(c.self, "-manifest", dst+".manifest", "verify", dst); err != nil {
			return err
		}
		check.add(t.name, s)
	case "rsync -aHAX":
		s, err := c.took("rsync", "-aHAX", "--delete", c.src+"/", dst+"/")
		if err != nil {
			return err
		}
		again.add("rsync -aHAX --delete", s)
		if s, err = c.took("rsync", "-aHAX", "--checksum", "--dry-run", c.src+"/", dst+"/"); err != nil {
			return err
		}
		check.add("rsync --checksum --dry-run (reads both sides)", s)
	case "rclone copy":
		s, err := c.took(t.argv(c.src, dst)...)
		if err != nil {
			return err
		}
		again.add(t.name, s)
	}
	return nil
}

const changed = 200

// delta changes some files and lets every tool catch up: the last pass of a move.
func (c *course) delta() (_ []table, err error) {
	out := table{title: fmt.Sprintf("Last pass: %d files changed", changed)}
	// As in a move, the targets are on a file system of their own.
	targets := filepath.Join(c.dir, "targets")
	if err := errors.Join(os.Mkdir(targets, 0o755), unix.Mount("tmpfs", targets, "tmpfs", 0, "")); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unix.Unmount(targets, 0)) }()
	dst := func(name string) string { return filepath.Join(targets, name) }
	f, err := c.startFollow(dst("tracked"))
	if err != nil {
		return nil, err
	}
	defer f.end()
	rescan := []string{c.self, "-manifest", dst("rescan") + ".manifest", "-delete", "copy", c.src, dst("rescan")}
	rsync := []string{"rsync", "-aHAX", "--delete", c.src + "/", dst("rsync") + "/"}
	for _, argv := range [][]string{rescan, rsync} {
		if _, err := c.took(argv...); err != nil {
			return nil, err
		}
	}
	var names []string
	if err := filepath.WalkDir(c.src, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			names = append(names, p)
		}
		return err
	}); err != nil {
		return nil, err
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range c.rounds {
		for range changed {
			if err := os.WriteFile(names[r.IntN(len(names))], []byte("changed at "+time.Now().String()), 0o644); err != nil {
				return nil, err
			}
		}
		time.Sleep(50 * time.Millisecond) // a file that was written just now is read twice; after Jenkins has stopped none is
		s, rep, err := f.pass()
		if err != nil {
			return nil, err
		}
		out.note = fmt.Sprintf("treecopy follows the source by %s and looked into %d directories; its time is from the request to the answer of a process that runs already.",
			rep.Tracking.Method, rep.Tracking.Dirs)
		if rep.Tracking.Whole != "" || rep.Copied.Files < changed*9/10 {
			return nil, fmt.Errorf("the tracked pass copied %d files, %+v", rep.Copied.Files, rep.Tracking)
		}
		out.add("treecopy, tracked", s)
		if s, err = c.took(rsync...); err != nil {
			return nil, err
		}
		out.add("rsync -aHAX --delete", s)
		if s, err = c.took(rescan...); err != nil {
			return nil, err
		}
		out.add("treecopy, rescan", s)
	}
	return []table{out}, nil
}

// follower is a process that makes a pass on demand.
type follower struct {
	cmd *exec.Cmd
	ask *bufio.Writer
	out *bufio.Scanner
	end func()
}

func (c *course) startFollow(dst string) (*follower, error) {
	cmd := exec.Command(c.self, "-manifest", dst+".manifest", "-delete", "follow", c.src, dst)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	f := &follower{cmd: cmd, ask: bufio.NewWriter(in), out: bufio.NewScanner(out)}
	f.out.Buffer(nil, 1<<20)
	f.end = func() {
		_ = in.Close() // ends it
		_ = cmd.Wait() // its error was told by itself
	}
	if !f.out.Scan() {
		f.end()
		return nil, errors.New("follow: ended early")
	}
	return f, nil
}

func (f *follower) pass() (s sample, rep treecopy.Report, err error) {
	before := cpuOf(f.cmd.Process.Pid)
	began := time.Now()
	if _, err = f.ask.WriteString("\n"); err == nil {
		err = f.ask.Flush()
	}
	if err != nil {
		return s, rep, err
	}
	if !f.out.Scan() {
		return s, rep, errors.New("follow: ended early")
	}
	s.wall = time.Since(began).Seconds()
	s.cpu = cpuOf(f.cmd.Process.Pid) - before
	return s, rep, json.Unmarshal(f.out.Bytes(), &rep)
}

// cpuOf reads the CPU seconds of a process, in ticks of 10 ms.
func cpuOf(pid int) float64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, uerr := strconv.ParseFloat(fields[11], 64)
	sys, serr := strconv.ParseFloat(fields[12], 64)
	if uerr != nil || serr != nil {
		return 0
	}
	return (user + sys) / 100
}

// million copies a million files and looks at memory.
func (c *course) million() ([]table, error) {
	src, dst := filepath.Join(c.dir, "million"), filepath.Join(c.dir, "million-copy")
	if err := manyFiles(src, 1_000_000); err != nil {
		return nil, err
	}
	out := table{title: "One million files in 100,000 directories: memory", rss: true, note: "Every tenth file has content, so that the machine's memory suffices."}
	again := table{title: "The same, rescan", rss: true}
	ours := []string{c.self, "-manifest", dst + ".manifest", "-delete", "copy", src, dst}
	theirs := []string{"rsync", "-aHAX", "--delete", src + "/", dst + "/"}
	for _, t := range []struct {
		name string
		argv []string
	}{{"treecopy", ours}, {"rsync -aHAX --delete", theirs}} {
		for _, into := range []*table{&out, &again} {
			s, err := c.took(t.argv...)
			if err != nil {
				return nil, err
			}
			into.add(t.name, s)
		}
		if err := os.RemoveAll(dst); err != nil {
			return nil, err
		}
	}
	return []table{out, again}, errors.Join(os.RemoveAll(src), os.RemoveAll(dst+".manifest"))
}

func manyFiles(dir string, n int) error {
	for i := range n {
		at := filepath.Join(dir, strconv.Itoa(i/100_000), strconv.Itoa(i/1000), strconv.Itoa(i/10))
		if i%10 == 0 {
			if err := os.MkdirAll(at, 0o755); err != nil {
				return err
			}
		}
		var b []byte
		if i%10 == 0 {
			b = []byte(at)
		}
		if err := os.WriteFile(filepath.Join(at, "workflow-"+strconv.Itoa(i)+".xml"), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}
