package argoserver_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipectl.dev/argoserver"
	"pipectl.dev/steps"
)

// silent is a way on which every answer is lost.
type silent struct{}

func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestAnAnswerThatIsLostIsNotWaitedForWithoutEnd(t *testing.T) {
	stopped := errors.New("stopped")
	for name, test := range map[string]struct {
		stop time.Duration // who asks gives up then
		want time.Duration
		says string
	}{
		"nobody gives up": {time.Hour, 90 * time.Second, "argocd-server https://argo.invalid: POST /api/v1/applications/shop/sync: no answer within 1m30s"},
		"the run ends":    {time.Second, time.Second, "stopped"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, err := argoserver.New(argoserver.Options{URL: "https://argo.invalid", Transport: silent{}})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeoutCause(t.Context(), test.stop, stopped)
				defer cancel()
				began := time.Now()
				_, err = client.Sync(ctx, argoserver.Name{Name: "shop"}, map[string]string{})
				if took := time.Since(began); took != test.want || err == nil || !strings.Contains(err.Error(), test.says) {
					t.Errorf("after %s: %v, want %q after %s", took, err, test.says, test.want)
				}
				if e := steps.Classify(err); errors.Is(err, stopped) == (e.Code == argoserver.CodeUnreachable && e.Retryable) {
					t.Errorf("%v is %s", err, e.Code)
				}
			})
		})
	}
}
