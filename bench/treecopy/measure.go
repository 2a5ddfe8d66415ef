package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// sample is one run of one tool.
type sample struct {
	wall, cpu float64 // seconds
	rss       int64   // bytes, of the largest process
	io        diskIO
}

// took runs a command and measures it, its children included.
func (c *course) took(argv ...string) (sample, error) {
	cmd := exec.CommandContext(c.ctx, argv[0], argv[1:]...)
	var said strings.Builder
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.dir, io.Discard, &said
	began := time.Now()
	err := cmd.Run()
	s := sample{wall: time.Since(began).Seconds()}
	if err != nil {
		return s, errors.Join(fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, said.String()))
	}
	u := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	s.cpu = cmd.ProcessState.UserTime().Seconds() + cmd.ProcessState.SystemTime().Seconds()
	s.rss = u.Maxrss << 10
	return s, nil
}

// series are the samples of one tool, one a round.
type series struct {
	name string
	list []sample
}

func median(list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	if len(s) == 0 {
		return 0
	}
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

func pick(list []sample, f func(sample) float64) []float64 {
	out := make([]float64, len(list))
	for i, s := range list {
		out[i] = f(s)
	}
	return out
}

func wall(s sample) float64 { return s.wall }

// table compares every series with the first, round by round.
type table struct {
	title string
	note  string
	rows  []series
	disk  bool
	rss   bool
}

func (t *table) add(name string, s sample) {
	for i := range t.rows {
		if t.rows[i].name == name {
			t.rows[i].list = append(t.rows[i].list, s)
			return
		}
	}
	t.rows = append(t.rows, series{name, []sample{s}})
}

func (t *table) print(w io.Writer) {
	fmt.Fprintf(w, "\n### %s\n\n", t.title)
	if t.note != "" {
		fmt.Fprintf(w, "%s\n\n", t.note)
	}
	head := "| | wall s, median | CPU s, median | times treecopy: median (min-max) |"
	line := "|---|---|---|---|"
	if t.rss {
		head, line = head+" memory MB, largest |", line+"---|"
	}
	if t.disk {
		head, line = head+" reads of source | writes of target | floor s |", line+"---|---|---|"
	}
	fmt.Fprintln(w, head+"\n"+line)
	for i, r := range t.rows {
		fmt.Fprintf(w, "| %s | %.3f | %.3f | ", r.name, median(pick(r.list, wall)), median(pick(r.list, func(s sample) float64 { return s.cpu })))
		if i > 0 {
			ratio := make([]float64, len(r.list))
			for k := range r.list {
				ratio[k] = r.list[k].wall / t.rows[0].list[k].wall
			}
			fmt.Fprintf(w, "%.2f (%.2f-%.2f)", median(ratio), slices.Min(ratio), slices.Max(ratio))
		}
		fmt.Fprint(w, " |")
		if t.rss {
			fmt.Fprintf(w, " %.0f |", slices.Max(pick(r.list, func(s sample) float64 { return float64(s.rss) / 1e6 })))
		}
		if t.disk {
			of := func(f func(diskIO) float64) float64 {
				return median(pick(r.list, func(s sample) float64 { return f(s.io) }))
			}
			fmt.Fprintf(w, " %.0f (%.0f MB) | %.0f (%.0f MB) | %.1f |", of(func(d diskIO) float64 { return d.reads }), of(func(d diskIO) float64 { return d.readMB }),
				of(func(d diskIO) float64 { return d.writes }), of(func(d diskIO) float64 { return d.writeMB }), of(diskIO.floor))
		}
		fmt.Fprintln(w)
	}
}

// machine says where and when.
func machine() string {
	model, load := "", ""
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		_, rest, _ := strings.Cut(string(b), "model name\t: ")
		model, _, _ = strings.Cut(rest, "\n")
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		load = strings.Join(strings.Fields(string(b))[:3], " ")
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		kernel = []byte("?")
	}
	return fmt.Sprintf("%s, %s, Linux %s, load %s", time.Now().UTC().Format(time.DateOnly), model, strings.TrimSpace(string(kernel)), load)
}
