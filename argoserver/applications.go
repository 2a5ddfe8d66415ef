package argoserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"pipectl.dev/steps"
)

// Name is an Application's namespace and name. An empty namespace is the one Argo CD runs in.
type Name struct{ Namespace, Name string }

func (n Name) path(more string) string {
	return "/api/v1/applications/" + url.PathEscape(n.Name) + more
}

func (n Name) query() url.Values {
	q := url.Values{}
	if n.Namespace != "" {
		q.Set("appNamespace", n.Namespace)
	}
	return q
}

// Applications lists all Applications that the token may read, of all namespaces, with the version of the list.
func (c *Client) Applications(ctx context.Context) (items []json.RawMessage, version string, err error) {
	var list struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
		Items []json.RawMessage `json:"items"`
	}
	if err := c.do(ctx, http.MethodGet, "/api/v1/applications", nil, nil, &list); err != nil {
		return nil, "", err
	}
	return list.Items, list.Metadata.ResourceVersion, nil
}

// Watch tells of every change of an Application until the stream or ctx ends; kind is ADDED, MODIFIED or DELETED. The server keeps no
// history: what happens before it has begun to listen is not told, so list again after a moment.
func (c *Client) Watch(ctx context.Context, version string, each func(kind string, app json.RawMessage)) error {
	q := url.Values{}
	if version != "" {
		q.Set("resourceVersion", version)
	}
	resp, err := c.send(ctx, http.MethodGet, "/api/v1/stream/applications", q, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	dec := json.NewDecoder(resp.Body)
	for {
		var e struct {
			Result struct {
				Type        string          `json:"type"`
				Application json.RawMessage `json:"application"`
			} `json:"result"`
			Error json.RawMessage `json:"error"`
		}
		err := dec.Decode(&e)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return c.unreachable(ctx, http.MethodGet, "/api/v1/stream/applications", err)
		case len(e.Error) > 0:
			return c.refused(http.MethodGet, "/api/v1/stream/applications", http.StatusServiceUnavailable, e.Error)
		}
		each(e.Result.Type, e.Result.Application)
	}
}

// Application reads one Application past all caches.
func (c *Client) Application(ctx context.Context, n Name) (json.RawMessage, error) {
	var app json.RawMessage
	return app, c.do(ctx, http.MethodGet, n.path(""), n.query(), nil, &app)
}

// Refresh has the controller compare the Application with Git, with its caches passed over when hard, and returns it when that is done
// or fails with the end of ctx; the mark on the Application stays then.
func (c *Client) Refresh(ctx context.Context, n Name, hard bool) (json.RawMessage, error) {
	q := n.query()
	q.Set("refresh", "normal")
	if hard {
		q.Set("refresh", "hard")
	}
	var app json.RawMessage
	return app, c.do(ctx, http.MethodGet, n.path(""), q, nil, &app)
}

// Sync asks for a sync. request has the fields of the gateway's ApplicationSyncRequest; it returns the Application with the operation
// in it. An operation that is there already is CodeConflict, a closed sync window CodeWindow.
func (c *Client) Sync(ctx context.Context, n Name, request any) (json.RawMessage, error) {
	var app json.RawMessage
	return app, c.do(ctx, http.MethodPost, n.path("/sync"), nil, request, &app)
}

// Terminate tells the operation that runs to end, whoever began it. The server cannot take back one that has not started.
func (c *Client) Terminate(ctx context.Context, n Name) error {
	return c.do(ctx, http.MethodDelete, n.path("/operation"), n.query(), nil, nil)
}

// Project reads an AppProject.
func (c *Client) Project(ctx context.Context, name string) (json.RawMessage, error) {
	var project json.RawMessage
	return project, c.do(ctx, http.MethodGet, "/api/v1/projects/"+url.PathEscape(name), nil, nil, &project)
}

// ApplicationSet reads an ApplicationSet.
func (c *Client) ApplicationSet(ctx context.Context, n Name) (json.RawMessage, error) {
	q := url.Values{}
	if n.Namespace != "" {
		q.Set("appsetNamespace", n.Namespace)
	}
	var set json.RawMessage
	return set, c.do(ctx, http.MethodGet, "/api/v1/applicationsets/"+url.PathEscape(n.Name), q, nil, &set)
}

// Node is one live object of an Application, in its tree of owners.
type Node struct {
	Ref
	Parents []Ref `json:"parentRefs"`
	Info    []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"info"`
}

// Ref names an object in a tree.
type Ref struct {
	Group     string `json:"group"`
	Version   string `json:"version"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
}

// Tree lists the live objects of an Application with all that they own.
func (c *Client) Tree(ctx context.Context, n Name) ([]Node, error) {
	var tree struct {
		Nodes []Node `json:"nodes"`
	}
	return tree.Nodes, c.do(ctx, http.MethodGet, n.path("/resource-tree"), n.query(), nil, &tree)
}

// Resource reads a live object of an Application; values of Secrets are hidden by the server.
func (c *Client) Resource(ctx context.Context, n Name, r Ref) (json.RawMessage, error) {
	q := n.query()
	q.Set("group", r.Group)
	q.Set("version", r.Version)
	q.Set("kind", r.Kind)
	q.Set("namespace", r.Namespace)
	q.Set("resourceName", r.Name)
	var answer struct {
		Manifest string `json:"manifest"`
	}
	if err := c.do(ctx, http.MethodGet, n.path("/resource"), q, nil, &answer); err != nil {
		return nil, err
	}
	if !json.Valid([]byte(answer.Manifest)) {
		return nil, &steps.Error{Code: "ServerAnswer", Category: steps.Precondition, Message: fmt.Sprintf("argocd-server: %s %s: no manifest", r.Kind, r.Name)}
	}
	return json.RawMessage(answer.Manifest), nil
}

// Managed is an object of an Application as it is live, and as it would be after a sync; both are JSON, empty or "null" for nothing.
type Managed struct {
	Group     string `json:"group"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Live      string `json:"normalizedLiveState"`
	Predicted string `json:"predictedLiveState"`
}

// ManagedResources are the objects that Git declares, as of the last comparison; values of Secrets are hidden by the server.
func (c *Client) ManagedResources(ctx context.Context, n Name) ([]Managed, error) {
	var list struct {
		Items []Managed `json:"items"`
	}
	return list.Items, c.do(ctx, http.MethodGet, n.path("/managed-resources"), n.query(), nil, &list)
}
