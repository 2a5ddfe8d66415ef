package provisioneks

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pipectl.dev/cloud"
)

// tagKeys is the tag that tells which of a resource's tags are the spec's: the mark of each of their keys, one after the other. Those keys
// themselves may take more than the 256 characters of a value.
const (
	tagKeys  = "pipectl.dev/tag-keys"
	markSize = 6 // characters of 6 bits
)

// keyMark stands for the key of a tag. All its characters may be in a tag.
func keyMark(key string) string {
	sum := sha256.Sum256([]byte(key))
	return base64.StdEncoding.EncodeToString(sum[:])[:markSize]
}

func keyMarks(tags map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		b.WriteString(keyMark(k))
	}
	return b.String()
}

// mostTags is how many of a resource's 50 tags the spec may take.
const mostTags = 40

// notTheirs begin the keys of tags that AWS, Kubernetes or pipectl itself reads.
var notTheirs = []string{"aws:", "pipectl.dev/", "kubernetes.io/", "k8s.io/", "eks:", "elbv2.k8s.aws/", "ebs.csi.aws.com/", "CSIVolumeName"}

func (s *Spec) checkTags(add adder) {
	if s.Existing && len(s.Tags) > 0 {
		add("tags", "leave tags out, or drop `existing: true`", "an existing cluster is only read")
	}
	if len(s.Tags) > mostTags {
		add("tags", "", "at most %d, for AWS takes 50 with those that pipectl and EKS need, got %d", mostTags, len(s.Tags))
	}
	for _, k := range slices.Sorted(maps.Keys(s.Tags)) {
		switch at := fmt.Sprintf("tags.%s", k); {
		case reservedTag(k):
			add(at, "choose another key", "%q is a tag that pipectl, Kubernetes or AWS sets itself", k)
		case k == "" || len(k) > 128 || len(s.Tags[k]) > 256:
			add(at, "", "AWS takes keys of 1 to 128 characters and values of up to 256")
		}
	}
}

func reservedTag(key string) bool {
	return key == "Name" || slices.ContainsFunc(notTheirs, func(p string) bool { return strings.HasPrefix(key, p) })
}

// tags are the owner tags of one resource, and those of the spec.
func (s *state) tags(kind, name string) map[string]string {
	all := s.specTags()
	maps.Copy(all, cloud.Tags(s.owner, kind, name))
	return all
}

// specTags are the tags of the spec, with the one that tells them from those of others.
func (s *state) specTags() map[string]string {
	all := map[string]string{}
	if len(s.spec.Tags) > 0 {
		maps.Copy(all, s.spec.Tags)
		all[tagKeys] = keyMarks(s.spec.Tags)
	}
	return all
}

// hasTags reports that all tags of the spec are there, and known for ours.
func (s *state) hasTags(have map[string]string) bool {
	for k, v := range s.specTags() {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// goneKeys are the keys of tags that an earlier spec put on a resource and the present one does not have.
func (s *state) goneKeys(have map[string]string) []string {
	marks := have[tagKeys]
	var out []string
	for _, k := range slices.Sorted(maps.Keys(have)) {
		if _, stays := s.spec.Tags[k]; stays || reservedTag(k) {
			continue
		}
		mark := keyMark(k)
		for i := 0; i+markSize <= len(marks); i += markSize {
			if marks[i:i+markSize] == mark {
				out = append(out, k)
			}
		}
	}
	if len(s.spec.Tags) == 0 && marks != "" {
		out = append(out, tagKeys)
	}
	return out
}
