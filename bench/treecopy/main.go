// Command treecopy runs one part of the copy benchmark: it makes a tree, copies it, or verifies a copy. run.sh drives it.
package main

import (
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
	default:
		return fmt.Errorf("first argument: gen DIR, copy SRC DST, verify DIR or digest DIR")
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(rep)
}
