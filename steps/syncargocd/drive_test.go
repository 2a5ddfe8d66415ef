package syncargocd

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"

	"pipectl.dev/argoserver"
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

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestARefreshThatTheServerHearsNothingOfIsLookedForPastIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, err := argoserver.New(argoserver.Options{URL: "https://argocd.example.com", Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.URL.Query().Has("refresh") { // the server waits for what it never hears
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(`{"metadata":{"name":"shop","resourceVersion":"8"}}`))}, nil
		})})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		got, err := (&byServer{client: client, slots: make(chan struct{}, 1)}).refresh(t.Context(), app(), false)
		if err != nil || got == nil || got.ResourceVersion != "8" {
			t.Errorf("%+v, %v", got, err)
		}
		if took := time.Since(began); took != heartbeat {
			t.Errorf("took %s, want %s", took, heartbeat)
		}
	})
}
