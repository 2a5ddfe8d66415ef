package rehearsal

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
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
	sums   []string          // digests of the volume's content, after each down
	seeded map[string]string // tags of what was in the cloud before, by its id
	synced map[string]string // when each Application was synced last, as of the last inspection
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
	p.seeded = p.world.seeded()
	before, err := p.homeDigest()
	if err != nil {
		return err
	}
	o, err := p.act(ctx, "run", "run")
	if err != nil || o.Exit != 0 {
		return err
	}
	if p.moved() {
		after, err := p.homeDigest()
		if err != nil {
			return err
		}
		p.check("run", "the old home is as it was but for what its own Jenkins wrote", before == after, "")
		if err := p.sameJobs("run", "the volume holds the jobs and build numbers of the old home"); err != nil {
			return err
		}
	}
	return p.inspect(ctx, "run")
}

// again must change nothing. The cluster that Jenkins came from is ended first: a stage that still asked it for anything would fail.
func (p *play) again(ctx context.Context) error {
	p.world.stopSource()
	synced := p.synced
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
	what := "every stage is skipped"
	if p.moved() {
		what += ", with the source cluster gone"
	}
	p.check("run again", what, len(changed) == 0, strings.Join(changed, ", "))
	if err := p.inspect(ctx, "run again"); err != nil {
		return err
	}
	if len(synced) > 0 {
		p.check("run again", "no Application was synced again", maps.Equal(synced, p.synced), fmt.Sprint(synced, " and ", p.synced))
	}
	return nil
}

// down must leave the data volumes and nothing else.
func (p *play) down(ctx context.Context) error {
	volumes := p.count("data-volume")
	fs := ""
	if volumes > 0 {
		var err error
		if fs, err = p.volume(); err != nil {
			return err
		}
	}
	o, err := p.act(ctx, "down", "down")
	if err != nil || o.Exit != 0 {
		return err
	}
	var left []string
	kept := map[string]int{}
	for _, r := range p.world.cloud.Resources() {
		if r.Tags["pipectl.dev/identity"] != "" {
			left = append(left, r.Kind+" "+r.ID)
			if kind := r.Tags["pipectl.dev/kind"]; kind == "ec2:Volume" || kind == "ec2:Snapshot" {
				kept[kind]++
			}
		}
	}
	what := "nothing is left in the cloud"
	if volumes > 0 {
		what = "only the volume is left in the cloud, with its snapshots"
	}
	p.check("down", what, len(left) == kept["ec2:Volume"]+kept["ec2:Snapshot"] && kept["ec2:Volume"] == volumes, strings.Join(left, ", "))
	if err := p.inspectDown(ctx); err != nil || fs == "" {
		return err
	}
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
	if len(p.sums) > 0 {
		fs, err := p.volume()
		if err != nil {
			return err
		}
		sum, err := digest(fs, nil)
		if err != nil {
			return err
		}
		p.check("run after down", "the volume holds the same files", sum == p.sums[0], sum+" after, "+p.sums[0]+" before")
	}
	if p.moved() {
		if err := p.sameJobs("run after down", "Jenkins has the same jobs and build numbers"); err != nil {
			return err
		}
	}
	return p.inspect(ctx, "run after down")
}

// homeDigest is one hash over the home that is to be moved, without what its own Jenkins writes; "" where none is moved.
func (p *play) homeDigest() (string, error) {
	if p.world.source() == nil {
		return "", nil
	}
	return digest(p.world.oldHome(), changesWhileRunning)
}

func (p *play) sameJobs(after, what string) error {
	fs, err := p.volume()
	if err != nil {
		return err
	}
	ok, detail := sameJobs(filepath.Join(p.world.oldHome(), "jobs"), filepath.Join(fs, "jobs"))
	p.check(after, what, ok, detail)
	return nil
}

// moved says whether this pipeline moves a Jenkins home at all.
func (p *play) moved() bool {
	return p.count("migrate-jenkins-home") > 0 && p.world.source() != nil
}

// output is a text among the outputs of a stage in the last act.
func (p *play) output(stage, name string) string {
	for _, s := range p.acts[len(p.acts)-1].Run.Stages {
		if s.Stage != stage {
			continue
		}
		var out map[string]any
		if json.Unmarshal(s.Outputs, &out) == nil {
			text, _ := out[name].(string)
			return text
		}
	}
	return ""
}

