package engine

import "slices"

// cycle finds stages that need each other, as a > b > a; nil when there are none.
func (p *Pipeline) cycle() []string {
	const open, done = 1, 2
	state := map[string]int{}
	var path []string
	var visit func(name string) []string
	visit = func(name string) []string {
		switch state[name] {
		case open:
			return append(slices.Clone(path[slices.Index(path, name):]), name)
		case done:
			return nil
		}
		state[name] = open
		path = append(path, name)
		for _, n := range p.byName[name].Needs {
			if c := visit(n); c != nil {
				return c
			}
		}
		path = path[:len(path)-1]
		state[name] = done
		return nil
	}
	for _, s := range p.Stages {
		if s.Name == "" || p.byName[s.Name] != s {
			continue
		}
		if c := visit(s.Name); c != nil {
			return c
		}
	}
	return nil
}

// before gives what a stage waits for when the graph runs forwards: its needs, and for `finally` all the others too.
func (p *Pipeline) before(s *Stage) []string {
	if !s.Finally {
		return s.Needs
	}
	var out []string
	for _, x := range p.Stages {
		if !x.Finally || slices.Contains(s.Needs, x.Name) {
			out = append(out, x.Name)
		}
	}
	return out
}

// behind gives the stages that need a stage directly: what must have let go before it does, on the way down.
func (p *Pipeline) behind(s *Stage) []string {
	var out []string
	for _, x := range p.Stages {
		if slices.Contains(x.Needs, s.Name) {
			out = append(out, x.Name)
		}
	}
	return out
}

// order lists all stages so that each comes after what it waits for, otherwise as in the file.
func (p *Pipeline) order() []*Stage {
	var out []*Stage
	seen := map[string]bool{}
	var visit func(s *Stage)
	visit = func(s *Stage) {
		if seen[s.Name] {
			return
		}
		seen[s.Name] = true
		for _, n := range p.before(s) {
			visit(p.byName[n])
		}
		out = append(out, s)
	}
	for _, s := range p.Stages {
		visit(s)
	}
	return out
}

// closure is names with all that next leads to from them.
func (p *Pipeline) closure(names []string, next func(*Stage) []string) map[string]bool {
	out := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		if out[name] {
			return
		}
		out[name] = true
		for _, n := range next(p.byName[name]) {
			visit(n)
		}
	}
	for _, n := range names {
		visit(n)
	}
	return out
}

// walk calls work once per stage, each after those that before names (of the given ones), at most limit at a time.
func (p *Pipeline) walk(stages []*Stage, before func(*Stage) []string, limit int, work func(*Stage)) {
	done := make(map[string]chan struct{}, len(stages))
	for _, s := range stages {
		done[s.Name] = make(chan struct{})
	}
	slots := make(chan struct{}, max(limit, 1))
	for _, s := range stages {
		go func() {
			defer close(done[s.Name])
			for _, n := range before(s) {
				if c, ok := done[n]; ok {
					<-c
				}
			}
			slots <- struct{}{}
			defer func() { <-slots }()
			work(s)
		}()
	}
	for _, c := range done {
		<-c
	}
}

// longest is the time of the longest path through the graph, where each stage takes seconds[name].
func (p *Pipeline) longest(seconds map[string]float64) float64 {
	end, all := map[string]float64{}, 0.0
	for _, s := range p.order() {
		start := 0.0
		for _, n := range p.before(s) {
			start = max(start, end[n])
		}
		end[s.Name] = start + seconds[s.Name]
		all = max(all, end[s.Name])
	}
	return all
}

// after gives what a stage waits for on the way down: those that need it, and for all others those of `finally`.
func (p *Pipeline) after(s *Stage) []string {
	out := p.behind(s)
	for _, x := range p.Stages {
		if x.Finally && !s.Finally && !slices.Contains(out, x.Name) {
			out = append(out, x.Name)
		}
	}
	return out
}
