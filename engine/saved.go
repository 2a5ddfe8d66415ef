package engine

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
	"pipectl.dev/steps/spec"
)

// SavedPlan is a plan that a run applies later, as JSON. It holds no secret: secrets are neither in the plan nor in what it compares.
type SavedPlan struct {
	APIVersion string                     `json:"apiVersion"`
	Kind       string                     `json:"kind"` // SavedPlan
	CreatedAt  time.Time                  `json:"createdAt"`
	Tool       steps.Tool                 `json:"tool"`
	Arguments  Arguments                  `json:"arguments"`
	Pipeline   string                     `json:"pipelineDigest"`   // of the file's text
	Params     map[string]json.RawMessage `json:"params,omitempty"` // values of all that are no secrets
	Files      map[string]string          `json:"files,omitempty"`  // digests of what stages name by a relative path
	Plan       PlanReport                 `json:"plan"`
}

// Arguments are those of the call that made a plan: applying it takes the same.
type Arguments struct {
	File       string   `json:"file"`
	Env        string   `json:"env,omitempty"`
	Params     []string `json:"params,omitempty"`     // NAME=VALUE
	ParamFiles []string `json:"paramFiles,omitempty"` // their names
	Stages     []string `json:"stages,omitempty"`
	From       string   `json:"from,omitempty"`
	Until      string   `json:"until,omitempty"`
}

const savedKind = "SavedPlan"

// SavePlan makes a plan of p something that a run can hold the world against.
func SavePlan(p *Pipeline, plan *PlanReport, tool steps.Tool, args Arguments) (*SavedPlan, error) {
	s := &SavedPlan{APIVersion: steps.APIVersion, Kind: savedKind, CreatedAt: time.Now().UTC(), Tool: tool, Arguments: args, Pipeline: p.Digest, Plan: *plan}
	var err error
	if s.Params, err = p.plainParams(); err == nil {
		s.Files, err = p.filesDigest()
	}
	return s, err
}

// ReadPlan reads what SavePlan's result was written as.
func ReadPlan(file string, source []byte) (*SavedPlan, error) {
	var s SavedPlan
	err := json.Unmarshal(source, &s)
	if err == nil && (s.Kind != savedKind || s.APIVersion != steps.APIVersion) {
		err = fmt.Errorf("kind is %q of %q, not %s of %s", s.Kind, s.APIVersion, savedKind, steps.APIVersion)
	}
	if err != nil {
		p := spec.Problem{File: file, Line: 1, Col: 1, Message: "not a saved plan: " + err.Error(), Hint: "`pipectl plan --out FILE` writes one"}
		if e, ok := err.(*json.SyntaxError); ok { //nolint:errorlint // Unmarshal does not wrap it
			p.Line, p.Col = position(source, int(e.Offset))
		}
		return nil, spec.Problems{p}
	}
	return &s, nil
}

// position is the line and column of an offset, both from 1.
func position(source []byte, offset int) (line, col int) {
	before := string(source[:min(max(offset-1, 0), len(source))])
	return 1 + strings.Count(before, "\n"), len(before) - strings.LastIndexByte(before, '\n')
}

func (p *Pipeline) plainParams() (map[string]json.RawMessage, error) {
	out := map[string]json.RawMessage{}
	for _, x := range p.Params {
		if x.Secret() || x.Value == nil {
			continue
		}
		raw, err := json.Marshal(x.Value)
		if err != nil {
			return nil, fmt.Errorf("params.%s: %w", x.Name, err)
		}
		out[x.Name] = raw
	}
	return out, nil
}

// digestOf is how texts are told apart.
func digestOf(text []byte) string {
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// inputsMoved says what of the caller's own side is not as it was when the plan was made.
func (s *SavedPlan) inputsMoved(p *Pipeline, tool steps.Tool) ([]string, error) {
	var moved []string
	if s.Tool != tool {
		moved = append(moved, fmt.Sprintf("pipectl: was %s, is %s", s.Tool.Version, tool.Version))
	}
	if s.Pipeline != p.Digest {
		moved = append(moved, p.File+": its text")
	}
	params, err := p.plainParams()
	if err != nil {
		return nil, err
	}
	for _, name := range union(sortedKeys(s.Params), sortedKeys(params)) {
		if was, is := string(s.Params[name]), string(params[name]); was != is {
			moved = append(moved, fmt.Sprintf("param %s: was %s, is %s", name, cmp.Or(was, "unset"), cmp.Or(is, "unset")))
		}
	}
	files, err := p.filesDigest()
	if err != nil {
		return nil, err
	}
	for _, name := range union(sortedKeys(s.Files), sortedKeys(files)) {
		if s.Files[name] != files[name] {
			moved = append(moved, name+": its content")
		}
	}
	return moved, nil
}

// worldMoved says what of the world is not as it was when the plan was made.
func (s *SavedPlan) worldMoved(now *PlanReport) []string {
	var moved []string
	if s.Plan.Identity != now.Identity {
		moved = append(moved, fmt.Sprintf("identity: was %s, is %s", s.Plan.Identity, now.Identity))
	}
	for _, is := range now.Stages {
		moved = append(moved, stageMoved(s.stage(is.Stage), is)...)
	}
	return moved
}

// stage is what was planned for a stage.
func (s *SavedPlan) stage(name string) StagePlan {
	if i := slices.IndexFunc(s.Plan.Stages, func(x StagePlan) bool { return x.Stage == name }); i >= 0 {
		return s.Plan.Stages[i]
	}
	return StagePlan{Stage: name}
}

// stageMoved compares two plans of one stage, resource by resource.
func stageMoved(was, is StagePlan) []string {
	var moved []string
	say := func(format string, args ...any) {
		moved = append(moved, "stage "+is.Stage+": "+fmt.Sprintf(format, args...))
	}
	if was.State != is.State {
		say("was planned as %s, now as %s", cmp.Or(was.State, NotPlanned), is.State)
	}
	before := map[string]steps.Change{}
	for _, c := range was.Changes {
		before[reconcile.ID(c.Kind, c.Name)] = c
	}
	for _, c := range is.Changes {
		id := reconcile.ID(c.Kind, c.Name)
		old, known := before[id]
		delete(before, id)
		switch {
		case !known:
			say("%s: was not in the plan, is now to %s", id, c.Action)
		case old.Action != c.Action:
			say("%s: was to %s, now to %s", id, old.Action, c.Action)
		case old.ID != c.ID:
			say("%s: was %s, is %s", id, cmp.Or(old.ID, "without an ID"), cmp.Or(c.ID, "without an ID"))
		case !slices.Equal(old.Drift, c.Drift):
			say("%s: was to change %s, now %s", id, strings.Join(old.Drift, ", "), strings.Join(c.Drift, ", "))
		}
	}
	for _, id := range sortedKeys(before) {
		say("%s: was to %s, is not in the plan any more", id, before[id].Action)
	}
	if len(moved) == 0 && was.InputsDigest != is.InputsDigest {
		say("its inputs")
	}
	return moved
}

// movedError refuses a run: one line for each thing that moved.
func movedError(moved []string, again string) error {
	const most = 20
	text := "the plan is out of date. Since it was made, this has moved:"
	for _, m := range moved[:min(len(moved), most)] {
		text += "\n  - " + m // a dash, for where a report has it all in one line
	}
	if n := len(moved) - most; n > 0 {
		text += fmt.Sprintf("\n  - and %d more", n)
	}
	return &steps.Error{Code: "PlanMoved", Category: steps.Precondition, Message: text, Hints: []string{"plan again (--out FILE saves it): " + again}}
}
