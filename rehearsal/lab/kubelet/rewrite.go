package kubelet

import (
	"sort"
	"strings"
)

// mount is a path in a container and the directory or file that stands for it.
type mount struct {
	path string // as the container sees it, clean, without a slash at the end
	host string
}

// rewriter replaces mount paths where there is no mount namespace to do it.
type rewriter []mount

// newRewriter orders mounts so that the longest path wins.
func newRewriter(mounts []mount) rewriter {
	r := append(rewriter(nil), mounts...)
	sort.SliceStable(r, func(i, j int) bool { return len(r[i].path) > len(r[j].path) })
	return r
}

// rewrite replaces every mount path in s that stands as a path of its own: at the start or after something that is no
// part of a path, and followed by a slash, the end, or something that is no part of a name. What was put in is not
// looked at again.
func (r rewriter) rewrite(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); {
		if m, ok := r.at(s, i); ok {
			out.WriteString(m.host)
			i += len(m.path)
			continue
		}
		out.WriteByte(s[i])
		i++
	}
	return out.String()
}

// host tells where one path of the container is; ok is false when it is in no mount.
func (r rewriter) host(path string) (host string, ok bool) {
	if m, ok := r.at(path, 0); ok {
		return m.host + path[len(m.path):], true
	}
	return "", false
}

func (r rewriter) at(s string, i int) (mount, bool) {
	if s[i] != '/' || !startsPath(s[:i]) {
		return mount{}, false
	}
	for _, m := range r {
		if strings.HasPrefix(s[i:], m.path) && endsName(s[i+len(m.path):]) {
			return m, true
		}
	}
	return mount{}, false
}

// startsPath tells whether a path may start after before.
func startsPath(before string) bool {
	if before == "" || strings.HasSuffix(before, "file://") {
		return true
	}
	return !isNameByte(before[len(before)-1]) && before[len(before)-1] != '/'
}

func endsName(after string) bool {
	return after == "" || after[0] == '/' || !isNameByte(after[0])
}

func isNameByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '.' || b == '-' || b == '_' || b == '~' || b >= 0x80
}
