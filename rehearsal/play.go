package rehearsal

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pipectl.dev/steps"
)

// play is the sequence of acts and what was found after each.
type play struct {
	world  *world
	began  time.Time
	acts   []outcome
	checks []check
	sums   []string // digests of the volume's content, after each down
}

// check is one thing that must hold after an act.
type check struct {
	After  string `json:"after"`
	What   string `json:"what"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// perform runs the acts. It stops after one that failed: what would follow has no meaning then.
func (p *play) perform(ctx context.Context) error {
	acts := []func(context.Context) error{p.first}
	if p.world.opts.FullCircle {
		acts = append(acts, p.again, p.down, p.back)
	}
	for _, act := range acts {
		if err := act(ctx); err != nil {
			return err
		}
		if p.acts[len(p.acts)-1].Exit != 0 {
			return nil
		}
	}
	return nil
}

func (p *play) act(ctx context.Context, title, verb string) (outcome, error) {
	fmt.Fprintf(p.world.opts.Stderr, "rehearsal: %s\n", title)
	o, err := p.world.client(ctx, verb)
	o.Verb = title
	p.acts = append(p.acts, o)
	return o, err
}

func (p *play) check(after, what string, ok bool, detail string) {
	p.checks = append(p.checks, check{After: after, What: what, OK: ok, Detail: detail})
}

// first is the run that makes everything and moves the home.
func (p *play) first(ctx context.Context) error {
	before, err := digest(p.world.oldHome(), changesWhileRunning)
	if err != nil {
		return err
	}
	o, err := p.act(ctx, "run", "run")
	if err != nil || o.Exit != 0 {
		return err
	}
	after, err := digest(p.world.oldHome(), changesWhileRunning)
	if err != nil {
		return err
	}
	if !p.moved() {
		return nil
	}
	p.check("run", "the old home is as it was but for what its own Jenkins wrote", before == after, "")
	fs, err := p.volume()
	if err != nil {
		return err
	}
	ok, detail := sameJobs(filepath.Join(p.world.oldHome(), "jobs"), filepath.Join(fs, "jobs"))
	p.check("run", "the volume holds the jobs and build numbers of the old home", ok, detail)
	return nil
}

// again must change nothing. The old cluster is ended first: a stage that still asked it for anything would fail.
func (p *play) again(ctx context.Context) error {
	p.world.stopOld()
	o, err := p.act(ctx, "run again", "run")
	if err != nil || o.Exit != 0 {
		return err
	}
	p.check("run again", "no resource of the cloud is written", o.Tally.Writes == 0, strings.Join(o.Tally.Wrote, " "))
	var changed []string
	for _, s := range o.Run.Stages {
		if s.Changed || s.Status != steps.Skipped {
			changed = append(changed, fmt.Sprintf("%s is %s", s.Stage, s.Status))
		}
	}
	p.check("run again", "every stage is skipped, with the source cluster gone", len(changed) == 0, strings.Join(changed, ", "))
	return nil
}

// down must leave the volume and nothing else.
func (p *play) down(ctx context.Context) error {
	fs, err := p.volume()
	if err != nil {
		return err
	}
	o, err := p.act(ctx, "down", "down")
	if err != nil || o.Exit != 0 {
		return err
	}
	var left []string
	for _, r := range p.world.cloud.Resources() {
		if r.Tags["pipectl.dev/identity"] != "" {
			left = append(left, r.Kind+" "+r.ID)
		}
	}
	only := len(left) == 1 && strings.HasPrefix(left[0], "volume ")
	p.check("down", "only the volume is left in the cloud", only, strings.Join(left, ", "))
	sum, err := digest(fs, nil)
	p.sums = append(p.sums, sum)
	return err
}

// back must bring the same files back.
func (p *play) back(ctx context.Context) error {
	o, err := p.act(ctx, "run after down", "run")
	if err != nil || o.Exit != 0 {
		return err
	}
	fs, err := p.volume()
	if err != nil {
		return err
	}
	sum, err := digest(fs, nil)
	if err != nil {
		return err
	}
	p.check("run after down", "the volume holds the same files", sum == p.sums[0], sum+" after, "+p.sums[0]+" before")
	ok, detail := sameJobs(filepath.Join(p.world.oldHome(), "jobs"), filepath.Join(fs, "jobs"))
	p.check("run after down", "Jenkins has the same jobs and build numbers", ok, detail)
	return nil
}

// moved says whether this pipeline moves a Jenkins home at all.
func (p *play) moved() bool {
	return slices.ContainsFunc(p.world.outline.Spec.Stages, func(s stage) bool { return s.Step == "migrate-jenkins-home" })
}

// volume is the directory with the content of the one volume that pipectl made.
func (p *play) volume() (string, error) {
	for _, r := range p.world.cloud.Resources() {
		if r.Kind == "volume" && r.Tags["pipectl.dev/identity"] != "" {
			return p.world.lab.VolumeFS(r.ID), nil
		}
	}
	return "", fmt.Errorf("the cloud has no volume of ours")
}

func (p *play) exit() int {
	for _, o := range p.acts {
		if o.Exit != 0 {
			return o.Exit
		}
	}
	if slices.ContainsFunc(p.checks, func(c check) bool { return !c.OK }) {
		return steps.Verification.ExitCode()
	}
	return 0
}

// summary is the JSON form of a rehearsal.
type summary struct {
	APIVersion string       `json:"apiVersion"`
	Kind       string       `json:"kind"` // RehearsalResult
	Pipeline   string       `json:"pipeline"`
	Exit       int          `json:"exit"`
	Seconds    float64      `json:"seconds"`
	Start      float64      `json:"startSeconds"` // until cloud and old cluster were up
	Acts       []actSummary `json:"acts"`
	Checks     []check      `json:"checks"`
	// Resources is what pipectl owns at the end, by kind and name with how many there are: equal ends give equal text.
	Resources map[string]int `json:"resources"`
}

type actSummary struct {
	Act     string  `json:"act"`
	Exit    int     `json:"exit"`
	Seconds float64 `json:"seconds"`
	Killed  int     `json:"killed,omitempty"`
	Calls   tally   `json:"calls"`
}

func (p *play) report() error {
	s := summary{
		APIVersion: steps.APIVersion, Kind: "RehearsalResult", Pipeline: p.world.outline.Metadata.Name, Exit: p.exit(),
		Seconds: (time.Since(p.began) + p.world.started).Seconds(), Start: p.world.started.Seconds(), Checks: p.checks,
		Resources: map[string]int{},
	}
	for _, r := range p.world.cloud.Resources() {
		if r.Tags["pipectl.dev/identity"] != "" {
			s.Resources[r.Tags["pipectl.dev/kind"]+"/"+r.Tags["pipectl.dev/name"]]++
		}
	}
	for _, o := range p.acts {
		s.Acts = append(s.Acts, actSummary{Act: o.Verb, Exit: o.Exit, Seconds: o.Duration.Seconds(), Killed: o.Killed, Calls: o.Tally})
	}
	if p.world.opts.JSON {
		enc := json.NewEncoder(p.world.opts.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(s)
	}
	_, err := fmt.Fprint(p.world.opts.Stdout, s.text())
	return err
}

func (s summary) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "rehearsal of %s: %.0f s, of it %.0f s to start the world\n\n", s.Pipeline, s.Seconds, s.Start)
	fmt.Fprintf(&b, "  %-16s %6s %9s %7s %7s\n", "act", "exit", "seconds", "reads", "writes")
	for _, a := range s.Acts {
		fmt.Fprintf(&b, "  %-16s %6d %9.1f %7d %7d\n", a.Act, a.Exit, a.Seconds, a.Calls.Reads, a.Calls.Writes)
	}
	b.WriteString("\n")
	for _, c := range s.Checks {
		mark := "ok    "
		if !c.OK {
			mark = "FAILED"
		}
		fmt.Fprintf(&b, "  %s  after %s: %s", mark, c.After, c.What)
		if c.Detail != "" && !c.OK {
			fmt.Fprintf(&b, " (%s)", c.Detail)
		}
		b.WriteString("\n")
	}
	if s.Exit == 0 {
		b.WriteString("\nNo account was used and nothing was billed.\n")
	}
	return b.String()
}
