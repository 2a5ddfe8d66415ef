package jenkinshome

import (
	"fmt"
	"testing"
)

// worlds calls f with every combination of what decide can be asked.
func worlds(f func(State, World, Verb)) {
	bools := []bool{false, true}
	for _, s := range states {
		for _, v := range verbs {
			for _, place := range []Place{Free, OnSource, Elsewhere, Missing} {
				for _, ph := range phases {
					for _, j := range []Job{NoJob, Running, Ended} {
						for _, old := range []Life{Unknown, Up, Stops} {
							for _, fresh := range []Life{Unknown, Up, Stops} {
								for _, c := range []Verdict{Unasked, Equal, Different} {
									for _, src := range bools {
										for _, self := range bools {
											for _, back := range bools {
												for _, abort := range bools {
													f(s, World{src, place, ph, abort, j, old, fresh, false, self, c, back}, v)
													f(s, World{src, place, ph, abort, j, old, fresh, true, self, c, back}, v)
												}
											}
										}
									}
								}
							}
						}
					}
				}
			}
		}
	}
}

func TestDecideIsTotalAndEveryRuleIsReached(t *testing.T) {
	reached := make([]bool, len(table))
	worlds(func(s State, w World, v Verb) {
		if d := decide(s, w, v); d.Do == undecided || (d.Do == Refuse) != (d.Why != nil) {
			t.Fatalf("%q %+v %s: %+v", s, w, v, d)
		}
		for i, r := range table {
			if r.fits(s, w, v) {
				reached[i] = true
				break
			}
		}
	})
	for i, ok := range reached {
		if !ok {
			t.Errorf("rule %d (%s) is never reached", i, table[i].do)
		}
	}
}

func TestDecideNeverDoesWhatIsUnsafe(t *testing.T) {
	starts := map[Action]bool{BackOut: true, Restart: true}
	detaches := map[Action]bool{Commit: true, Seal: true, LetGo: true}
	worlds(func(s State, w World, v Verb) {
		d := decide(s, w, v)
		at := func() string { return fmt.Sprintf("%q %+v %s: %s", s, w, v, d.Do) }
		acts := d.Do != Keep && d.Do != Refuse
		if starts[d.Do] && (w.New == Up && s != Cutting || w.Volume == Elsewhere) {
			t.Fatalf("starts the old Jenkins while the new one may run: %s", at())
		}
		if d.Do == Restart && (w.New == Unknown && v != Down || w.Claim) {
			t.Fatalf("starts the old Jenkins while the new one may yet start: %s", at())
		}
		if starts[d.Do] && (s == Moved || s == Verified || s == None) {
			t.Fatalf("starts the old Jenkins of a move that says it is down, or never touched it: %s", at())
		}
		if acts && !w.Source && d.Do != Accept && d.Do != Compare && d.Do != Report && d.Do != Finish {
			t.Fatalf("needs a source that does not answer: %s", at())
		}
		if detaches[d.Do] && w.Volume == Elsewhere {
			t.Fatalf("takes the volume from somebody else: %s", at())
		}
		if d.Do == Commit && (w.Phase != Copied || w.Old == Up || w.Abort) {
			t.Fatalf("commits what is not whole: %s", at())
		}
		if d.Do == Open && (s != Precopied || v != RunMigrate || w.Self) {
			t.Fatalf("begins a cut-over nobody asked for: %s", at())
		}
		if d.Do == TurnBack && (s != Moved || v != RunVerify && v != Rollback) {
			t.Fatalf("turns back unasked: %s", at())
		}
		if d.Do == Finish && (s != Verified || v != Finalize) {
			t.Fatalf("gives up the way back unasked: %s", at())
		}
		if v == Resume && (s == None || s == Precopied || s == Moved) && d.Do != Keep {
			t.Fatalf("begins what nobody had begun: %s", at())
		}
		if (s == Verified || s == Finalized) && acts && d.Do != Finish {
			t.Fatalf("a finished move is touched: %s", at())
		}
	})
}

