package jenkins

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// Jenkins answers the HTTP API over one home.
type Jenkins struct {
	opts    Options
	home    home
	version string
	loaded  time.Time
	exec    executor
	crumb   string
	session string
	mux     *http.ServeMux

	mu      sync.Mutex
	quieted bool
	reason  string
	quiet   chan struct{} // closed by the first quietDown
}

// Start loads a home. A build may run until ctx ends; Wait tells when nothing is written any more.
func Start(ctx context.Context, o Options) (*Jenkins, error) {
	if err := os.MkdirAll(o.Home, 0o755); err != nil {
		return nil, fmt.Errorf("jenkins: home: %w", err)
	}
	j := &Jenkins{
		opts: o, home: home(o.Home), loaded: time.Now().Add(loadTime), crumb: rand.Text(), session: rand.Text(),
		quiet: make(chan struct{}),
	}
	j.version = j.home.version()
	jobs, err := j.home.jobs()
	if err != nil {
		return nil, fmt.Errorf("jenkins: home: %w", err)
	}
	if first, ok := firstJob(jobs); ok && needsBuild(o.Busy, first) {
		finish := j.quiet
		if o.Busy == "endless" {
			finish = nil
		}
		if err := j.exec.start(ctx, first, finish); err != nil {
			return nil, err
		}
	}
	j.routes()
	return j, nil
}

// Wait returns when no build runs, with what went wrong writing it.
func (j *Jenkins) Wait() error {
	if j.exec.done == nil {
		return nil
	}
	<-j.exec.done
	j.exec.mu.Lock()
	defer j.exec.mu.Unlock()
	return j.exec.err
}

func (j *Jenkins) routes() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html;charset=utf-8")
		fmt.Fprintln(w, "<html><title>Sign in - Jenkins</title></html>")
	})
	mux.Handle("GET /api/json", j.allowed(j.root))
	mux.Handle("GET /computer/api/json", j.allowed(j.computer))
	mux.Handle("GET /job/", j.allowed(j.job))
	mux.Handle("GET /pluginManager/api/json", j.allowed(j.plugins))
	mux.Handle("GET /queue/api/json", j.allowed(func(*http.Request) (any, int) { return map[string]any{"items": []any{}}, http.StatusOK }))
	mux.Handle("GET /crumbIssuer/api/json", j.allowed(j.issueCrumb))
	mux.Handle("POST /quietDown", j.allowed(j.quietDown))
	mux.Handle("POST /cancelQuietDown", j.allowed(j.cancelQuietDown))
	j.mux = mux
}

// ServeHTTP answers 503 while Jenkins loads, as the real one does on every path.
func (j *Jenkins) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Jenkins", j.version)
	if time.Now().Before(j.loaded) {
		w.Header().Set("Content-Type", "text/html;charset=utf-8")
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, "Jenkins is getting ready to work")
		return
	}
	j.mux.ServeHTTP(w, r)
}

// answer makes the body of a reply; nil with 302 goes back to the start page.
type answer func(*http.Request) (body any, code int)

// allowed lets admin in by API token or password. A password needs a crumb of its session for anything that writes.
func (j *Jenkins) allowed(next answer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, given := r.BasicAuth()
		if !given {
			http.Error(w, "Authentication required", http.StatusForbidden)
			return
		}
		byToken := user == "admin" && j.home.hasToken(password)
		byPassword := user == "admin" && j.opts.Password != "" && subtle.ConstantTimeCompare([]byte(password), []byte(j.opts.Password)) == 1
		if !byToken && !byPassword {
			w.Header().Set("WWW-Authenticate", `Basic realm="Jenkins"`)
			http.Error(w, "Invalid password/token for user: "+user, http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodPost && !byToken && !j.hasCrumb(r) {
			http.Error(w, "No valid crumb was included in the request", http.StatusForbidden)
			return
		}
		if byPassword {
			http.SetCookie(w, &http.Cookie{Name: "JSESSIONID", Value: j.session, Path: "/", HttpOnly: true})
		}
		j.reply(w, r, next)
	})
}

