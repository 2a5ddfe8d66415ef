package cluster

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestRelayKeepsTheTargetsQuery(t *testing.T) {
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, r.Method+" "+r.URL.String()+" "+string(body))
	}))
	defer target.Close()
	relay, err := startRelay(target.URL + "/_pipectl/tokenreview?cluster=blog")
	if err != nil {
		t.Fatal(err)
	}
	defer relay.close()
	resp, err := http.Post(relay.url+"?timeout=30s", "application/json", strings.NewReader("review"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || string(got) != "POST /_pipectl/tokenreview?cluster=blog review" {
		t.Errorf("the target saw %q, %v", got, err)
	}
}
