package treecopy

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/zeebo/xxh3"
	"golang.org/x/sys/unix"
)

const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
)

type attr struct {
	name  string
	value []byte
}

// attrStore reads and writes extended attributes, ACLs among them, and remembers which ones the target does not take.
type attrStore struct {
	mu      sync.Mutex
	refused map[string]bool
	lost    func(name string, err error) // called once per refused attribute
	left    map[string]bool              // foreign ones that a source has
	leave   func(name string)            // called once per such; nil: nobody wants to know
}

// xattrs addresses attributes by descriptor, or by name in a directory for what must not be opened.
type xattrs struct {
	fd   int
	name string // "" = fd itself
}

// path reaches name without following it, whatever the length of the directory's path.
func (x xattrs) path() string { return "/proc/self/fd/" + strconv.Itoa(x.fd) + "/" + x.name }

func (x xattrs) list(b []byte) (int, error) {
	if x.name == "" {
		return unix.Flistxattr(x.fd, b)
	}
	return unix.Llistxattr(x.path(), b)
}

func (x xattrs) get(name string, b []byte) (int, error) {
	if x.name == "" {
		return unix.Fgetxattr(x.fd, name, b)
	}
	return unix.Lgetxattr(x.path(), name, b)
}

func (x xattrs) set(name string, b []byte) error {
	if x.name == "" {
		return unix.Fsetxattr(x.fd, name, b, 0)
	}
	return unix.Lsetxattr(x.path(), name, b, 0)
}

func (x xattrs) remove(name string) error {
	if x.name == "" {
		return unix.Fremovexattr(x.fd, name)
	}
	return unix.Lremovexattr(x.path(), name)
}

// foreign are attributes that the target's own policy sets.
func foreign(name string) bool {
	return name == "security.selinux" || name == "security.ima" || name == "security.evm"
}

// read gives the attributes sorted by name; none where the file system has no attributes.
func (s *attrStore) read(x xattrs) ([]attr, error) { return s.all(x, nil) }

// source is read for an entry of the source: that what is not copied is there gets known.
func (s *attrStore) source(x xattrs) ([]attr, error) { return s.all(x, s.passBy) }

// passBy tells once of an attribute that is not copied.
func (s *attrStore) passBy(name string) {
	if s.leave == nil {
		return
	}
	s.mu.Lock()
	known := s.left[name]
	s.left[name] = true
	s.mu.Unlock()
	if !known {
		s.leave(name)
	}
}

func (s *attrStore) all(x xattrs, passBy func(name string)) ([]attr, error) {
	var small [512]byte
	n, err := x.list(small[:])
	if n == 0 && err == nil || errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	names := small[:max(n, 0)]
	if errors.Is(err, unix.ERANGE) {
		names = make([]byte, 64<<10)
		n, err = x.list(names)
		names = names[:max(n, 0)]
	}
	if err != nil {
		return nil, err
	}
	var out []attr
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if foreign(name) && passBy != nil {
			passBy(name)
		}
		if name == "" || foreign(name) || s.isRefused(name) {
			continue
		}
		v, err := x.value(name)
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, attr{name, v})
	}
	slices.SortFunc(out, func(a, b attr) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

func (x xattrs) value(name string) ([]byte, error) {
	b := make([]byte, 256)
	for {
		n, err := x.get(name, b)
		if errors.Is(err, unix.ERANGE) && len(b) < 64<<10 {
			b = make([]byte, 64<<10)
			continue
		}
		return b[:max(n, 0)], err
	}
}

func (s *attrStore) isRefused(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused[name]
}

// apply makes the attributes of x the wanted ones; have is what x holds now. It gives what x holds afterwards: an attribute
// that the target does not support, or that needs a privilege, is noted and left out.
func (s *attrStore) apply(x xattrs, want, have []attr) ([]attr, error) {
	for _, h := range have {
		if !slices.ContainsFunc(want, func(a attr) bool { return a.name == h.name }) {
			if err := x.remove(h.name); err != nil && !errors.Is(err, unix.ENODATA) {
				return nil, err
			}
		}
	}
	// ACLs last: they may take away the write permission that other attributes need.
	order := slices.Clone(want)
	slices.SortStableFunc(order, func(a, b attr) int { return cmp.Compare(aclRank(a.name), aclRank(b.name)) })
	kept := want[:0:0]
	for _, a := range order {
		err := x.set(a.name, a.value)
		switch {
		case err == nil:
			kept = append(kept, a)
		case errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.EPERM):
			s.refuse(a.name, err)
		default:
			return nil, err
		}
	}
	slices.SortFunc(kept, func(a, b attr) int { return strings.Compare(a.name, b.name) })
	return kept, nil
}

func aclRank(name string) int {
	if name == aclAccess || name == aclDefault {
		return 1
	}
	return 0
}

func (s *attrStore) refuse(name string, err error) {
	s.mu.Lock()
	known := s.refused[name]
	s.refused[name] = true
	s.mu.Unlock()
	if !known {
		s.lost(name, err)
	}
}

// sumAttrs condenses attributes for the manifest; 0 means none.
func sumAttrs(list []attr) uint64 {
	if len(list) == 0 {
		return 0
	}
	var b []byte
	for _, a := range list {
		b = append(append(b, a.name...), 0)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(a.value)))
		b = append(b, a.value...)
	}
	return max(1, xxh3.Hash(b))
}

func equalAttrs(a, b []attr) bool {
	return slices.EqualFunc(a, b, func(x, y attr) bool { return x.name == y.name && bytes.Equal(x.value, y.value) })
}
