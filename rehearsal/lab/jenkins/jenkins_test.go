package jenkins

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const token = "11aabbccddeeff"

// newHome makes a home with a folder, two jobs, builds, plugins and the token of admin.
func newHome(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	sum := sha256.Sum256([]byte(token))
	for path, content := range map[string]string{
		"config.xml":                            "<?xml version='1.1' encoding='UTF-8'?>\n<hudson><version>2.479.1</version></hudson>",
		"users/tokens.sha256":                   hex.EncodeToString(sum[:]) + "\n",
		"jobs/blog/config.xml":                  "<project/>",
		"jobs/blog/nextBuildNumber":             "3\n",
		"jobs/blog/builds/1/build.xml":          "<build><startTime>1700000000000</startTime><result>SUCCESS</result></build>",
		"jobs/blog/builds/2/build.xml":          "<?xml version='1.1' encoding='UTF-8'?>\n<build><result>FAILURE</result></build>",
		"jobs/team/config.xml":                  "<folder/>",
		"jobs/team/jobs/api/config.xml":         "<project/>",
		"jobs/no-job/readme":                    "",
		"plugins/git.jpi":                       "no archive",
		"plugins/git/META-INF/MANIFEST.MF":      "Manifest-Version: 1.0\r\nPlugin-Version: 5.7.0\r\n",
		"plugins/old.hpi":                       "no archive",
		"plugins/old.hpi.disabled":              "",
		"plugins/ssh-slaves/META-INF/nothing":   "",
		"jobs/team/jobs/api/builds/permalinks":  "",
		"jobs/team/jobs/api/builds/5/build.xml": "<build><result>SUCCESS</result></build>",
	} {
		full := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	archive(t, filepath.Join(dir, "plugins/mailer.jpi"), "Plugin-Version: 489.vd4b_25144138f\n")
	return dir
}

func archive(t *testing.T, path, manifest string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w := zip.NewWriter(file)
	entry, err := w.Create("META-INF/MANIFEST.MF")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := entry.Write([]byte(manifest)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// begun starts a Jenkins and waits until it is loaded.
func begun(ctx context.Context, t *testing.T, o Options) *Jenkins {
	t.Helper()
	j, err := Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(loadTime)
	return j
}

// ask sends one request and decodes a JSON answer.
func ask(t *testing.T, j http.Handler, method, path string, change func(*http.Request)) (int, map[string]any, http.Header) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "http://jenkins:8080"+path, nil)
	r.SetBasicAuth("admin", token)
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	j.ServeHTTP(w, r)
	var body map[string]any
	if strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatalf("%s %s: %v: %s", method, path, err, w.Body)
		}
	}
	return w.Code, body, w.Header()
}

func TestLoading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, err := Start(t.Context(), Options{Home: newHome(t), Busy: "never"})
		if err != nil {
			t.Fatal(err)
		}
		code, _, header := ask(t, j, "GET", "/login", nil)
		if code != http.StatusServiceUnavailable || header.Get("X-Jenkins") != "2.479.1" {
			t.Errorf("while loading: %d, X-Jenkins %q", code, header.Get("X-Jenkins"))
		}
		time.Sleep(loadTime)
		if code, _, _ := ask(t, j, "GET", "/login", nil); code != http.StatusOK {
			t.Errorf("loaded: %d", code)
		}
	})
}

func TestAccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := begun(t.Context(), t, Options{Home: newHome(t), Password: "pw", Busy: "never"})
		_, issued, header := ask(t, j, "GET", "/crumbIssuer/api/json", func(r *http.Request) { r.SetBasicAuth("admin", "pw") })
		cookie := header.Get("Set-Cookie")
		for name, c := range map[string]struct {
			method, path string
			change       func(*http.Request)
			want         int
		}{
			"nobody is refused":                   {"GET", "/api/json", func(r *http.Request) { r.Header.Del("Authorization") }, 403},
			"anybody sees the login page":         {"GET", "/login", func(r *http.Request) { r.Header.Del("Authorization") }, 200},
			"a wrong password is refused":         {"GET", "/api/json", func(r *http.Request) { r.SetBasicAuth("admin", "no") }, 401},
			"an empty password is refused":        {"GET", "/api/json", func(r *http.Request) { r.SetBasicAuth("admin", "") }, 401},
			"another user is refused":             {"GET", "/api/json", func(r *http.Request) { r.SetBasicAuth("eve", token) }, 401},
			"the token reads":                     {"GET", "/api/json", nil, 200},
			"the password reads":                  {"GET", "/api/json", func(r *http.Request) { r.SetBasicAuth("admin", "pw") }, 200},
			"the token writes without a crumb":    {"POST", "/cancelQuietDown", nil, 302},
			"the password needs a crumb to write": {"POST", "/cancelQuietDown", func(r *http.Request) { r.SetBasicAuth("admin", "pw") }, 403},
			"the crumb needs its session": {"POST", "/cancelQuietDown", func(r *http.Request) {
				r.SetBasicAuth("admin", "pw")
				r.Header.Set("Jenkins-Crumb", issued["crumb"].(string))
			}, 403},
			"the password writes with crumb and session": {"POST", "/cancelQuietDown", func(r *http.Request) {
				r.SetBasicAuth("admin", "pw")
				r.Header.Set("Jenkins-Crumb", issued["crumb"].(string))
				r.Header.Set("Cookie", strings.Split(cookie, ";")[0])
			}, 302},
		} {
			if code, _, _ := ask(t, j, c.method, c.path, c.change); code != c.want {
				t.Errorf("%s: got %d, want %d", name, code, c.want)
			}
		}
	})
}

func TestAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := begun(t.Context(), t, Options{Home: newHome(t), Busy: "never"})
		_, root, _ := ask(t, j, "GET", "/api/json?tree=jobs[name,nextBuildNumber]", nil)
		jobs := root["jobs"].([]any)
		blog, team := jobs[0].(map[string]any), jobs[1].(map[string]any)
		api := team["jobs"].([]any)[0].(map[string]any)
		got := []any{len(jobs), blog["name"], blog["nextBuildNumber"], blog["color"], number(blog["lastBuild"]), number(blog["lastSuccessfulBuild"]), api["fullName"], api["nextBuildNumber"], api["url"], root["quietingDown"]}
		want := []any{2, "blog", 3.0, "red", 2.0, 1.0, "team/api", 6.0, "http://jenkins:8080/job/team/job/api/", false}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("jobs (-want +got):\n%s", diff)
		}
		for path, want := range map[string]int{
			"/job/blog/api/json": 200, "/job/team/job/api/api/json": 200, "/job/blog/1/api/json": 200, "/job/blog/lastBuild/api/json": 200,
			"/job/none/api/json": 404, "/job/blog/9/api/json": 404, "/job/blog/lastUnstable/api/json": 404, "/job/blog": 404,
		} {
			if code, _, _ := ask(t, j, "GET", path, nil); code != want {
				t.Errorf("%s: got %d, want %d", path, code, want)
			}
		}
		_, last, _ := ask(t, j, "GET", "/job/blog/lastBuild/api/json", nil)
		if last["result"] != "FAILURE" || last["building"] != false || last["number"] != 2.0 {
			t.Errorf("last build: %v", last)
		}
		_, plugins, _ := ask(t, j, "GET", "/pluginManager/api/json?depth=1", nil)
		found := map[string]any{}
		for _, p := range plugins["plugins"].([]any) {
			p := p.(map[string]any)
			found[p["shortName"].(string)] = []any{p["version"], p["active"]}
		}
		wantPlugins := map[string]any{"git": []any{"5.7.0", true}, "old": []any{"", false}, "mailer": []any{"489.vd4b_25144138f", true}}
		if diff := cmp.Diff(wantPlugins, found); diff != "" {
			t.Errorf("plugins (-want +got):\n%s", diff)
		}
	})
}

