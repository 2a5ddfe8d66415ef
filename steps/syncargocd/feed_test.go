package syncargocd

import (
	"testing"
	"testing/synctest"
	"time"
)

// gaps is a way of one scope, of which a feed is asked nothing but whether it has gaps.
type gaps struct {
	applications
	has bool
}

func (g gaps) scopes() []string { return []string{""} }
func (g gaps) gap() bool        { return g.has }

func TestAnApplicationThatAListLacksIsGoneOnlyWhenItStaysAway(t *testing.T) {
	there := func(f *feed) bool { got, _ := f.get(id{"argocd", "shop"}); return got != nil }
	shop := app()
	shop.Namespace = "argocd"
	for name, test := range map[string]struct {
		gaps  bool
		lists func(f *feed)
		want  bool
	}{
		"a list of the API server is whole":     {lists: func(f *feed) { f.replace("", nil, "9") }},
		"one of argocd-server may not be":       {gaps: true, want: true, lists: func(f *feed) { f.replace("", nil, "9") }},
		"but several are, in the end":           {gaps: true, lists: func(f *feed) { f.replace("", nil, "9"); time.Sleep(sure); f.replace("", nil, "9") }},
		"unless it comes back between":          {gaps: true, want: true, lists: func(f *feed) { f.replace("", nil, "9"); f.put(shop, false); time.Sleep(sure); f.replace("", nil, "9") }},
		"a watch that says so is believed":      {gaps: true, lists: func(f *feed) { f.put(shop, true) }},
		"a list from before it was made is not": {want: true, lists: func(f *feed) { f.replace("", nil, "3") }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFeed(gaps{has: test.gaps})
				f.put(shop, false)
				if test.lists(f); there(f) != test.want {
					t.Errorf("there: %v, want %v", there(f), test.want)
				}
			})
		})
	}
}
