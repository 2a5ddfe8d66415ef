package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"pipectl.dev/engine"
	"pipectl.dev/steps"
	"pipectl.dev/steps/jenkinshome"
	"pipectl.dev/steps/spec"
)

// moveVerb is one of the sub-verbs of `pipectl move`.
type moveVerb struct {
	name, usage, description string
	verb                     jenkinshome.Verb // "" only looks
	ask                      string           // what is asked first
}

var moveVerbs = []moveVerb{
	{name: "status", usage: "say how far a move is, and what each verb would do",
		description: "Reads the volume's tags, the record in the source cluster and both Jenkins. Writes nothing."},
	{name: "resume", usage: "carry on with what was begun: a copy, a cut-over, a rollback", verb: jenkinshome.Resume,
		description: "Begins nothing: a cut-over that nobody started is left to `pipectl run`, which asks first."},
	{name: "abort", usage: "turn a move back: the old Jenkins runs afterwards", verb: jenkinshome.Rollback, ask: "Turn the move back?",
		description: "During a cut-over its Job turns back. After it the new Jenkins is stopped, its claim removed and the old one started; builds that\n" +
			"the new one made are lost. A move that was found equal is not turned back."},
	{name: "finalize", usage: "give up the way back of a finished move", verb: jenkinshome.Finalize, ask: "Give up the way back?",
		description: "Removes the record and all else that pipectl made in the source cluster. The old workload and its home stay: pipectl made neither."},
}

func (a *app) moveCommand() *cli.Command {
	c := &cli.Command{Name: "move", Usage: "look at a Jenkins move, carry on with it, turn it back, make it final",
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return usage(c, "move: unknown verb %q", c.Args().First())
			}
			return cli.ShowSubcommandHelp(c)
		}}
	for _, v := range moveVerbs {
		own := []cli.Flag{&cli.StringFlag{Name: "volume", Usage: "`ID` of the volume, where the pipeline moves more than one home"}}
		if v.ask != "" {
			own = append(own, yesFlag("do not ask"))
		}
		if v.verb != "" {
			own = append(own, &cli.StringFlag{Name: "mover-image", Usage: "`IMAGE` of the mover pods (default: the own pod's image, else the release's)", EnvVars: []string{"PIPECTL_MOVER_IMAGE"}})
		}
		c.Subcommands = append(c.Subcommands, &cli.Command{Name: v.name, Usage: v.usage, ArgsUsage: "[FILE]", Description: v.description,
			Flags:  flags(fileFlags(), own, []cli.Flag{outputFlag()}, logFlags()),
			Action: func(c *cli.Context) error { return a.move(c, v) }})
	}
	return c
}

func (a *app) move(c *cli.Context, v moveVerb) error {
	if err := oneOf(c, "output", "json", "yaml", "text"); err != nil {
		return err
	}
	if v.ask != "" && !c.Bool("yes") && !a.someone() {
		return &steps.Error{Code: "NotConfirmed", Category: steps.BadInput, Message: "move " + v.name + ": nobody is there to be asked", Hints: []string{"--yes confirms it"}}
	}
	s, err := a.open(c, "move "+v.name)
	if err != nil {
		return err
	}
	s.show.discard()
	env, stages, err := s.stagesOfMove(c.Context, c.String("volume"))
	if err != nil {
		return err
	}
	m := jenkinshome.NewManager(s.clients.aws, s.clients.kube, jenkinshome.Options{Image: s.clients.mover})
	rep, err := m.Status(c.Context, env, stages)
	if err == nil && v.verb != "" {
		if rep, err = a.moveOn(c, v, rep, func(ctx context.Context) (jenkinshome.MoveReport, error) { return m.Do(ctx, env, stages, v.verb) }); err != nil && rep.Volume == "" {
			return err
		}
	}
	if rep.Volume != "" {
		if perr := a.printMove(c.String("output"), rep); perr != nil {
			return perr
		}
	}
	return err
}