// TestDecideTable is the part of the table that a reader wants to look up.
func TestDecideTable(t *testing.T) {
	cut := func(p Phase, j Job) World { return World{Source: true, Volume: OnSource, Phase: p, Job: j, Old: Stops} }
	for name, c := range map[string]struct {
		s    State
		w    World
		v    Verb
		do   Action
		code string
	}{
		"a fresh volume is copied to":                            {None, World{Source: true, Volume: Free, Old: Up}, RunPrecopy, Copy, ""},
		"migrate copies where no precopy ran":                    {None, World{Source: true, Volume: Free, Old: Up}, RunMigrate, Copy, ""},
		"a broken-off copy goes on":                              {Precopying, World{Source: true, Volume: OnSource, Old: Up}, RunPrecopy, Copy, ""},
		"precopied is enough for precopy":                        {Precopied, World{Source: true, Volume: OnSource, Old: Up}, RunPrecopy, Keep, ""},
		"the cut-over begins":                                    {Precopied, World{Source: true, Volume: OnSource, Old: Up}, RunMigrate, Open, ""},
		"the cut-over begins after down let the volume go":       {Precopied, World{Source: true, Volume: Free, Old: Up}, RunMigrate, Open, ""},
		"not by the Jenkins that is moved":                       {Precopied, World{Source: true, Volume: Free, Old: Up, Self: true}, RunMigrate, Refuse, "SelfMove"},
		"not with a stopped source":                              {Precopied, World{Source: true, Volume: Free, Old: Stops}, RunMigrate, Refuse, "SourceNotRunning"},
		"not onto a volume in use":                               {Precopied, World{Source: true, Volume: Elsewhere, Old: Up}, RunMigrate, Refuse, "VolumeInUse"},
		"not without a volume":                                   {None, World{Source: true, Volume: Missing, Old: Up}, RunPrecopy, Refuse, "VolumeMissing"},
		"not without the source":                                 {Precopied, World{Volume: Free}, RunMigrate, Refuse, "SourceUnreachable"},
		"a crash before the Job exists":                          {Cutting, World{Source: true, Volume: OnSource, Phase: Ready, Old: Up}, RunMigrate, Launch, ""},
		"a running Job is rejoined":                              {Cutting, cut(Stopped, Running), RunMigrate, Follow, ""},
		"a Job that died with Jenkins down":                      {Cutting, cut(Stopped, Ended), RunMigrate, BackOut, ""},
		"a complete copy is committed":                           {Cutting, cut(Copied, Running), RunMigrate, Commit, ""},
		"a complete copy is committed though its Job died":       {Cutting, cut(Copied, Ended), RunMigrate, Commit, ""},
		"a copy gone stale is not":                               {Cutting, World{Source: true, Volume: OnSource, Phase: Copied, Job: Running, Old: Up}, RunMigrate, BackOut, ""},
		"committed, but the tag was not written":                 {Cutting, World{Source: true, Volume: Free, Phase: Committed, Job: Ended, Old: Stops}, RunMigrate, Seal, ""},
		"backed out by the Job":                                  {Cutting, cut(BackedOut, Ended), RunMigrate, Settle, ""},
		"down stops a running cut-over":                          {Cutting, cut(Quiet, Running), Down, Abort, ""},
		"down never leaves Jenkins down":                         {Cutting, cut(Committed, Ended), Down, BackOut, ""},
		"the state ConfigMap was lost":                           {Cutting, cut(NoPhase, NoJob), RunMigrate, BackOut, ""},
		"the source is gone in the middle":                       {Cutting, World{Volume: Free, Phase: NoPhase}, RunMigrate, Refuse, "SourceUnreachable"},
		"precopy leaves a cut-over alone":                        {Cutting, World{Volume: OnSource}, RunPrecopy, Keep, ""},
		"a finished move needs no source":                        {Moved, World{Volume: Elsewhere}, RunMigrate, Keep, ""},
		"nor to go down":                                         {Moved, World{Volume: Free}, Down, Keep, ""},
		"the new Jenkins is compared":                            {Moved, World{Source: true, Volume: Elsewhere, New: Up}, RunVerify, Compare, ""},
		"equal is accepted":                                      {Moved, World{Source: true, Volume: Elsewhere, New: Up, Check: Equal}, RunVerify, Accept, ""},
		"different turns back":                                   {Moved, World{Source: true, Volume: Elsewhere, New: Up, Check: Different, OnDiff: true}, RunVerify, TurnBack, ""},
		"different is only reported":                             {Moved, World{Source: true, Volume: Elsewhere, New: Up, Check: Different}, RunVerify, Report, ""},
		"no turning back without the old cluster":                {Moved, World{Volume: Elsewhere, New: Up, Check: Different, OnDiff: true}, RunVerify, Refuse, "SourceUnreachable"},
		"the new one is stopped first":                           {RollingBack, World{Source: true, Volume: Elsewhere, New: Up, Old: Stops}, RunVerify, StopNew, ""},
		"its volume is taken":                                    {RollingBack, World{Source: true, Volume: Elsewhere, New: Stops, Old: Stops}, RunVerify, StopNew, ""},
		"then the old one starts":                                {RollingBack, World{Source: true, Volume: Free, New: Stops, Old: Stops}, RunVerify, Restart, ""},
		"its claim is removed":                                   {RollingBack, World{Source: true, Volume: Free, New: Stops, Old: Stops, Claim: true}, RunVerify, StopNew, ""},
		"a run does not know whether the new one is stopped":     {RollingBack, World{Source: true, Volume: Free, New: Unknown, Old: Stops}, RunMigrate, Refuse, "RollbackUnfinished"},
		"resuming finishes a rollback":                           {RollingBack, World{Source: true, Volume: Free, New: Stops, Old: Stops}, Resume, Restart, ""},
		"not while the target is silent: it might start Jenkins": {RollingBack, World{Source: true, Volume: Free, New: Unknown, Old: Stops}, Resume, Refuse, "TargetUnreachable"},
		"down comes after the stages that stopped the new one":   {RollingBack, World{Source: true, Volume: Free, New: Unknown, Old: Stops}, Down, Restart, ""},
		"resuming goes on with a cut-over":                       {Cutting, cut(Stopped, Running), Resume, Follow, ""},
		"resuming goes on with a copy":                           {Precopying, World{Source: true, Volume: OnSource, Old: Up}, Resume, Copy, ""},
		"resuming begins no cut-over":                            {Precopied, World{Source: true, Volume: OnSource, Old: Up}, Resume, Keep, ""},
		"aborting a cut-over":                                    {Cutting, cut(Stopped, Running), Rollback, Abort, ""},
		"aborting after the move":                                {Moved, World{Source: true, Volume: Elsewhere, New: Up}, Rollback, TurnBack, ""},
		"aborting before it lets the old node go":                {Precopied, World{Source: true, Volume: OnSource, Old: Up}, Rollback, LetGo, ""},
		"a verified move is made final":                          {Verified, World{Volume: Elsewhere}, Finalize, Finish, ""},
		"one that was not compared is not":                       {Moved, World{Source: true, Volume: Elsewhere}, Finalize, Refuse, "NotVerified"},
		"once is enough":                                         {Finalized, World{}, Finalize, Keep, ""},
		"a final move runs on":                                   {Finalized, World{Volume: Elsewhere}, RunMigrate, Keep, ""},
		"and is never turned back":                               {Finalized, World{Source: true, Volume: Elsewhere}, Rollback, Refuse, "MoveFinished"},
		"a verified move is not turned back":                     {Verified, World{Source: true, Volume: Elsewhere, New: Up}, Rollback, Refuse, "MoveFinished"},
		"a state from the future":                                {State("teleported"), World{}, RunPrecopy, Refuse, "UnknownState"},
	} {
		t.Run(name, func(t *testing.T) {
			d := decide(c.s, c.w, c.v)
			code := ""
			if d.Why != nil {
				code = d.Why.Code
			}
			if d.Do != c.do || code != c.code {
				t.Errorf("got %s %s, want %s %s", d.Do, code, c.do, c.code)
			}
		})
	}
}

func TestEveryActionHasAScript(t *testing.T) {
	for _, r := range table {
		switch r.do {
		case Keep, Refuse, Report:
			continue
		}
		if len(script[r.do]) == 0 {
			t.Errorf("%s has no script", r.do)
		}
	}
}

func TestWhereNobodyAsksTheSourceTheTableDoesNotNeedIt(t *testing.T) {
	worlds(func(s State, w World, v Verb) {
		if !needsNoSource(s, w.Volume, v) {
			return
		}
		blind := World{Volume: w.Volume, Old: Unknown, New: Unknown, Check: w.Check, OnDiff: w.OnDiff}
		if a, b := decide(s, w, v), decide(s, blind, v); a.Do != b.Do {
			t.Fatalf("%q %+v %s: %s with the source, %s without", s, w, v, a.Do, b.Do)
		}
	})
}