// count is how many stages use a step.
func (p *play) count(step string) int {
	n := 0
	for _, s := range p.world.outline.Spec.Stages {
		if s.Step == step {
			n++
		}
	}
	return n
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
	Memory     int64        `json:"peakMemoryBytes"` // resident, of this process: the cloud and what made the files
	Downtime   *downtime    `json:"downtime,omitempty"`
	// Resources is what pipectl owns at the end, by kind and name with how many there are: equal ends give equal text.
	Resources map[string]int `json:"resources"`
}

type actSummary struct {
	Act     string  `json:"act"`
	Exit    int     `json:"exit"`
	Seconds float64 `json:"seconds"`
	Killed  int     `json:"killed,omitempty"`
	Memory  int64   `json:"peakMemoryBytes"` // resident, of the client
	Calls   tally   `json:"calls"`
}

func (p *play) report() error {
	s := summary{
		APIVersion: steps.APIVersion, Kind: "RehearsalResult", Pipeline: p.world.outline.Metadata.Name, Exit: p.exit(),
		Seconds: (time.Since(p.began) + p.world.started).Seconds(), Start: p.world.started.Seconds(), Checks: p.checks,
		Resources: map[string]int{}, Memory: ownPeakMemory(),
	}
	for _, r := range p.world.cloud.Resources() {
		if r.Tags["pipectl.dev/identity"] != "" {
			s.Resources[r.Tags["pipectl.dev/kind"]+"/"+r.Tags["pipectl.dev/name"]]++
		}
	}
	for _, o := range p.acts {
		s.Acts = append(s.Acts, actSummary{Act: o.Verb, Exit: o.Exit, Seconds: o.Duration.Seconds(), Killed: o.Killed, Memory: o.Memory, Calls: o.Tally})
	}
	s.Downtime = p.downtime()
	if p.world.opts.JSON {
		enc := json.NewEncoder(p.world.opts.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(s)
	}
	_, err := fmt.Fprint(p.world.opts.Stdout, s.text())
	return err
}

// downtime is how long the moved Jenkins stood still, in seconds by phase, as the stage of the cut-over measured it.
type downtime struct {
	Quiet  float64 `json:"quiet"` // before it: no new builds, but Jenkins answers
	Stop   float64 `json:"stop"`
	Copy   float64 `json:"copy"`
	Verify float64 `json:"verify"`
	Detach float64 `json:"detach"`
	Total  float64 `json:"total"`
}

func (d downtime) text() string {
	return fmt.Sprintf("downtime of Jenkins: %.2f s (stop %.2f, last pass %.2f, read back %.2f, unmount and detach %.2f), after %.1f s of quiet\n",
		d.Total, d.Stop, d.Copy, d.Verify, d.Detach, d.Quiet)
}

// downtime of the move; nil where none was made.
func (p *play) downtime() *downtime {
	if len(p.acts) == 0 {
		return nil
	}
	for _, declared := range p.world.outline.Spec.Stages {
		for _, s := range p.acts[0].Run.Stages {
			var out struct{ Downtime downtime }
			if declared.Step == "migrate-jenkins-home" && s.Stage == declared.Name && json.Unmarshal(s.Outputs, &out) == nil && out.Downtime.Total > 0 {
				return &out.Downtime
			}
		}
	}
	return nil
}

func (s summary) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "rehearsal of %s: %.0f s, of it %.0f s to start the world\n\n", s.Pipeline, s.Seconds, s.Start)
	fmt.Fprintf(&b, "  %-16s %6s %9s %7s %7s %9s\n", "act", "exit", "seconds", "reads", "writes", "memory")
	for _, a := range s.Acts {
		fmt.Fprintf(&b, "  %-16s %6d %9.1f %7d %7d %6d MB\n", a.Act, a.Exit, a.Seconds, a.Calls.Reads, a.Calls.Writes, a.Memory/1e6)
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
	if s.Downtime != nil {
		b.WriteString("\n" + s.Downtime.text())
	}
	if s.Exit == 0 {
		b.WriteString("\nNo account was used and nothing was billed.\n")
	}
	return b.String()
}