func number(reference any) any { return reference.(map[string]any)["number"] }

// TestBuildOutlivesQuietDown follows the busy executor from start to idle.
func TestBuildOutlivesQuietDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := newHome(t)
		j := begun(t.Context(), t, Options{Home: dir, Busy: "once"})
		log := filepath.Join(dir, "jobs/blog/builds/3/log")
		before := size(t, log)
		time.Sleep(2 * logEvery)
		if size(t, log) <= before {
			t.Error("the running build writes nothing")
		}
		if got := busy(t, j); got != 1.0 {
			t.Errorf("busy executors: %v", got)
		}
		_, building, _ := ask(t, j, "GET", "/job/blog/lastBuild/api/json", nil)
		if building["number"] != 3.0 || building["building"] != true || building["result"] != nil {
			t.Errorf("the running build is %v", building)
		}
		if code, _, _ := ask(t, j, "POST", "/quietDown?message=moving", nil); code != http.StatusFound {
			t.Errorf("quietDown: %d", code)
		}
		_, root, _ := ask(t, j, "GET", "/api/json", nil)
		if root["quietingDown"] != true || root["quietDownReason"] != "moving" {
			t.Errorf("after quietDown: %v, %v", root["quietingDown"], root["quietDownReason"])
		}
		time.Sleep(finishTime - 10*time.Millisecond)
		if got := busy(t, j); got != 1.0 {
			t.Errorf("the build ended at once")
		}
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		if got := busy(t, j); got != 0.0 {
			t.Errorf("busy executors after the build's end: %v", got)
		}
		if err := j.Wait(); err != nil {
			t.Error(err)
		}
		_, job, _ := ask(t, j, "GET", "/job/blog/api/json", nil)
		if job["nextBuildNumber"] != 4.0 || number(job["lastSuccessfulBuild"]) != 3.0 {
			t.Errorf("afterwards: next %v, last successful %v", job["nextBuildNumber"], job["lastSuccessfulBuild"])
		}
		again := begun(t.Context(), t, Options{Home: dir, Busy: "once"})
		if got := busy(t, again); got != 0.0 {
			t.Error("the home sees a second build")
		}
	})
}

// TestAnEndlessBuildEndsWithJenkinsOnly is the build that moves its own Jenkins.
func TestAnEndlessBuildEndsWithJenkinsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		j := begun(ctx, t, Options{Home: newHome(t), Busy: "endless"})
		if code, _, _ := ask(t, j, "POST", "/quietDown", nil); code != http.StatusFound {
			t.Errorf("quietDown: %d", code)
		}
		time.Sleep(time.Hour)
		if got := busy(t, j); got != 1.0 {
			t.Errorf("busy executors after an hour of quiet: %v", got)
		}
		end()
		if err := j.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestEndAborts checks what is on disk when a busy Jenkins is told to end.
func TestEndAborts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := newHome(t)
		ctx, end := context.WithCancel(t.Context())
		j := begun(ctx, t, Options{Home: dir, Busy: "always"})
		end()
		if err := j.Wait(); err != nil {
			t.Fatal(err)
		}
		if got := readBuild(filepath.Join(dir, "jobs/blog/builds/3"), 3).result; got != "ABORTED" {
			t.Errorf("the build's result is %q", got)
		}
		left, err := filepath.Glob(filepath.Join(dir, "jobs/blog/*-atomic*"))
		if err != nil || len(left) > 0 {
			t.Errorf("temporary files: %v, %v", left, err)
		}
	})
}

func busy(t *testing.T, j http.Handler) any {
	t.Helper()
	_, computer, _ := ask(t, j, "GET", "/computer/api/json", nil)
	return computer["busyExecutors"]
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
