package jenkinshome

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// fakeKube is an API server in memory: it stores objects by path, with resource versions as preconditions, and knows no watches. What
// controllers and kubelets do is done by after, called for every change.
type fakeKube struct {
	mu    sync.Mutex
	objs  map[string]map[string]any
	rv    int
	away  bool                           // nobody answers
	deny  func(method, path string) bool // what the caller has no right to; nil: to nothing
	after func(path string, old, now map[string]any)
	calls []string
}

func newFakeKube() *fakeKube {
	f := &fakeKube{objs: map[string]map[string]any{}}
	f.put("/api/v1/namespaces/kube-system", map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "kube-system", "uid": "0a0a-source"}})
	return f
}

func (f *fakeKube) put(path string, o map[string]any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.store(path, o)
}

func (f *fakeKube) get(path string) map[string]any {
	f.mu.Lock()
	defer f.mu.Unlock()
	return clone(f.objs[path])
}

func (f *fakeKube) edit(path string, change func(map[string]any)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if o := clone(f.objs[path]); o != nil {
		change(o)
		f.store(path, o)
	}
}

func (f *fakeKube) remove(path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop(path)
}

func (f *fakeKube) list(prefix string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for p := range f.objs {
		if strings.HasPrefix(p, prefix) {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

// store and drop are called with the lock held; after is called in a goroutine of its own, as a controller would act.
func (f *fakeKube) store(path string, o map[string]any) {
	f.rv++
	meta := sub(o, "metadata")
	meta["resourceVersion"] = strconv.Itoa(f.rv)
	old := f.objs[path]
	if meta["uid"] == nil {
		meta["uid"] = fmt.Sprintf("uid-%d", f.rv)
	}
	f.objs[path] = o
	if f.after != nil {
		go f.after(path, old, clone(o))
	}
}

func (f *fakeKube) drop(path string) {
	old := f.objs[path]
	delete(f.objs, path)
	if f.after != nil && old != nil {
		go f.after(path, old, nil)
	}
}

func sub(o map[string]any, key string) map[string]any {
	m, ok := o[key].(map[string]any)
	if !ok {
		m = map[string]any{}
		o[key] = m
	}
	return m
}

func clone(o map[string]any) map[string]any {
	if o == nil {
		return nil
	}
	raw, _ := json.Marshal(o)
	var out map[string]any
	_ = json.Unmarshal(raw, &out)
	return out
}

// RoundTrip is the whole server.
func (f *fakeKube) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away {
		return nil, io.ErrUnexpectedEOF
	}
	f.calls = append(f.calls, r.Method+" "+r.URL.Path)
	code, answer := failure(403, "Forbidden", r.URL.Path)
	if f.deny == nil || !f.deny(r.Method, r.URL.Path) {
		code, answer = f.serve(r, body)
	}
	raw, _ := json.Marshal(answer)
	return &http.Response{StatusCode: code, Status: strconv.Itoa(code), Proto: "HTTP/1.1", ProtoMajor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(raw))}, nil
}

func (f *fakeKube) serve(r *http.Request, body []byte) (int, any) {
	path := r.URL.Path
	if a := discovery(path); a != nil {
		return 200, a
	}
	if r.URL.Query().Get("watch") == "true" {
		return failure(405, "MethodNotAllowed", "no watches here")
	}
	o := f.objs[path]
	switch r.Method {
	case http.MethodGet:
		if o != nil {
			return 200, o
		}
		if plural(path) {
			return 200, f.items(path, r)
		}
		return failure(404, "NotFound", path)
	case http.MethodPost:
		return f.create(path, body)
	case http.MethodPut:
		return f.update(path, o, decodeObject(body))
	case http.MethodPatch:
		return f.patch(r, path, o, decodeObject(body))
	case http.MethodDelete:
		if o == nil {
			return failure(404, "NotFound", path)
		}
		f.drop(path)
		return 200, o
	}
	return failure(405, "MethodNotAllowed", path)
}

func decodeObject(body []byte) map[string]any {
	var o map[string]any
	_ = yaml.Unmarshal(body, &o)
	return o
}

func (f *fakeKube) create(path string, body []byte) (int, any) {
	o := decodeObject(body)
	at := path + "/" + fmt.Sprint(sub(o, "metadata")["name"])
	if f.objs[at] != nil {
		return failure(409, "AlreadyExists", at)
	}
	f.store(at, o)
	return 201, o
}

func (f *fakeKube) update(path string, old, o map[string]any) (int, any) {
	if old == nil {
		return failure(404, "NotFound", path)
	}
	if sub(o, "metadata")["resourceVersion"] != sub(old, "metadata")["resourceVersion"] {
		return failure(409, "Conflict", path)
	}
	f.store(path, o)
	return 200, o
}

func (f *fakeKube) patch(r *http.Request, path string, old, change map[string]any) (int, any) {
	if strings.Contains(r.Header.Get("Content-Type"), "apply-patch") {
		if old == nil {
			f.store(path, change)
			return 201, change
		}
	} else if old == nil {
		return failure(404, "NotFound", path)
	}
	if rv := sub(change, "metadata")["resourceVersion"]; rv != nil && rv != sub(old, "metadata")["resourceVersion"] {
		return failure(409, "Conflict", path)
	}
	o := clone(old)
	if uid := sub(change, "metadata")["uid"]; uid != nil && uid != sub(old, "metadata")["uid"] {
		return failure(409, "Conflict", path)
	}
	if strings.Contains(r.Header.Get("Content-Type"), "strategic") {
		byName(sub(o, "spec"), sub(change, "spec"))
	}
	merge(o, change)
	f.store(path, o)
	return 200, o
}

// byName makes whole lists of a change that has of named elements only what changes.
func byName(have, change map[string]any) {
	for key, list := range change {
		all, _ := have[key].([]any)
		var out []any
		for _, e := range all {
			whole := clone(e.(map[string]any))
			for _, c := range list.([]any) {
				if c := c.(map[string]any); c["name"] == whole["name"] {
					merge(whole, c)
				}
			}
			out = append(out, whole)
		}
		change[key] = out
	}
}

func merge(into, change map[string]any) {
	for k, v := range change {
		if v == nil {
			delete(into, k)
			continue
		}
		m, ok := v.(map[string]any)
		if !ok {
			into[k] = v
			continue
		}
		merge(sub(into, k), m)
	}
}

// plural tells a collection's path by its last word.
func plural(path string) bool {
	last := path[strings.LastIndex(path, "/")+1:]
	return slices.Contains([]string{"pods", "jobs", "secrets", "configmaps", "nodes", "namespaces", "deployments", "statefulsets", "applications",
		"persistentvolumes", "persistentvolumeclaims", "volumeattachments", "csinodes", "leases"}, last)
}

func (f *fakeKube) items(path string, r *http.Request) any {
	sel, _ := labels.Parse(r.URL.Query().Get("labelSelector"))
	list := []any{}
	for _, p := range slices.Sorted(func(yield func(string) bool) {
		for p := range f.objs {
			if among(path, p) && !yield(p) {
				return
			}
		}
	}) {
		set := labels.Set{}
		for k, v := range sub(sub(f.objs[p], "metadata"), "labels") {
			set[k] = fmt.Sprint(v)
		}
		if sel == nil || sel.Matches(set) {
			list = append(list, f.objs[p])
		}
	}
	version := "v1"
	if strings.HasPrefix(path, "/apis/storage.k8s.io/") {
		version = "storage.k8s.io/v1"
	}
	return map[string]any{"apiVersion": version, "kind": listKind[path[strings.LastIndex(path, "/")+1:]], "metadata": map[string]any{"resourceVersion": strconv.Itoa(f.rv)}, "items": list}
}

// among says whether an object is in a collection: of one namespace, or of all.
func among(path, object string) bool {
	if path == "/api/v1/pods" {
		return strings.HasPrefix(object, "/api/v1/namespaces/") && strings.Contains(object, "/pods/")
	}
	return strings.HasPrefix(object, path+"/")
}

var listKind = map[string]string{"pods": "PodList", "jobs": "JobList", "configmaps": "ConfigMapList", "secrets": "SecretList", "nodes": "NodeList",
	"persistentvolumes": "PersistentVolumeList", "persistentvolumeclaims": "PersistentVolumeClaimList", "volumeattachments": "VolumeAttachmentList", "csinodes": "CSINodeList"}

func failure(code int, reason, message string) (int, any) {
	return code, map[string]any{"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}
}

// discovery answers what a REST mapper asks.
func discovery(path string) any {
	groups := map[string][][2]string{
		"v1":                           {{"pods", "Pod"}, {"configmaps", "ConfigMap"}, {"secrets", "Secret"}, {"serviceaccounts", "ServiceAccount"}, {"persistentvolumeclaims", "PersistentVolumeClaim"}},
		"apps/v1":                      {{"deployments", "Deployment"}, {"statefulsets", "StatefulSet"}},
		"batch/v1":                     {{"jobs", "Job"}},
		"rbac.authorization.k8s.io/v1": {{"roles", "Role"}, {"rolebindings", "RoleBinding"}},
		"argoproj.io/v1alpha1":         {{"applications", "Application"}, {"applicationsets", "ApplicationSet"}},
	}
	switch path {
	case "/version":
		return map[string]any{"major": "1", "minor": "34"}
	case "/api":
		return map[string]any{"kind": "APIVersions", "versions": []any{"v1"}}
	case "/apis":
		var out []any
		for gv := range groups {
			if g, v, ok := strings.Cut(gv, "/"); ok {
				version := map[string]any{"groupVersion": gv, "version": v}
				out = append(out, map[string]any{"name": g, "versions": []any{version}, "preferredVersion": version})
			}
		}
		return map[string]any{"kind": "APIGroupList", "apiVersion": "v1", "groups": out}
	}
	gv := strings.TrimPrefix(strings.TrimPrefix(path, "/apis/"), "/api/")
	rs, ok := groups[gv]
	if !ok {
		return nil
	}
	var out []any
	for _, x := range rs {
		out = append(out, map[string]any{"name": x[0], "kind": x[1], "namespaced": true, "verbs": []any{"get", "list", "patch", "create", "delete"}})
	}
	if gv == "v1" {
		for _, x := range [][2]string{{"nodes", "Node"}, {"namespaces", "Namespace"}, {"persistentvolumes", "PersistentVolume"}} {
			out = append(out, map[string]any{"name": x[0], "kind": x[1], "namespaced": false, "verbs": []any{"get", "list"}})
		}
	}
	return map[string]any{"kind": "APIResourceList", "groupVersion": gv, "resources": out}
}
