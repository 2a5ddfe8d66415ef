package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"pipectl.dev/rehearsal/lab/kubelet"
)

// addonEBS is the only add-on that is played.
const addonEBS = "aws-ebs-csi-driver"

// nodePool is what the control API does with nodes.
type nodePool interface {
	Add(ctx context.Context, node kubelet.NodeSpec) error
	Remove(ctx context.Context, name string) error
	Nodes() []kubelet.NodeSpec
	ServiceAddr(ctx context.Context, namespace, name string, port int) (string, error)
}

// addon is what the control API does with an add-on.
type addon interface {
	SetActive(ctx context.Context, active bool, roleARN string) error
}

// plane is what the control API does with the control plane.
type plane interface {
	setAPIServer(ctx context.Context, running bool) error
}

type controlServer struct {
	server *http.Server
	path   string
}

func listenControl(path string, nodes nodePool, ebs addon, cp plane) (*controlServer, error) {
	// A socket of an earlier run that was killed is in the way.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: controlHandler(nodes, ebs, cp), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }()
	return &controlServer{server: server, path: path}, nil
}

func (c *controlServer) close() {
	_ = c.server.Close()
	_ = os.Remove(c.path)
}

// controlHandler answers the control API; every answer is JSON, errors are {"error": "..."}.
func controlHandler(nodes nodePool, ebs addon, cp plane) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]bool{"ok": true})
	})
	mux.HandleFunc("GET /nodes", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, nodes.Nodes())
	})
	mux.HandleFunc("POST /nodes", func(w http.ResponseWriter, r *http.Request) {
		var node kubelet.NodeSpec
		if !read(w, r, &node) {
			return
		}
		if err := nodes.Add(r.Context(), node); err != nil {
			refuse(w, err)
			return
		}
		reply(w, http.StatusCreated, node)
	})
	mux.HandleFunc("DELETE /nodes/{name}", func(w http.ResponseWriter, r *http.Request) {
		if err := nodes.Remove(r.Context(), r.PathValue("name")); err != nil {
			refuse(w, err)
			return
		}
		reply(w, http.StatusOK, map[string]string{"removed": r.PathValue("name")})
	})
	mux.HandleFunc("PUT /services/{namespace}/{name}/{port}", func(w http.ResponseWriter, r *http.Request) {
		port, err := strconv.Atoi(r.PathValue("port"))
		if err != nil {
			reply(w, http.StatusBadRequest, map[string]string{"error": "port: expected a number"})
			return
		}
		addr, err := nodes.ServiceAddr(r.Context(), r.PathValue("namespace"), r.PathValue("name"), port)
		if err != nil {
			refuse(w, err)
			return
		}
		reply(w, http.StatusOK, map[string]string{"address": addr})
	})
	mux.HandleFunc("PUT /addons/{name}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("name") != addonEBS {
			reply(w, http.StatusNotFound, map[string]string{"error": "addon " + r.PathValue("name") + ": only " + addonEBS + " is played"})
			return
		}
		var state struct {
			Active  bool   `json:"active"`
			RoleARN string `json:"roleArn"` // the add-on's serviceAccountRoleArn, where it has one
		}
		if !read(w, r, &state) {
			return
		}
		if err := ebs.SetActive(r.Context(), state.Active, state.RoleARN); err != nil {
			refuse(w, err)
			return
		}
		reply(w, http.StatusOK, map[string]bool{"active": state.Active})
	})
	mux.HandleFunc("PUT /components/"+apiserver, component(cp))
	return mux
}

func component(cp plane) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var state struct {
			Running bool `json:"running"`
		}
		if !read(w, r, &state) {
			return
		}
		if err := cp.setAPIServer(r.Context(), state.Running); err != nil {
			refuse(w, err)
			return
		}
		reply(w, http.StatusOK, map[string]bool{"running": state.Running})
	}
}

func read(w http.ResponseWriter, r *http.Request, into any) bool {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		reply(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return false
	}
	return true
}

func refuse(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	switch {
	case errors.Is(err, kubelet.ErrInvalid):
		code = http.StatusBadRequest
	case errors.Is(err, kubelet.ErrNoNode):
		code = http.StatusNotFound
	case errors.Is(err, kubelet.ErrNodeExists), errors.Is(err, errState):
		code = http.StatusConflict
	}
	reply(w, code, map[string]string{"error": err.Error()})
}

func reply(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}
