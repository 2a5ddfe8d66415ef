package jenkins_test

import (
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"pipectl.dev/steps"
	"pipectl.dev/steps/jenkinshome/jenkins"
	"pipectl.dev/steps/jenkinshome/jenkins/jenkinstest"
)

func client(s *jenkinstest.Server) *jenkins.Client {
	return jenkins.New(s, "", "admin", steps.NewSecret("11aa"))
}

func code(err error) string {
	var e *steps.Error
	if errors.As(err, &e) {
		return e.Code
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func TestVersion(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*jenkinstest.Server)
		version string
		ready   bool
		code    string
	}{
		"a controller that is up":          {func(*jenkinstest.Server) {}, "2.528.1", true, ""},
		"one that loads":                   {func(s *jenkinstest.Server) { s.Loading = true }, "2.528.1", false, ""},
		"something else on the port":       {func(s *jenkinstest.Server) { s.Version = "" }, "", false, "NotJenkins"},
		"the login page asks for no token": {func(s *jenkinstest.Server) { s.Token = "other" }, "2.528.1", true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := jenkinstest.New()
			c.change(s)
			v, ready, err := client(s).Version(t.Context())
			if v != c.version || ready != c.ready || code(err) != c.code {
				t.Errorf("got %q, %v, %v", v, ready, err)
			}
		})
	}
}