func (j *Jenkins) reply(w http.ResponseWriter, r *http.Request, next answer) {
	body, code := next(r)
	if code == http.StatusFound {
		http.Redirect(w, r, "/", code)
		return
	}
	var text bytes.Buffer
	if err := json.NewEncoder(&text).Encode(body); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	w.WriteHeader(code)
	_, _ = text.WriteTo(w)
}

func (j *Jenkins) hasCrumb(r *http.Request) bool {
	cookie, err := r.Cookie("JSESSIONID")
	return err == nil && cookie.Value == j.session && r.Header.Get("Jenkins-Crumb") == j.crumb
}

func (j *Jenkins) issueCrumb(*http.Request) (any, int) {
	return map[string]string{"crumb": j.crumb, "crumbRequestField": "Jenkins-Crumb"}, http.StatusOK
}

func (j *Jenkins) quietDown(r *http.Request) (any, int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.quieted {
		j.quieted = true
		select {
		case <-j.quiet: // quieted before, cancelled since: the build is already finishing
		default:
			close(j.quiet)
		}
	}
	j.reason = r.FormValue("message")
	return nil, http.StatusFound
}

func (j *Jenkins) cancelQuietDown(*http.Request) (any, int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.quieted, j.reason = false, ""
	return nil, http.StatusFound
}

func (j *Jenkins) root(r *http.Request) (any, int) {
	jobs, err := j.home.jobs()
	if err != nil {
		return broken(err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	var reason any
	if j.reason != "" {
		reason = j.reason
	}
	return map[string]any{
		"_class": "hudson.model.Hudson", "mode": "NORMAL", "nodeName": "", "numExecutors": 2, "useSecurity": true,
		"quietingDown": j.quieted, "quietDownReason": reason, "jobs": showJobs(jobs, base(r), j.exec.current()),
	}, http.StatusOK
}

func (j *Jenkins) computer(r *http.Request) (any, int) {
	executors := []any{map[string]any{}, map[string]any{}}
	busy := 0
	if b := j.exec.current(); b != nil {
		busy = 1
		executors[0] = map[string]any{"currentExecutable": map[string]any{
			"_class": "hudson.model.FreeStyleBuild", "number": b.number, "url": fmt.Sprintf("%s%d/", jobURL(base(r), b.job), b.number),
		}}
	}
	builtIn := map[string]any{
		"_class": "hudson.model.Hudson$MasterComputer", "displayName": "Built-In Node", "idle": busy == 0, "offline": false,
		"numExecutors": len(executors), "executors": executors, "oneOffExecutors": []any{},
	}
	return map[string]any{
		"_class": "hudson.model.ComputerSet", "busyExecutors": busy, "totalExecutors": len(executors), "computer": []any{builtIn},
	}, http.StatusOK
}

func (j *Jenkins) plugins(*http.Request) (any, int) {
	plugins, err := j.home.plugins()
	if err != nil {
		return broken(err)
	}
	return map[string]any{"_class": "hudson.LocalPluginManager", "plugins": plugins}, http.StatusOK
}

// job answers /job/A/job/B/api/json and /job/A/job/B/<number or lastBuild>/api/json.
func (j *Jenkins) job(r *http.Request) (any, int) {
	path, ok := strings.CutSuffix(r.URL.Path, "/api/json")
	if !ok {
		return missing()
	}
	var names []string
	words := strings.Split(strings.Trim(path, "/"), "/")
	for len(words) >= 2 && words[0] == "job" {
		names, words = append(names, words[1]), words[2:]
	}
	jobs, err := j.home.jobs()
	if err != nil {
		return broken(err)
	}
	found, ok := find(jobs, names)
	if !ok || len(words) > 1 {
		return missing()
	}
	if len(words) == 0 {
		return showJob(found, base(r), j.exec.current()), http.StatusOK
	}
	return showNamedBuild(found, words[0], base(r), j.exec.current())
}

func broken(err error) (any, int) {
	return map[string]string{"error": err.Error()}, http.StatusInternalServerError
}

func missing() (any, int) {
	return map[string]string{"error": "not found"}, http.StatusNotFound
}

// base is how the caller reached this Jenkins.
func base(r *http.Request) string { return "http://" + r.Host + "/" }
