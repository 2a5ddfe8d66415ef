// Package rehearsal runs a whole pipeline against a built-in cloud and real control planes on this machine: no account, no Docker, no
// root, no network.
//
// It starts daemons, drives `pipectl run` and `pipectl down` as children against them, and judges what is left. It must not contain
// anything that a real run needs: the child knows of the rehearsal by its endpoints only.
package rehearsal

import "io"

// Options says what to rehearse and what should go wrong meanwhile. The zero value of a field means its default.
type Options struct {
	File   string            // pipeline file
	Params map[string]string // values of the params that are not secret
	Run    []string          // flags passed on to the `run` child, such as --param k=v, --params FILE, --env NAME
	Dir    string            // work directory; "" is a temporary one, removed at the end unless Keep
	Self   string            // path of the pipectl binary to run as client and as container image
	Lab    string            // path of the lab binary; "" searches $PIPECTL_LAB, beside Self, then bin/lab
	Seed   int64             // of durations, faults and the trees that are made
	Speed  float64           // how many times faster than real the cloud's durations pass; 0 is the default speed
	Faults string            // such as "eks:CreateNodegroup=throttle*3,iam:*=lost-response"
	KillAt int               // the client is killed at its Nth cloud call, then run again; 0 never

	FullCircle bool              // also: run again (nothing changes), down, run
	Keep       bool              // leave the world running until interrupted, with a kubeconfig and an endpoint to poke at
	NoRun      bool              // start the world, run nothing in it and leave it running as Keep does
	Repos      map[string]string // Git URL as the pipeline names it -> local directory that is served for it
	IAMPolicy  string            // file that receives the least-privilege policy of the calls made; "-" is Stdout
	Results    string            // directory that receives results, events and the ledger; "" is inside Dir
	JSON       bool              // Stdout receives a JSON summary rather than text

	Terminal bool // Stderr is a terminal: the child draws its live view there
	Stdout   io.Writer
	Stderr   io.Writer
	Getenv   func(string) string
}
