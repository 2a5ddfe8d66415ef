package syncargocd

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	"github.com/google/go-cmp/cmp"

	"pipectl.dev/argoserver"
)

func window(kind, schedule, duration string, edits ...func(*argo.SyncWindow)) *argo.SyncWindow {
	w := &argo.SyncWindow{Kind: kind, Schedule: schedule, Duration: duration, Applications: []string{"*"}}
	for _, e := range edits {
		e(w)
	}
	return w
}

func byHand(w *argo.SyncWindow) { w.ManualSync = true }
func seoul(w *argo.SyncWindow)  { w.TimeZone = "Asia/Seoul" }

func TestWhenSyncWindowsOpen(t *testing.T) {
	now := time.Date(2026, 3, 4, 12, 30, 0, 0, time.UTC) // a Wednesday
	for name, test := range map[string]struct {
		windows argo.SyncWindows
		want    string // "open", "never", or when it opens
	}{
		"no window":                               {nil, "open"},
		"an allow window that is open":            {argo.SyncWindows{window("allow", "0 12 * * *", "1h")}, "open"},
		"an allow window of the evening":          {argo.SyncWindows{window("allow", "0 22 * * *", "1h")}, "2026-03-04T22:00:00Z"},
		"an allow window of next Monday":          {argo.SyncWindows{window("allow", "30 2 * * 1", "1h")}, "2026-03-09T02:30:00Z"},
		"in another time zone":                    {argo.SyncWindows{window("allow", "0 22 * * *", "1h", seoul)}, "2026-03-04T13:00:00Z"},
		"a deny window that ends":                 {argo.SyncWindows{window("deny", "0 12 * * *", "2h")}, "2026-03-04T14:00:00Z"},
		"a deny window that begins later":         {argo.SyncWindows{window("deny", "0 13 * * *", "2h")}, "open"},
		"a deny window that lets people through":  {argo.SyncWindows{window("deny", "0 12 * * *", "2h", byHand)}, "open"},
		"an allow window that does":               {argo.SyncWindows{window("allow", "0 22 * * *", "1h", byHand)}, "open"},
		"two deny windows that overlap":           {argo.SyncWindows{window("deny", "0 12 * * *", "2h"), window("deny", "30 13 * * *", "2h")}, "2026-03-04T15:30:00Z"},
		"an allow window inside of a deny window": {argo.SyncWindows{window("allow", "0 13 * * *", "1h"), window("deny", "0 12 * * *", "90m")}, "2026-03-04T13:30:00Z"},
		"a deny window that follows upon itself":  {argo.SyncWindows{window("deny", "* * * * *", "24h")}, "never"},
	} {
		t.Run(name, func(t *testing.T) {
			got := "open"
			if open, err := allowed(test.windows, now); err != nil {
				t.Fatal(err)
			} else if !open {
				got = "never"
				if at, found := opens(test.windows, now); found {
					got = at.UTC().Format(time.RFC3339)
				}
			}
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// TestSyncWindowsAreReadAsArgoCDReadsThem compares with Argo CD's own judgement of now.
func TestSyncWindowsAreReadAsArgoCDReadsThem(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test's own choice
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	for range 2000 {
		var ws argo.SyncWindows
		for range 1 + r.IntN(4) {
			hour, _, _ := time.Now().UTC().Add(time.Duration(r.IntN(8)-4) * time.Hour).Clock()
			ws = append(ws, window(pick("allow", "deny"), fmt.Sprintf("%d %d * * %s", r.IntN(60), hour, pick("*", "1", "3,5")), pick("10m", "1h", "5h", "30h"),
				func(w *argo.SyncWindow) {
					w.ManualSync, w.TimeZone = r.IntN(3) == 0, pick("", "Asia/Seoul", "America/New_York", "no zone")
				}))
		}
		want, err := ws.CanSync(true)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := allowed(ws, time.Now()); err != nil || got != want {
			t.Fatalf("seed %d: got %v, %v, Argo CD says %v of %+v", seed, got, err, want, ws)
		}
	}
}

func TestPodsOfAnOldReplicaSetDoNotCount(t *testing.T) {
	node := func(kind, uid, parent, rev string) argoserver.Node {
		n := argoserver.Node{Ref: argoserver.Ref{Kind: kind, Name: uid, UID: uid}, Parents: []argoserver.Ref{{UID: parent}}}
		if rev != "" {
			n.Info = append(n.Info, struct {
				Name  string `json:"name"`
				Value string `json:"value"`
			}{"Revision", rev})
		}
		return n
	}
	var got []string
	for _, r := range currentPods([]argoserver.Node{
		node("Deployment", "d", "", ""), node("ReplicaSet", "old", "d", "Rev:9"), node("ReplicaSet", "new", "d", "Rev:10"),
		node("Pod", "old-1", "old", ""), node("Pod", "new-1", "new", ""), node("StatefulSet", "s", "", ""), node("Pod", "s-0", "s", ""),
	}) {
		got = append(got, r.Name)
	}
	if diff := cmp.Diff([]string{"new-1", "s-0"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestResourcesAreSelected(t *testing.T) {
	a := app(func(a *argo.Application) {
		for _, r := range []string{"apps/Deployment/shop/web", "apps/Deployment/shop/db", "/ConfigMap/shop/web", "/ConfigMap/other/web"} {
			p := strings.Split(r, "/")
			a.Status.Resources = append(a.Status.Resources, argo.ResourceStatus{Group: p[0], Kind: p[1], Namespace: p[2], Name: p[3]})
		}
	})
	for name, test := range map[string]struct {
		patterns []string
		want     []string
	}{
		"one":                {[]string{"apps:Deployment:web"}, []string{"Deployment shop/web"}},
		"in one namespace":   {[]string{":ConfigMap:other/web"}, []string{"ConfigMap other/web"}},
		"all but one kind":   {[]string{"!:ConfigMap:*"}, []string{"Deployment shop/web", "Deployment shop/db"}},
		"a kind but for one": {[]string{"apps:Deployment:*", "!*:*:db"}, []string{"Deployment shop/web"}},
		"none":               {[]string{"batch:Job:*"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, r := range (App{Resources: test.patterns}).filter().of(a) {
				got = append(got, r.Kind+" "+r.Namespace+"/"+r.Name)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestHeadsAreReadFromTheAnswerOfGit(t *testing.T) {
	for name, test := range map[string]struct{ answer, ref, want string }{
		"the head":                 {shaA + "\tHEAD\n", "HEAD", shaA},
		"a branch":                 {shaB + "\trefs/heads/feature/main\n" + shaA + "\trefs/heads/main\n", "main", shaA},
		"a tag with a message":     {shaB + "\trefs/tags/v1\n" + shaA + "\trefs/tags/v1^{}\n", "v1", shaA},
		"a plain tag":              {shaA + "\trefs/tags/v1\n", "v1", shaA},
		"a branch as its own name": {shaB + "\trefs/tags/x\n" + shaA + "\trefs/heads/x\n", "x", shaA},
	} {
		t.Run(name, func(t *testing.T) {
			if got := headIn(test.answer, test.ref); got != test.want {
				t.Errorf("got %s", got)
			}
		})
	}
	if got := withoutUser("https://me:secret@git.test/a/b"); got != "https://git.test/a/b" {
		t.Errorf("a password is shown: %s", got)
	}
}
