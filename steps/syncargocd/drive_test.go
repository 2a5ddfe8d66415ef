package syncargocd

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
)

// deaf is a way whose lists and watch tell nothing new, while the Application itself can be read.
type deaf struct {
	transport
	now func() *argo.Application
}

func (d deaf) scopes() []string { return []string{""} }
func (d deaf) gap() bool        { return true }

func (d deaf) read(context.Context, id) (*argo.Application, error) { return d.now(), nil }

func (d deaf) refresh(context.Context, *argo.Application, bool) (*argo.Application, error) {
	a := app(later)
	a.ResourceVersion = "9"
	return a, nil
}

func TestAnApplicationOfWhichNothingIsHeardIsReadItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over := app()
		over.ResourceVersion = "8"
		via := deaf{now: func() *argo.Application { return over }}
		d := &driver{via: via, feed: newFeed(via), app: idOf(over), want: want, write: true}
		d.feed.put(app(pending("other")), false)
		began := time.Now()
		if o, err := d.run(t.Context()); err != nil || o.app.ResourceVersion != "9" {
			t.Errorf("%+v, %v", o, err)
		}
		if took := time.Since(began); took != heartbeat {
			t.Errorf("took %s, want %s", took, heartbeat)
		}
	})
}
