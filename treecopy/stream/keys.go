package stream

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strings"
	"time"
)

// Keys are what one side of one run has: its certificate and key, and the authority that made the other's, all PEM.
type Keys struct {
	Authority   []byte
	Certificate []byte
	Key         []byte
}

// The two sides, as certificates name them.
const (
	sideSource = "source.pipectl.invalid"
	sideTarget = "target.pipectl.invalid"
)

// skew is by how much the clocks of two machines may differ.
const skew = 10 * time.Minute

// NewKeys makes the keys of a run, which end after valid. The key of the authority is forgotten: nobody can make a third certificate.
func NewKeys(run string, valid time.Duration) (source, target Keys, err error) {
	a, err := newAuthority(run, time.Now().Add(-skew), time.Now().Add(valid))
	if err != nil {
		return source, target, err
	}
	if source, err = a.issue(sideSource, x509.ExtKeyUsageServerAuth); err != nil {
		return source, target, err
	}
	target, err = a.issue(sideTarget, x509.ExtKeyUsageClientAuth)
	return source, target, err
}

type authority struct {
	run  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(run string, from, to time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	t := template("authority", run, from, to)
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage, t.MaxPathLenZero = true, true, x509.KeyUsageCertSign, true
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	return &authority{run, cert, key}, err
}

func template(name, run string, from, to time.Time) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) // the reader never fails
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name, Organization: []string{run}}, NotBefore: from, NotAfter: to}
}

func (a *authority) issue(side string, use x509.ExtKeyUsage) (Keys, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Keys{}, fmt.Errorf("keys: %w", err)
	}
	t := template(side, a.run, a.cert.NotBefore, a.cert.NotAfter)
	t.DNSNames, t.KeyUsage, t.ExtKeyUsage = []string{side}, x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{use}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return Keys{}, fmt.Errorf("keys: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Keys{}, fmt.Errorf("keys: %w", err)
	}
	encode := func(kind string, b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}) }
	return Keys{Authority: encode("CERTIFICATE", a.cert.Raw), Certificate: encode("CERTIFICATE", der), Key: encode("PRIVATE KEY", secret)}, nil
}

// config is what both sides share: nothing older than TLS 1.3, and no session that outlives its connection.
func (k Keys) config() (*tls.Config, *x509.CertPool, error) {
	cert, err := tls.X509KeyPair(k.Certificate, k.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("keys: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(k.Authority) {
		return nil, nil, errors.New("keys: no certificate of the authority")
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: true}, pool, nil
}

// Server makes a connection the source's side of TLS, and is sure that the other is the target's side of the same run.
func Server(ctx context.Context, conn net.Conn, k Keys) (net.Conn, error) {
	c, pool, err := k.config()
	if err != nil {
		return nil, err
	}
	c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, pool
	c.VerifyConnection = func(s tls.ConnectionState) error {
		return s.PeerCertificates[0].VerifyHostname(sideTarget)
	}
	return shake(ctx, tls.Server(conn, c))
}

// Client makes a connection the target's side of TLS. That the source refused us shows only when it is read from, which Client does not do.
func Client(ctx context.Context, conn net.Conn, k Keys) (net.Conn, error) {
	c, pool, err := k.config()
	if err != nil {
		return nil, err
	}
	c.RootCAs, c.ServerName = pool, sideSource
	return shake(ctx, tls.Client(conn, c))
}

// handshake is how long a peer may take for it.
const handshake = 30 * time.Second

func shake(ctx context.Context, c *tls.Conn) (net.Conn, error) {
	work, cancel := context.WithTimeout(ctx, handshake)
	defer cancel()
	if err := c.HandshakeContext(work); err != nil {
		_ = c.NetConn().Close() // without a farewell that nobody may take
		return nil, keyError(err)
	}
	return secured{c}, nil
}

// secured closes without waiting for a peer that takes no farewell.
type secured struct{ *tls.Conn }

func (s secured) Close() error { return s.NetConn().Close() }

func (s secured) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if err != nil {
		err = keyError(err)
	}
	return n, err
}

// ErrKeys says that one side does not accept the other's keys.
var ErrKeys = errors.New("keys are not of this run")

// keyError says in our words why a handshake failed.
func keyError(err error) error {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	var alert tls.AlertError
	var op *net.OpError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("%w: the peer's certificate has ended, or a clock is wrong by more than %s: %w", ErrKeys, skew, err)
	case errors.As(err, &unknown):
		return fmt.Errorf("%w: the peer's certificate is of another run: %w", ErrKeys, err)
	case errors.As(err, &name), errors.As(err, &invalid):
		return fmt.Errorf("%w: the peer is not the other side: %w", ErrKeys, err)
	case errors.As(err, &alert), errors.As(err, &op) && op.Op == "remote error" && strings.HasPrefix(op.Err.Error(), "tls: "):
		return fmt.Errorf("%w: the peer refuses ours: %w", ErrKeys, err)
	}
	return err
}
