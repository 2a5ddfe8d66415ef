package stream

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

// meet lets two sides shake hands and say one word; it gives what each found wrong.
func meet(t *testing.T, source, target Keys) (server, client error) {
	t.Helper()
	a, b := net.Pipe()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		c, err := Server(ctx, a, source)
		if err == nil {
			_, err = c.Write([]byte("x"))
			err = errors.Join(err, c.Close())
		}
		done <- err
	}()
	c, err := Client(ctx, b, target)
	if err == nil {
		_, err = c.Read(make([]byte, 1))
		_ = c.Close()
	}
	return <-done, err
}

func TestTheTwoSidesOfARunAcceptEachOther(t *testing.T) {
	source, target, err := NewKeys("run-1", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if s, c := meet(t, source, target); s != nil || c != nil {
		t.Errorf("server: %v, client: %v", s, c)
	}
}

func TestKeysThatAreNotOfThisRunAreRefused(t *testing.T) {
	source, target, err := NewKeys("run-1", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	source2, target2, err := NewKeys("run-1", time.Hour) // the name of the run proves nothing
	if err != nil {
		t.Fatal(err)
	}
	oldSource, oldTarget, err := NewKeys("run-1", -time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	mixed := target2 // somebody who knows our authority, and has a key of another
	mixed.Authority = target.Authority
	for name, x := range map[string]struct {
		source, target Keys
		server, client string
	}{
		"the target is of another run":        {source, target2, "", "is of another run"},
		"the source is of another run":        {source2, target, "", "is of another run"},
		"the target knows our authority only": {source, mixed, "is of another run", "refuses ours"},
		"all has ended":                       {oldSource, oldTarget, "", "has ended"},
		"the target plays the source":         {target, target, "", "not the other side"},
		"the source is asked by its like":     {source, source, "not the other side", "refuses ours"},
	} {
		t.Run(name, func(t *testing.T) {
			s, c := meet(t, x.source, x.target)
			if s == nil || x.server != "" && (!errors.Is(s, ErrKeys) || !strings.Contains(s.Error(), x.server)) {
				t.Errorf("server: %v, want %q", s, x.server)
			}
			if !errors.Is(c, ErrKeys) || !strings.Contains(c.Error(), x.client) {
				t.Errorf("client: %v, want %q", c, x.client)
			}
		})
	}
}

func TestAnExpiredClientIsRefused(t *testing.T) {
	a, err := newAuthority("run-1", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	source, err := a.issue(sideSource, x509.ExtKeyUsageServerAuth)
	if err != nil {
		t.Fatal(err)
	}
	late := *a
	cert := *a.cert
	late.cert = &cert
	late.cert.NotAfter = time.Now().Add(-time.Second)
	target, err := late.issue(sideTarget, x509.ExtKeyUsageClientAuth)
	if err != nil {
		t.Fatal(err)
	}
	s, c := meet(t, source, target)
	if !errors.Is(s, ErrKeys) || !strings.Contains(s.Error(), "has ended") || !errors.Is(c, ErrKeys) {
		t.Errorf("server: %v, client: %v", s, c)
	}
}
