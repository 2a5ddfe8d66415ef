// Package jenkinstest answers like a Jenkins controller, as far as a move asks, for tests.
//
// It must not read a home or keep anything on disk.
package jenkinstest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Server is a controller. Its fields may be changed through Do while it serves.
type Server struct {
	mu sync.Mutex

	Version     string
	Loading     bool // 503 for everything
	User, Token string
	Password    bool             // Token is a password: a POST needs a crumb
	ReadOnly    bool             // the user may not administer
	Jobs        map[string][]int // full name to last and next build number
	Plugins     map[string]string
	Broken      []string // plugins that failed to load
	Heavy       []string // URLs of builds on executors
	Light       []string // URLs of pipelines on flyweight executors
	Quiet       bool
	IgnoreQuiet bool // answers the redirect, but does not become quiet
	NotReady    bool // a blocking quietDown runs into its timeout
	Calls       []string
}

// New is a controller of one user with a few jobs.
func New() *Server {
	return &Server{Version: "2.528.1", User: "admin", Token: "11aa", Jobs: map[string][]int{"a": {7, 8}, "f/b": {3, 4}, "f/new": {0, 1}},
		Plugins: map[string]string{"git": "5.7.0", "workflow-job": "1520"}}
}

// Do changes or reads the server under its lock.
func (s *Server) Do(f func(*Server)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// RoundTrip makes the server a transport.
func (s *Server) RoundTrip(r *http.Request) (*http.Response, error) {
	w := &recorder{header: http.Header{}, code: http.StatusOK}
	s.ServeHTTP(w, r)
	return w.response(r), nil
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Calls = append(s.Calls, r.Method+" "+r.URL.Path)
	w.Header().Set("X-Jenkins", s.Version)
	if s.Loading {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if r.URL.Path == "/login" {
		return
	}
	user, token, _ := r.BasicAuth()
	if user != s.User || token != s.Token {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if r.Method == http.MethodPost {
		s.post(w, r)
		return
	}
	s.get(w, r)
}

func (s *Server) get(w http.ResponseWriter, r *http.Request) {
	var a any
	switch path := r.URL.Path; {
	case path == "/crumbIssuer/api/json":
		http.SetCookie(w, &http.Cookie{Name: "JSESSIONID", Value: "s1", Path: "/"})
		a = map[string]string{"crumb": "c0ffee", "crumbRequestField": "Jenkins-Crumb"}
	case path == "/api/json" && strings.Contains(r.URL.Query().Get("tree"), "quietingDown"):
		a = map[string]any{"quietingDown": s.Quiet}
	case strings.HasSuffix(path, "/api/json") && (path == "/api/json" || strings.HasPrefix(path, "/job/")):
		folder := strings.ReplaceAll(strings.TrimSuffix(path, "/api/json")+"/", "/job/", "/")
		a = map[string]any{"jobs": s.items(strings.TrimPrefix(folder, "/"), strings.Count(r.URL.Query().Get("tree"), "jobs["))}
	case path == "/computer/api/json":
		a = map[string]any{"busyExecutors": len(s.Heavy), "computer": []any{
			map[string]any{"displayName": "built-in", "executors": []any{map[string]any{"currentExecutable": nil}}, "oneOffExecutors": executables(s.Light)},
			map[string]any{"displayName": "agent-1", "executors": executables(s.Heavy), "oneOffExecutors": []any{}},
		}}
	case path == "/pluginManager/api/json":
		a = s.plugins()
	default:
		w.WriteHeader(http.StatusNotFound)
		return
	}
	_ = json.NewEncoder(w).Encode(a)
}

func executables(urls []string) []any {
	out := []any{}
	for _, u := range urls {
		out = append(out, map[string]any{"currentExecutable": map[string]any{"url": u}})
	}
	return out
}

func (s *Server) plugins() any {
	var list, failed []any
	for n, v := range s.Plugins {
		list = append(list, map[string]any{"shortName": n, "version": v, "enabled": true, "active": !slices.Contains(s.Broken, n)})
	}
	for _, n := range s.Broken {
		failed = append(failed, map[string]any{"name": n})
	}
	return map[string]any{"plugins": list, "failedPlugins": failed}
}

// items is one level of folders with as many below it as were asked for.
func (s *Server) items(prefix string, depth int) []any {
	if depth == 0 {
		return nil
	}
	out, folders := []any{}, map[string]bool{}
	for full, n := range s.Jobs {
		rest, ok := strings.CutPrefix(full, prefix)
		if !ok {
			continue
		}
		if name, _, deeper := strings.Cut(rest, "/"); deeper {
			if !folders[name] {
				folders[name] = true
				out = append(out, map[string]any{"name": name, "fullName": prefix + name, "jobs": s.items(prefix+name+"/", depth-1)})
			}
			continue
		}
		job := map[string]any{"name": rest, "fullName": full, "buildable": true, "nextBuildNumber": n[1], "lastBuild": nil}
		if n[0] > 0 {
			job["lastBuild"] = map[string]any{"number": n[0]}
		}
		out = append(out, job)
	}
	return out
}

func (s *Server) post(w http.ResponseWriter, r *http.Request) {
	if s.Password {
		cookie, err := r.Cookie("JSESSIONID")
		if err != nil || cookie.Value != "s1" || r.Header.Get("Jenkins-Crumb") != "c0ffee" {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte("<h2>HTTP ERROR 403 No valid crumb was included in the request</h2>"))
			return
		}
	}
	if s.ReadOnly {
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(s.User + " is missing the Overall/Administer permission"))
		return
	}
	switch path := r.URL.Path; {
	case path == "/quietDown":
		if r.FormValue("block") == "true" && s.NotReady {
			s.mu.Unlock()
			<-time.After(4100 * time.Millisecond) // virtual in a bubble
			s.mu.Lock()
		}
		s.Quiet = !s.IgnoreQuiet
	case path == "/cancelQuietDown":
		s.Quiet = false
	case strings.HasSuffix(path, "/stop"):
		gone := func(u string) bool { return strings.Contains(u, strings.TrimSuffix(path, "stop")) }
		s.Heavy, s.Light = slices.DeleteFunc(s.Heavy, gone), slices.DeleteFunc(s.Light, gone)
	default:
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Location", ".")
	w.WriteHeader(http.StatusFound) // whatever happened
}
