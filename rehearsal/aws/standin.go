package aws

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"sync"
	"time"
)

// StandIn is a World without any cluster: endpoints that nobody answers, one key pair for all issuers, and a record of
// what it was told. Tests embed it and override what they need.
type StandIn struct {
	mu      sync.Mutex
	key     *rsa.PrivateKey // nil: the shared one
	issuers map[string]string
	told    []string
}

// NewStandIn makes a StandIn; the key is made on first use.
func NewStandIn() *StandIn { return newStandIn() }

func newStandIn() *StandIn { return &StandIn{issuers: map[string]string{}} }

func (s *StandIn) tell(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, fmt.Sprintf(format, args...))
}

// Told lists the notifications so far, one line each.
func (s *StandIn) Told() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.told...)
}

// ClusterCreating notes the issuer, for tokens.
func (s *StandIn) ClusterCreating(name, version, issuer string) {
	s.tell("cluster creating %s %s", name, version)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.issuers[name] = issuer
}

// ClusterEndpoint names a host that does not exist. A cluster that is made anew has another authority, as with AWS.
func (s *StandIn) ClusterEndpoint(_ context.Context, name string) (string, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	authority := "-----BEGIN CERTIFICATE-----\nrehearsal " + s.issuers[name] + "\n-----END CERTIFICATE-----\n"
	return "https://" + name + ".eks.rehearsal.invalid", base64.StdEncoding.EncodeToString([]byte(authority)), nil
}

// ClusterDeleted is noted.
func (s *StandIn) ClusterDeleted(name string) { s.tell("cluster deleted %s", name) }

// NodesJoined is noted.
func (s *StandIn) NodesJoined(cluster, group string, nodes []Instance) {
	s.tell("nodes joined %s %s %d", cluster, group, len(nodes))
}

// NodesLeaving is noted.
func (s *StandIn) NodesLeaving(cluster string, nodes []Instance) {
	s.tell("nodes leaving %s %d", cluster, len(nodes))
}

// AddonState is noted.
func (s *StandIn) AddonState(cluster, addon, _ string, active bool) {
	s.tell("addon %s %s %t", cluster, addon, active)
}

// VolumeAttached is noted.
func (s *StandIn) VolumeAttached(instanceID, volumeID, device string) {
	s.tell("attached %s %s %s", volumeID, instanceID, device)
}

// VolumeDetached is noted.
func (s *StandIn) VolumeDetached(instanceID, volumeID string) {
	s.tell("detached %s %s", volumeID, instanceID)
}

// VolumeDeleted is noted.
func (s *StandIn) VolumeDeleted(volumeID string) { s.tell("volume deleted %s", volumeID) }

// SnapshotCreated is noted.
func (s *StandIn) SnapshotCreated(volumeID, snapshotID string) {
	s.tell("snapshot %s of %s", snapshotID, volumeID)
}

// VolumeFromSnapshot is noted.
func (s *StandIn) VolumeFromSnapshot(snapshotID, volumeID string) {
	s.tell("volume %s from %s", volumeID, snapshotID)
}

// sharedKey is that of all stand-ins of a process: making one takes longer than all else that a stand-in does.
var sharedKey = sync.OnceValues(newKey)

func newKey() (*rsa.PrivateKey, error) {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("stand-in key: %w", err)
	}
	return k, nil
}

// Rotate gives this stand-in a key that no other has.
func (s *StandIn) Rotate() error {
	k, err := newKey()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key = k
	return err
}

func (s *StandIn) signer() (*rsa.PrivateKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key != nil {
		return s.key, nil
	}
	return sharedKey()
}

// kidOf is an id that another key does not have.
func kidOf(k *rsa.PrivateKey) string {
	sum := sha256.Sum256(k.N.Bytes())
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// JWKS is the key set of the stand-in's one key.
func (s *StandIn) JWKS(context.Context, string) ([]byte, error) {
	k, err := s.signer()
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"keys": []any{map[string]any{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": kidOf(k),
		"n": base64.RawURLEncoding.EncodeToString(k.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.E)).Bytes())}}})
}

// Token is a service account token of a cluster, valid for ten minutes.
func (s *StandIn) Token(cluster, namespace, account, audience string) (string, error) {
	return s.Sign(s.claims(cluster, namespace, account, audience))
}

// PodToken is a Token that is bound to a pod.
func (s *StandIn) PodToken(cluster, namespace, account, audience, pod, uid string) (string, error) {
	claims := s.claims(cluster, namespace, account, audience)
	claims["kubernetes.io"] = map[string]any{"namespace": namespace, "serviceaccount": map[string]any{"name": account}, "pod": map[string]any{"name": pod, "uid": uid}}
	return s.Sign(claims)
}

func (s *StandIn) claims(cluster, namespace, account, audience string) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	return map[string]any{"iss": s.issuers[cluster], "sub": "system:serviceaccount:" + namespace + ":" + account, "aud": []string{audience},
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix()}
}

// Sign makes an RS256 token of any claims.
func (s *StandIn) Sign(claims map[string]any) (string, error) {
	k, err := s.signer()
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("stand-in token: %w", err)
	}
	unsigned := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"alg":"RS256","kid":%q}`, kidOf(k))) + "." + base64.RawURLEncoding.EncodeToString(body)
	sum := sha256.Sum256([]byte(unsigned))
	sig, err := rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("stand-in token: %w", err)
	}
	return unsigned + "." + base64.RawURLEncoding.EncodeToString(sig), nil
}
