package steptest_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"pipectl.dev/steps"
	"pipectl.dev/steps/steptest"
)

// shelf is a world of boxes by name; the value says whose a box is.
type shelf struct {
	boxes  map[string]string
	writes int
}

type boxSpec struct {
	Name string `yaml:"name" json:"name" jsonschema:"required" jsonschema_description:"name of the box"`
	Size int    `yaml:"size" json:"size" jsonschema:"default=1" jsonschema_description:"its size"`
}

type boxOutputs struct {
	ID    string   `json:"id" jsonschema_description:"identifier"`
	Lists []string `json:"lists,omitempty" jsonschema_description:"lists"`
}

// box makes one box; broken names the rule that it breaks.
type box struct {
	s      *shelf
	broken string
}

func (b box) Plan(_ context.Context, _ steps.Env, s boxSpec) (steps.Plan[boxOutputs], error) {
	if b.broken == "plan writes" {
		b.s.writes++
	}
	c := steps.Change{Kind: "box", Name: s.Name, Action: "create"}
	if b.s.boxes[s.Name] == "" || b.broken == "never keeps" {
		p := steps.Plan[boxOutputs]{Changes: []steps.Change{c}, Foreseen: map[string]any{"id": s.Name}}
		if b.broken == "foresees otherwise" {
			p.Foreseen["id"] = "?"
		}
		return p, nil
	}
	c.Action = "keep"
	return steps.Plan[boxOutputs]{Changes: []steps.Change{c}, Outputs: &boxOutputs{ID: s.Name}}, nil
}

func (b box) Apply(ctx context.Context, env steps.Env, s boxSpec) (boxOutputs, error) {
	if ctx.Err() != nil && b.broken != "deaf" {
		return boxOutputs{}, ctx.Err()
	}
	c := steps.Change{Kind: "box", Name: s.Name, Action: "create"}
	switch b.s.boxes[s.Name] {
	case "other":
		return boxOutputs{}, &steps.Error{Code: "NotOurs", Category: steps.Conflict, Err: errors.New("somebody else's")}
	case "":
		b.s.boxes[s.Name], b.s.writes = "ours", b.s.writes+1
	default:
		c.Action = "keep"
	}
	env.Report(steps.Progress{Change: c, Phase: "done"})
	return boxOutputs{ID: s.Name}, nil
}

func (b box) Observe(_ context.Context, _ steps.Env, s boxSpec) (boxOutputs, bool, error) {
	if b.broken == "observes otherwise" {
		return boxOutputs{ID: "?"}, b.s.boxes[s.Name] == "ours", nil
	}
	return boxOutputs{ID: s.Name}, b.s.boxes[s.Name] == "ours", nil
}

func (b box) Delete(_ context.Context, _ steps.Env, s boxSpec, _ steps.DeleteOptions) error {
	if b.s.boxes[s.Name] == "ours" || b.broken == "greedy" && b.s.boxes[s.Name] != "" {
		delete(b.s.boxes, s.Name)
		b.s.writes++
	}
	if b.broken == "deletes twice" {
		b.s.writes++
	}
	return nil
}

func definition(s *shelf, broken string) steps.Definition {
	about := steps.About{Name: "make-box", Summary: "makes a box", Example: "name: a\nsize: 2\n"}
	if broken == "no example" {
		about.Example = "nmae: a\n"
	}
	if about.Data = broken == "data goes"; broken == "name" {
		about.Name = "makeBox"
	}
	return steps.Define(about, box{s, broken})
}

func suite(t *testing.T, broken string) {
	steptest.Run(t, definition(&shelf{}, broken), steptest.Harness{Virtual: true, World: func(*testing.T) steptest.World {
		s := &shelf{boxes: map[string]string{}}
		return steptest.World{
			Step: definition(s, broken), Writes: func() int { return s.writes },
			Foreign: func(*testing.T) func() string {
				s.boxes["a"] = "other"
				return func() string {
					if s.boxes["a"] != "other" {
						return "the other box is gone"
					}
					return ""
				}
			},
		}
	}})
}

func TestAGoodStepPasses(t *testing.T) { suite(t, "") }

// TestBroken runs in a process of its own, below: a suite that fails must fail its test.
func TestBroken(t *testing.T) {
	if broken := os.Getenv("STEPTEST_BROKEN"); broken != "" {
		suite(t, broken)
	}
}

func TestABrokenStepFailsWhereItIsBroken(t *testing.T) {
	t.Parallel()
	for broken, want := range map[string]string{
		"plan writes": "plan and observe changed the world", "never keeps": "a plan after apply is not all keep with outputs", "deaf": "a cancelled apply is no error",
		"observes otherwise": "outputs of observe differ", "foresees otherwise": "a plan that foresaw id differ", "greedy": "delete: the other box is gone", "data goes": "a removal that is to keep data", "deletes twice": "a second removal changed the world",
		"no example": "is required", "name": `name "makeBox"`,
	} {
		t.Run(broken, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestBroken$")
			cmd.Env = append(os.Environ(), "STEPTEST_BROKEN="+broken)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), want) {
				t.Errorf("%v, no %q in:\n%s", err, want, out)
			}
		})
	}
}
