package cloud

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"
)

// egressURL answers with the address that a request came from. It is AWS's own service.
const egressURL = "https://checkip.amazonaws.com/"

// EgressAddress is the public address that this process reaches AWS from. ok is false where nobody tells, as in a rehearsal.
func (s *Session) EgressAddress(ctx context.Context) (addr netip.Addr, ok bool) {
	if os.Getenv("AWS_ENDPOINT_URL") != "" || s.Config.HTTPClient == nil {
		return addr, false
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, egressURL, nil)
	if err != nil {
		return addr, false
	}
	resp, err := s.Config.HTTPClient.Do(req)
	if err != nil {
		return addr, false
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64))
	if err != nil || resp.StatusCode != http.StatusOK {
		return addr, false
	}
	addr, err = netip.ParseAddr(strings.TrimSpace(string(text)))
	return addr, err == nil
}