// moveOn asks where it must, then acts.
func (a *app) moveOn(c *cli.Context, v moveVerb, now jenkinshome.MoveReport, do func(context.Context) (jenkinshome.MoveReport, error)) (jenkinshome.MoveReport, error) {
	i := slices.IndexFunc(now.Verbs, func(x jenkinshome.Can) bool { return x.Verb == v.name })
	if v.ask != "" && !c.Bool("yes") && i >= 0 && now.Verbs[i].Can {
		fmt.Fprintf(a.stderr, "%s\n %s It %s. [y/N] ", now.Text(), v.ask, now.Verbs[i].Does)
		yes, err := a.answer(c.Context)
		if err == nil && !yes {
			err = &steps.Error{Code: "Declined", Category: steps.Approval, Message: "declined; nothing was changed"}
		}
		if err != nil {
			return jenkinshome.MoveReport{}, err
		}
	}
	return do(c.Context)
}

func (a *app) printMove(format string, r jenkinshome.MoveReport) error {
	if format == "json" || format == "yaml" {
		return a.print(format, r)
	}
	_, err := fmt.Fprint(a.stdout, r.Text())
	return err
}

// stagesOfMove finds the stages of one move in the pipeline, told by its volume.
func (s *session) stagesOfMove(ctx context.Context, volume string) (steps.Env, jenkinshome.Stages, error) {
	moves := map[string]bool{"precopy-jenkins-home": true, "migrate-jenkins-home": true, "verify-jenkins-home": true}
	looks, problem, err := s.runner.Looks(ctx, s.pipeline, func(step string) bool { return moves[step] })
	if err != nil {
		return steps.Env{}, jenkinshome.Stages{}, err
	}
	if len(looks) == 0 {
		return steps.Env{}, jenkinshome.Stages{}, &steps.Error{Code: "NoMove", Category: steps.BadInput, Message: s.pipeline.Name + ": no stage moves a Jenkins home",
			Hints: []string{"name the file of the pipeline that does: pipectl move status FILE"}}
	}
	if problem != nil {
		fmt.Fprintln(s.app.stderr, "warning:", s.runner.Redact.String(strings.ReplaceAll(problem.Error(), "\n", "; ")))
	}
	var out jenkinshome.Stages
	found := map[string]bool{}
	for _, l := range looks {
		id, add := specOfMove(l, &out)
		if id != "" && (volume == "" || volume == id) {
			found[id] = true
		}
		if volume == "" || id == volume || id == "" {
			add()
		}
	}
	if len(found) > 1 {
		return steps.Env{}, out, &steps.Error{Code: "ManyMoves", Category: steps.BadInput, Message: fmt.Sprintf("%s: moves %d homes", s.pipeline.Name, len(found)),
			Hints: []string{"name the volume: --volume with " + strings.Join(slices.Sorted(maps.Keys(found)), ", or ")}}
	}
	return s.moveEnv(looks[0].Env), out, nil
}

// specOfMove reads what a stage says; add puts it among the others. A verify stage whose cluster is not known says nothing of a target.
func specOfMove(l engine.Look, into *jenkinshome.Stages) (volume string, add func()) {
	unknown := steps.Env{Partial: l.Input.Partial}.Unknown
	read := func(v any) bool {
		return len(spec.Decode(l.Input.File, l.Input.With, v, l.Input.Partial...)) == 0
	}
	switch l.Stage.Definition.Name {
	case "precopy-jenkins-home":
		var p jenkinshome.PrecopySpec
		if read(&p) && !unknown("from") {
			return p.Volume, func() { into.Precopy = &p }
		}
	case "migrate-jenkins-home":
		var m jenkinshome.MigrateSpec
		if read(&m) {
			return m.Move.VolumeID, func() { into.Migrate = &m }
		}
	case "verify-jenkins-home":
		var v jenkinshome.VerifySpec
		if read(&v) && !unknown("cluster") {
			return v.Move.VolumeID, func() { into.Verify = &v }
		}
	}
	return "", func() {}
}

// moveEnv tells what happens line by line: there is one thing going on, and no stage.
func (s *session) moveEnv(env steps.Env) steps.Env {
	last := ""
	env.Record = func(ev steps.Event) {
		text := ev.Message
		if ev.Type == steps.Diagnostic {
			text = "note: " + text
		}
		failed := ev.Type == steps.ChangeFailed // the error is told at the end
		if text == "" || text == last || failed || s.c.Bool("quiet") && ev.Type != steps.Diagnostic {
			return
		}
		last = text
		fmt.Fprintln(s.app.stderr, s.runner.Redact.String(text))
	}
	return env
}
