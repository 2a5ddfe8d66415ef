package engine

import (
	"cmp"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/Masterminds/semver/v3"
	"gopkg.in/yaml.v3"

	"pipectl.dev/engine/expr"
	"pipectl.dev/steps"
	"pipectl.dev/steps/spec"
)

// LoadOptions is everything Load looks at. It reads no file and no environment by itself.
type LoadOptions struct {
	File    string             // shown in problems; its directory is what relative paths are relative to
	Source  []byte             // content of File
	Catalog []steps.Definition // steps that may be used
	Params  map[string]string  // --param k=v
	// ParamFiles are --params FILE, later ones win: YAML maps, or `terraform output -json`.
	ParamFiles []ParamFile
	Env        string                      // --env NAME
	Getenv     func(string) (string, bool) // os.LookupEnv; nil: an empty environment
	Tool       string                      // version of this build, for requires.pipectl; "" or a development build satisfies all
	// AllowMissing accepts required params that have no value, as `validate` does: what depends on them is checked by type only.
	AllowMissing bool
}

// ParamFile is one file of params.
type ParamFile struct {
	Name   string
	Source []byte
}

// Load reads a pipeline and finds everything wrong with it at once, sorted by position. The pipeline is nil when there are problems.
// Load is pure.
func Load(o LoadOptions) (*Pipeline, spec.Problems) {
	l := &loader{o: o, p: &Pipeline{File: o.File, Digest: digestOf(o.Source), Dir: filepath.Dir(o.File), Env: o.Env, byName: map[string]*Stage{}, catalog: o.Catalog}}
	l.load()
	if len(l.problems) == 0 {
		return l.p, nil
	}
	slices.SortStableFunc(l.problems, func(a, b spec.Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	return nil, slices.Compact(l.problems)
}

type loader struct {
	o        LoadOptions
	root     *yaml.Node
	doc      Document
	p        *Pipeline
	env      *expr.Env
	types    *expr.Types
	nodes    map[*Stage]stageNode
	problems spec.Problems
}

func (l *loader) load() {
	root, problems := parse(l.o.File, l.o.Source)
	l.problems = problems
	if root == nil {
		return
	}
	l.root = root
	if ps := spec.Decode(l.o.File, root, &l.doc); len(ps) > 0 {
		l.problems = append(l.problems, ps...)
		l.doc = Document{}
		lenient(root, &l.doc)
	}
	l.p.Name = l.doc.Metadata.Name
	l.requires()
	l.environment()
	l.params()
	l.stages()
	if err := l.declare(); err != nil {
		l.addAt(root, "", err.Error(), "")
		return
	}
	l.p.Region = l.constant("region", cmp.Or(l.doc.Spec.Env[l.o.Env].Region, l.doc.Spec.Region), regionShape, "a region such as ap-northeast-2")
	l.p.Account = l.constant("account", cmp.Or(l.doc.Spec.Env[l.o.Env].Account, l.doc.Spec.Account), accountShape, "the 12 digits of an AWS account")
	for _, s := range l.p.Stages {
		l.compile(s)
	}
	l.outputs()
	l.edges()
	l.check()
}

func (l *loader) add(line, col int, path, message, hint string) {
	l.problems = append(l.problems, spec.Problem{File: l.o.File, Line: line, Col: col, Path: path, Message: message, Hint: hint})
}

func (l *loader) addAt(n *yaml.Node, path, message, hint string) {
	l.add(n.Line, n.Column, path, message, hint)
}

func (l *loader) getenv(name string) (string, bool) {
	if l.o.Getenv == nil {
		return "", false
	}
	return l.o.Getenv(name)
}

// requires refuses a file that was written for another pipectl, before its fields are misread.
func (l *loader) requires() {
	want := l.doc.Spec.Requires.Pipectl
	if want == "" {
		return
	}
	at := spec.Locate(l.root, "spec.requires.pipectl")
	rng, err := semver.NewConstraint(want)
	if err != nil {
		l.addAt(at, "spec.requires.pipectl", fmt.Sprintf("%q is not a version range", want), `write it as in ">=0.1"`)
		return
	}
	have, err := semver.NewVersion(l.o.Tool)
	if err != nil {
		return // a development build
	}
	if release, err := have.SetPrerelease(""); err == nil && !rng.Check(&release) {
		l.addAt(at, "spec.requires.pipectl", fmt.Sprintf("needs pipectl %s, this is %s", want, l.o.Tool), "install a pipectl that fits, or change the range")
	}
}

var envName = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,18}[a-z0-9])?$`)

func (l *loader) environment() {
	known := l.doc.Spec.Env
	for name, e := range known {
		for param := range e.Params {
			if _, ok := l.doc.Spec.Params[param]; !ok {
				path := "spec.env." + name + ".params." + param
				l.addAt(spec.Locate(l.root, path), path, "unknown param", spec.Nearest(param, sortedKeys(l.doc.Spec.Params)))
			}
		}
	}
	if l.o.Env == "" {
		return
	}
	if !envName.MatchString(l.o.Env) {
		l.addAt(l.root, "", fmt.Sprintf("--env %q: expected small letters, digits and dashes, at most 20", l.o.Env), "")
	}
	if _, ok := known[l.o.Env]; !ok && len(known) > 0 {
		l.addAt(spec.Locate(l.root, "spec.env"), "", fmt.Sprintf("--env %s: unknown environment", l.o.Env), spec.Nearest(l.o.Env, sortedKeys(known)))
	}
}

var goodName = regexp.MustCompile(`^[a-z][a-zA-Z0-9]*$`)

// name checks the name of a stage or param: expressions say it, so it must be one word of theirs.
func (l *loader) name(n *yaml.Node, what, name string) {
	switch {
	case slices.Contains([]string{"true", "false", "null", "in"}, name):
		l.addAt(n, "", fmt.Sprintf("%s name %q is a word of expressions", what, name), "choose another")
	case !goodName.MatchString(name):
		hint := fmt.Sprintf("call it %q", camel(name))
		if strings.Contains(name, "-") {
			hint += ": in an expression a dash would be a minus"
		}
		l.addAt(n, "", fmt.Sprintf("%s name %q: expected letters and digits, starting with a small letter", what, name), hint)
	}
}

// camel proposes a good name: my-stage is myStage.
func camel(name string) string {
	var b strings.Builder
	up := false
	for _, r := range name {
		switch {
		case r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r):
			up = b.Len() > 0
		case b.Len() == 0 && unicode.IsDigit(r):
		case b.Len() == 0:
			b.WriteRune(unicode.ToLower(r))
		case up:
			b.WriteRune(unicode.ToUpper(r))
			up = false
		default:
			b.WriteRune(r)
		}
	}
	if b.Len() == 0 {
		return "stage"
	}
	return b.String()
}
