// Command treecopy compares the tree copy with rsync, cp, tar and, where it is there, rclone, in the same run and round by round:
//
//	treecopy bench [flags]        prints tables as Markdown; see run.sh
//	treecopy gen|copy|verify|digest|follow …   one part of it, in a process of its own
//
// It measures; it asserts nothing about times.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime/pprof"

	"pipectl.dev/treecopy"
	"pipectl.dev/treecopy/treetest"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) > 1 && os.Args[1] == "bench" {
		return bench(os.Args[2:])
	}
	files := flag.Int("files", 60_000, "gen: regular files")
	seed := flag.Int64("seed", 1, "gen: seed")
	workers := flag.Int("workers", 0, "copy: workers")
	hash := flag.String("hash", "xxh3-128", "copy: content hash")
	manifest := flag.String("manifest", "", "copy, verify: manifest file")
	del := flag.Bool("delete", false, "copy: delete extraneous entries")
	profile := flag.String("cpuprofile", "", "write a CPU profile")
	flag.Parse()
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	o := treecopy.Options{Workers: *workers, Hash: treecopy.Hash(*hash), Manifest: *manifest, Delete: *del}
	var rep any
	var err error
	switch ctx := context.Background(); flag.Arg(0) {
	case "gen":
		rep, err = treetest.JenkinsHomeStats(flag.Arg(1), treetest.Options{Files: *files, Seed: *seed})
	case "copy":
		rep, err = treecopy.Copy(ctx, flag.Arg(1), flag.Arg(2), o)
	case "verify":
		rep, err = treecopy.VerifyFile(ctx, flag.Arg(1), *manifest, treecopy.Options{Workers: *workers})
	case "digest":
		rep, err = treecopy.Digest(ctx, flag.Arg(1), o)
	case "follow":
		return follow(ctx, flag.Arg(1), flag.Arg(2), o)
	default:
		return fmt.Errorf("first argument: bench, gen DIR, copy SRC DST, verify DIR, digest DIR or follow SRC DST")
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(rep)
}

// follow makes a pass, and another one for every line that it reads.
func follow(ctx context.Context, src, dst string, o treecopy.Options) error {
	var err error
	if o.Tracker, err = treecopy.Track(src); err != nil {
		return err
	}
	defer func() { _ = o.Tracker.Close() }() // only read events
	in := bufio.NewScanner(os.Stdin)
	for {
		rep, err := treecopy.Copy(ctx, src, dst, o)
		if err != nil {
			return err
		}
		if err := json.NewEncoder(os.Stdout).Encode(rep); err != nil {
			return err
		}
		if !in.Scan() {
			return in.Err()
		}
	}
}