func TestInventoryListsJobsOfAllDepths(t *testing.T) {
	s := jenkinstest.New()
	s.Jobs["1/2/3/4/5/6/7/8/deep"] = []int{2, 3}
	s.Broken = []string{"git"}
	got, err := client(s).Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := jenkins.Inventory{Version: "2.528.1", Jobs: map[string]jenkins.Job{"a": {Last: 7, Next: 8}, "f/b": {Last: 3, Next: 4}, "f/new": {Next: 1},
		"1/2/3/4/5/6/7/8/deep": {Last: 2, Next: 3}},
		Plugins: map[string]string{"git": "5.7.0", "workflow-job": "1520"}, Failed: []string{"git"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestDifference(t *testing.T) {
	base := func() jenkins.Inventory {
		return jenkins.Inventory{Version: "2.528.1", Jobs: map[string]jenkins.Job{"a": {Last: 7, Next: 8}, "b": {Next: 1}}, Plugins: map[string]string{"git": "5"}}
	}
	for name, c := range map[string]struct {
		change func(*jenkins.Inventory)
		want   string
	}{
		"the same":                         {func(*jenkins.Inventory) {}, ""},
		"builds made since":                {func(i *jenkins.Inventory) { i.Jobs["a"] = jenkins.Job{Last: 9, Next: 10} }, ""},
		"a job made since":                 {func(i *jenkins.Inventory) { i.Jobs["c"] = jenkins.Job{} }, ""},
		"a plugin more":                    {func(i *jenkins.Inventory) { i.Plugins["mailer"] = "1" }, ""},
		"an older Jenkins":                 {func(i *jenkins.Inventory) { i.Version = "2.516.3" }, "Jenkins is 2.516.3, older than 2.528.1 was: it may not read what that one wrote"},
		"a newer Jenkins":                  {func(i *jenkins.Inventory) { i.Version = "2.568.2" }, ""},
		"a job lost":                       {func(i *jenkins.Inventory) { delete(i.Jobs, "b") }, "job b is missing"},
		"builds lost":                      {func(i *jenkins.Inventory) { i.Jobs["a"] = jenkins.Job{Last: 6, Next: 8} }, "job a: last build is 6, was 7"},
		"a next build number that went to": {func(i *jenkins.Inventory) { i.Jobs["a"] = jenkins.Job{Last: 7, Next: 1} }, "job a: next build number is 1, was 8"},
		"a plugin lost":                    {func(i *jenkins.Inventory) { delete(i.Plugins, "git") }, "plugin git is missing"},
		"another version of a plugin":      {func(i *jenkins.Inventory) { i.Plugins["git"] = "6" }, "plugin git is 6, was 5"},
		"a plugin that does not load":      {func(i *jenkins.Inventory) { i.Failed = []string{"git"} }, "plugin git failed to load"},
	} {
		t.Run(name, func(t *testing.T) {
			after := base()
			c.change(&after)
			first, all := jenkins.Difference(base(), after)
			if got := strings.Join(first, "; "); got != c.want || all != len(first) {
				t.Errorf("got %q (%d), want %q", got, all, c.want)
			}
		})
	}
}

func TestPostNeedsACrumbOnlyWithAPassword(t *testing.T) {
	for name, password := range map[string]bool{"an API token": false, "a password": true} {
		t.Run(name, func(t *testing.T) {
			s := jenkinstest.New()
			s.Password = password
			c := client(s)
			if err := errors.Join(c.QuietDown(t.Context(), "moving"), c.CancelQuietDown(t.Context()), c.QuietDown(t.Context(), "moving")); err != nil {
				t.Fatal(err)
			}
			if q, err := c.Quieting(t.Context()); !q || err != nil {
				t.Errorf("quieting: %v, %v", q, err)
			}
			if asked := slices.Contains(s.Calls, "GET /crumbIssuer/api/json"); asked != password {
				t.Errorf("crumb asked for: %v", asked)
			}
		})
	}
}

func TestARedirectProvesNothing(t *testing.T) {
	s := jenkinstest.New()
	s.IgnoreQuiet = true
	c := client(s)
	if err := c.QuietDown(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if q, err := c.Quieting(t.Context()); q || err != nil {
		t.Errorf("believes the redirect: %v, %v", q, err)
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*jenkinstest.Server)
		code   string
	}{
		"a wrong token":                        {func(s *jenkinstest.Server) { s.Token = "other" }, "JenkinsUnauthorized"},
		"a user without rights":                {func(s *jenkinstest.Server) { s.ReadOnly = true }, "JenkinsForbidden"},
		"a password and a user without rights": {func(s *jenkinstest.Server) { s.ReadOnly, s.Password = true, true }, "JenkinsForbidden"},
		"a controller that loads":              {func(s *jenkinstest.Server) { s.Loading = true }, "JenkinsLoading"},
	} {
		t.Run(name, func(t *testing.T) {
			s := jenkinstest.New()
			c.change(s)
			if err := client(s).QuietDown(t.Context(), ""); code(err) != c.code || strings.Contains(err.Error(), "11aa") {
				t.Errorf("got %v, want %s", err, c.code)
			}
		})
	}
}

func TestRunningBuilds(t *testing.T) {
	s := jenkinstest.New()
	s.Heavy = []string{"https://ci.example.com/jenkins/job/a/8/", "http://x/job/f/job/b/4/"}
	s.Light = []string{"http://x/job/f/job/b/4/", "http://x/job/p/1/"}
	got, err := client(s).Running(t.Context(), "https://elsewhere/job/a/8/")
	if err != nil {
		t.Fatal(err)
	}
	want := []jenkins.Build{{URL: "job/f/job/b/4/"}, {URL: "job/p/1/", Light: true}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if err := client(s).Stop(t.Context(), got[0]); err != nil {
		t.Fatal(err)
	}
	if got, _ := client(s).Running(t.Context(), ""); len(got) != 2 {
		t.Errorf("after stopping one: %v", got)
	}
}

func TestSuspendedBelievesTimeNotTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := jenkinstest.New()
		if ok, err := client(s).Suspended(t.Context()); !ok || err != nil {
			t.Errorf("ready at once: %v, %v", ok, err)
		}
		s.NotReady = true
		if ok, err := client(s).Suspended(t.Context()); ok || err != nil {
			t.Errorf("ran into its timeout: %v, %v", ok, err)
		}
	})
}

func TestContextPathOverARealConnection(t *testing.T) {
	s := jenkinstest.New()
	srv := httptest.NewServer(s)
	defer srv.Close()
	c := jenkins.New(via{strings.TrimPrefix(srv.URL, "http://")}, "/", "admin", steps.NewSecret("11aa"))
	if _, ready, err := c.Version(t.Context()); !ready || err != nil {
		t.Fatal(ready, err)
	}
	srv.Close()
	if _, _, err := c.Version(t.Context()); code(err) != "JenkinsUnreachable" || strings.Contains(err.Error(), "jenkins.invalid") {
		t.Error(err)
	}
}
