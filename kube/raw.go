package kube

import (
	"context"
	"fmt"
	"io"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// maxRaw bounds the answer to Raw; key sets and discovery documents have a few KB.
const maxRaw = 1 << 20

// Raw reads a path of the API server that is no resource, such as /openid/v1/jwks.
func (c *Client) Raw(ctx context.Context, path string) ([]byte, error) {
	client, err := rest.HTTPClientFor(c.Config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	base, _, err := rest.DefaultServerUrlFor(c.Config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath(path).String(), nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, Explain(err))
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxRaw))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = apierrors.NewGenericServerResponse(resp.StatusCode, "get", schema.GroupResource{}, path, "", 0, true)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, Explain(err))
	}
	return body, nil
}
